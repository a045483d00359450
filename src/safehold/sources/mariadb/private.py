"""A server of our own on a restored folder: nobody else reaches it, and it ends with us."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import IO

from safehold.core.errors import DatabaseFailed, DatabaseUnreachable
from safehold.sources.mariadb import keys, programs
from safehold.sources.mariadb.connecting import Connection, probe, quoted, rows

START_SECONDS = 600
STOP_SECONDS = 600
LOG_LINES = 40
_CONF = "backup-my.cnf"
_LIKE_IT_WAS = (
    "lower_case_table_names",
    "default_storage_engine",
    "character_set_server",
    "collation_server",
    "sql_mode",
    "plugin_dir",
)
"""Variables that change what statements of the log do."""
_FROM_CONF = ("innodb_page_size", "innodb_data_file_path", "innodb_undo_tablespaces")


def prepare(
    folder: Path, engine: str, version: str, *, incremental: Path | None = None, hint: str = "Try an older base."
) -> None:
    """Bring the files of a base to one moment, by the redo log that came with them.  Raises ``DatabaseFailed``.

    ``incremental``: the folder of an incremental backup that is laid over it; it is used up, and must never be given again.
    """
    program = programs.find("backup", engine)
    if engine == "mariadb":
        programs.require_series(program, version, "The base")
    command = [program, "--no-defaults", "--prepare", f"--target-dir={folder}"]
    conf = settings(folder)
    if page := conf.get("innodb_page_size"):
        command.append(f"--innodb-page-size={page}")
    if found := keys.options(conf, programs.plugin_folders()):
        command[1:2] = [f"--defaults-file={folder / _CONF}"]
        command.append(f"--plugin-dir={found['plugin_dir']}")
    command += [f"--incremental-dir={incremental}"] if incremental else []
    done = subprocess.run(command, capture_output=True, check=False, stdin=subprocess.DEVNULL)
    lines = done.stderr.decode(errors="replace").splitlines()
    if done.returncode != 0 or not any("completed OK!" in line for line in lines[-3:]):
        words = programs.last_words(lines)
        raise DatabaseFailed(f"{Path(program).name} --prepare {programs.how(done.returncode)}: {words}.", hint)


_TABLES = (
    "select table_schema, table_name from information_schema.tables where table_type = 'BASE TABLE' and engine is not null"
    " and table_schema not in ('information_schema', 'performance_schema', 'sys')"
)
_WELL = ("OK", "Table is already up to date")


class Private:
    """A running private server."""

    def __init__(self, engine: str, socket: Path, admin: Connection, process: subprocess.Popen[bytes]) -> None:
        self.engine = engine
        self.socket = socket
        self.admin = admin
        """Opened before anybody else's rights counted; stays open."""
        self.process = process

    def client(self, role: str, *options: str) -> list[str]:
        """The command of a client program that speaks to it."""
        return [programs.find(role, self.engine), "--no-defaults", f"--socket={self.socket}", "--user=root", *options]

    def replay(self, logs: list[Path], start: int, stop: int) -> None:
        """Apply binary logs: from an offset in the first to one in the last (0: its end).  Raises ``DatabaseFailed``."""
        read = [programs.find("binlog", self.engine), "--no-defaults", f"--start-position={start}"]
        read += [f"--stop-position={stop}"] if stop else []
        # The log may hold GRANT and the like, which a server without its grant tables refuses; this session keeps its rights.
        write = self.client("client", "--init-command=flush privileges", "--binary-mode", "--max-allowed-packet=1G")
        environment = os.environ | {"TZ": "UTC"}
        with (
            tempfile.TemporaryFile() as told,
            subprocess.Popen(write, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=told) as writer,
            subprocess.Popen([*read, *map(str, logs)], stdout=writer.stdin, stderr=told, env=environment) as reader,
        ):
            assert writer.stdin is not None
            writer.stdin.close()
            statuses = (reader.wait(), writer.wait())
            if any(statuses):
                told.seek(0)
                words = programs.last_words(told.read().decode(errors="replace").splitlines())
                raise DatabaseFailed(f"The binary log could not be applied: {words}.", "Nothing was restored.")

    def check(self, how: str = "") -> tuple[int, list[str]]:
        """``CHECK TABLE`` on every table: how many there are, and what the server said of those that are not well.

        ``how``: a word for the check, such as EXTENDED.
        """
        found = rows(self.admin, _TABLES)
        problems = []
        for database, table in found:
            for name, _, kind, text in rows(self.admin, f"check table {quoted(database)}.{quoted(table)} {how}"):
                if kind not in ("note", "info") and not (kind == "status" and text in _WELL):
                    problems.append(f"{name}: {text}")
        return len(found), problems

    def dump(self, database: str, table: str, into: IO[bytes]) -> None:
        """One database, or one table of it, as SQL.  Raises ``DatabaseFailed``."""
        options = ["--single-transaction", "--quick", "--routines", "--events", "--triggers", "--hex-blob", "--skip-dump-date"]
        what = [database, table] if table else ["--databases", database]
        if table:
            options.remove("--routines")
            options.remove("--events")
        command = self.client("dump", *options, *(what if table else [*what]))
        done = subprocess.run(command, stdout=into, stderr=subprocess.PIPE, check=False)
        if done.returncode != 0:
            words = programs.last_words(done.stderr.decode(errors="replace").splitlines())
            raise DatabaseFailed(f"{Path(command[0]).name} {programs.how(done.returncode)}: {words}.", "Nothing was written.")


@contextmanager
def running(folder: Path, engine: str, version: str, facts: Mapping[str, str]) -> Iterator[Private]:
    """A private server on a prepared folder, shut down cleanly at the end; killed if the caller fails.

    Nobody else reaches it (no network, a socket in a folder of its own), it writes no binary log and starts no event.  ``facts``:
    the variables of the server that the base is of.  Raises ``DatabaseFailed``.
    """
    program = programs.find("server", engine)
    if engine == "mariadb":
        programs.require_series(program, version, "The base")
    scratch = Path(tempfile.mkdtemp(prefix="safehold-", dir=_short()))
    try:
        _hand_over(folder, [scratch])
        log = scratch / "log"
        with log.open("wb") as told:
            process = subprocess.Popen(
                _command(program, folder, scratch, facts), stdin=subprocess.DEVNULL, stdout=told, stderr=told, cwd=scratch
            )
        try:
            with closing(_connected(process, scratch / "s", log)) as admin:
                yield Private(engine, scratch / "s", admin, process)
            _stop(process, log)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _command(program: str, folder: Path, scratch: Path, facts: Mapping[str, str]) -> list[str]:
    options = {
        name: facts[name] for name in _LIKE_IT_WAS if name in facts and (name != "plugin_dir" or os.path.isdir(facts[name]))
    }
    conf = settings(folder)
    options |= {name: conf[name] for name in _FROM_CONF if name in conf}
    found = keys.options(conf, programs.plugin_folders())
    options.pop("plugin_dir" if found else "", "")
    command = [
        program,
        f"--defaults-file={_told(scratch, found)}",
        f"--datadir={folder}",
        f"--socket={scratch}/s",
        f"--pid-file={scratch}/pid",
    ]
    command += [f"--tmpdir={scratch}", "--skip-networking", "--skip-grant-tables", "--skip-log-bin", "--skip-slave-start"]
    command += ["--event-scheduler=DISABLED", "--innodb-flush-log-at-trx-commit=0", "--max-allowed-packet=1G"]
    command += ["--innodb-buffer-pool-size=256M", "--performance-schema=OFF", "--skip-name-resolve"]
    command += [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    owner = _owner(folder)
    return [*command, f"--user={owner}"] if owner else command


def _told(scratch: Path, options: Mapping[str, str]) -> Path:
    """An option file of the server's, that nobody else may read: a key may be in it."""
    path = scratch / "options.cnf"
    path.touch(mode=0o600)
    path.write_text("[mysqld]\n" + "".join(f'{name}="{value}"\n' for name, value in options.items()))
    return path


def settings(folder: Path) -> dict[str, str]:
    """What the backup program wrote of the server's layout."""
    try:
        lines = (folder / _CONF).read_text().splitlines()
    except OSError:
        return {}
    return {name.strip(): value.strip() for name, _, value in (line.partition("=") for line in lines) if value}


def _owner(folder: Path) -> str:
    """As whom the server runs: root only if the files are root's."""
    if sys.platform == "win32" or os.geteuid() != 0:
        return ""
    import pwd

    uid = folder.stat().st_uid
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _hand_over(folder: Path, others: list[Path]) -> None:
    """Give these to whoever owns the folder."""
    if sys.platform != "win32" and os.geteuid() == 0:
        owner = folder.stat()
        for path in others:
            os.chown(path, owner.st_uid, owner.st_gid)


def _short() -> str | None:
    """A folder for sockets, whose paths may have about 100 bytes."""
    return "/tmp" if os.path.isdir("/tmp") and len(tempfile.gettempdir()) > 60 else None


def _connected(process: subprocess.Popen[bytes], socket: Path, log: Path) -> Connection:
    """Wait until it answers."""
    import pymysql

    until = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < until:
        with suppress(pymysql.err.MySQLError, DatabaseUnreachable):
            probe(str(socket), "the private server")
            return pymysql.connect(user="root", unix_socket=str(socket), autocommit=True, charset="utf8mb4")
        time.sleep(0.05)
    words = _words(log)
    hint = "Nothing was restored."
    if "Errcode: 13" in words:
        hint += "  It runs as the owner of the files, who must be able to pass through the folders above."
    raise DatabaseFailed(f"The private server did not start: {words}.", hint)


def _stop(process: subprocess.Popen[bytes], log: Path) -> None:
    process.send_signal(signal.SIGTERM)
    if process.wait(STOP_SECONDS) != 0:
        raise DatabaseFailed(f"The private server {programs.how(process.returncode)}: {_words(log)}.", "Nothing was restored.")


def _words(log: Path) -> str:
    try:
        lines = log.read_text(errors="replace").splitlines()[-LOG_LINES:]
    except OSError:
        return "it said nothing"
    return programs.last_words(lines)
