"""Logical dumps: which program writes which file of a database, and how one knows that it wrote all of it.

A program that dies in the middle of a pipe, or that writes an error where SQL should be, leaves something that looks like a dump.
So each part says how a whole one begins and ends, and how small it can be.  Passwords go by the environment, never by the command
line, which every user of the machine can read.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import IO

import msgspec

from safehold.core.errors import CommandFailed, UsageError
from safehold.core.programs import begun
from safehold.sources.database_url import DatabaseUrl

TAIL = 4096
"""So much of a dump's end is looked at for its end mark."""
HELD = 64
ACCOUNTS = ("global_priv", "db", "tables_priv", "columns_priv", "procs_priv", "proxies_priv", "roles_mapping")
"""Tables of MariaDB's database ``mysql`` that hold accounts and what they may do."""
ERRORS = 4096
"""So much of what a program says on stderr is kept for the message."""


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """One file of a dump, and the program that writes it to its standard output."""

    name: str
    command: list[str]
    environment: dict[str, str] = {}
    told: bytes = b""
    """What it reads from its standard input; no more than a pipe holds."""
    begins: bytes = b""
    """What a whole one begins with, as a pattern; empty: anything."""
    ends: bytes = b""
    """What the last ``TAIL`` bytes of a whole one match, as a pattern; empty: anything."""
    after: bytes = b""
    """What may follow the end, at most ``HELD`` bytes of it, and is left out, as a pattern; empty: nothing."""
    nothing: bytes = b""
    """What one is like that is whole and holds nothing, as a pattern; empty: there is no such thing."""
    least: int = 1
    """Bytes of the smallest that can be."""


Plan = Callable[[DatabaseUrl], list[Part]]


def parts(url: DatabaseUrl) -> list[Part]:
    """The files of a dump of that database, or of all where the URL names none.  Raises ``UsageError``, ``CommandFailed``."""
    return PRESETS[url.scheme](url)


@contextmanager
def running(part: Part) -> Iterator[Callable[[int], bytes]]:
    """Run a part's program; gives ``read(most)``.  At the end, raises ``CommandFailed`` unless all of the dump was written."""
    if shutil.which(part.command[0]) is None:
        raise CommandFailed(
            f"There is no {part.command[0]} on this machine, which writes {part.name}.", "Install the database's client programs."
        )
    with begun(
        part.command,
        stdin=subprocess.PIPE if part.told else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | part.environment,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        if process.stdin is not None:
            with suppress(BrokenPipeError), process.stdin:  # it has ended, and says why
                process.stdin.write(part.told)
        said = _Said(process.stderr)
        seen = _Seen(process.stdout, part.after)
        try:
            yield seen.read
            status = process.wait()
        except BaseException:
            process.kill()  # or what it says never ends
            raise
        finally:
            said.join()
        if status != 0:
            how = f"was killed by signal {-status}" if status < 0 else f"exited with status {status}"
            raise CommandFailed(f"{part.command[0]} {how} while it wrote {part.name}: {said.last}", "No snapshot was made.")
        _judge(part, seen)


class _Seen:
    """What went by: how a stream began and ended, and how long it was."""

    def __init__(self, stream: IO[bytes], after: bytes) -> None:
        self._read = stream.read1  # type: ignore[attr-defined]
        self._after = after
        self._held = b""
        self.begin = b""
        self.end = b""
        self.size = 0

    def read(self, most: int) -> bytes:
        """The next bytes, at least one; b"" at the end."""
        data = b""
        while not data:
            data, ended = self._next(most)
            if ended:
                break
        if self.size < TAIL:
            self.begin += data[: TAIL - self.size]
        self.size += len(data)
        self.end = data[-TAIL:] if len(data) >= TAIL else (self.end + data)[-TAIL:]
        return data

    def _next(self, most: int) -> tuple[bytes, bool]:
        """What comes next but for the last ``HELD`` bytes, which may not belong to it; whether that is the end."""
        came: bytes = self._read(min(most, 1 << 20))
        if not self._after:
            return came, not came
        if not came:
            data, self._held = re.sub(self._after, b"", self._held, flags=re.DOTALL), b""
            return data, True
        data = self._held + came
        self._held = data[-HELD:]
        return data[:-HELD], False


class _Said:
    """Reads what a program says on stderr, in a thread of its own, and keeps the end."""

    def __init__(self, stream: IO[bytes]) -> None:
        import threading

        self._text = b""
        self._stream = stream
        self._thread = threading.Thread(target=self._run, name="stderr", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        for line in self._stream:
            self._text = (self._text + line)[-ERRORS:]

    def join(self) -> None:
        self._thread.join(10)

    @property
    def last(self) -> str:
        lines = self._text.decode(errors="replace").strip().splitlines()
        return " ".join(lines[-1].split()) if lines else "it said nothing"


def _judge(part: Part, seen: _Seen) -> None:
    program = part.command[0]
    if seen.size < part.least:
        raise CommandFailed(
            f"{program} succeeded, but wrote {seen.size} bytes as {part.name}, fewer than any dump has.", "No snapshot was made."
        )
    if part.begins and not re.match(part.begins, seen.begin, re.DOTALL):
        raise CommandFailed(f"{program} succeeded, but {part.name} does not begin as a dump does.", "No snapshot was made.")
    if part.nothing and seen.size <= TAIL and re.fullmatch(part.nothing, seen.end, re.DOTALL):
        raise CommandFailed(
            f"{program} succeeded, but there is nothing in {part.name}.",
            "Is there a database of that name?  No snapshot was made.",
        )
    if part.ends and not re.search(part.ends, seen.end, re.DOTALL):
        raise CommandFailed(
            f"{program} succeeded, but {part.name} lacks the mark at its end: it is cut off.", "No snapshot was made."
        )


def _postgresql(url: DatabaseUrl) -> list[Part]:
    """All roles and tablespaces, and each database as plain SQL: uncompressed, so that the next one shares most chunks."""
    environment = {"PGPASSWORD": url.password} if url.password else {}
    where = [f"--host={url.host}"] if url.host else []
    where += [f"--port={url.port}"] if url.port else []
    where += [f"--username={url.user}"] if url.user else []
    where += ["--no-password"]
    databases = [url.database] if url.database else _postgresql_databases(where, environment)
    dump = [
        Part(
            name=f"{_file_name(database)}.sql",
            command=["pg_dump", *where, "--format=plain", f"--dbname={_conninfo(database)}"],
            environment=environment,
            begins=rb"--\n-- PostgreSQL database dump\n",
            ends=rb"\n-- PostgreSQL database dump complete\n",
            least=200,
        )
        for database in databases
    ]
    return [
        Part(
            name="globals.sql",
            command=["pg_dumpall", *where, "--globals-only", *([f"--database={url.database}"] if url.database else [])],
            environment=environment,
            begins=rb"--\n-- PostgreSQL database cluster dump\n",
            ends=rb"\n-- PostgreSQL database cluster dump complete\n",
            least=100,
        ),
        *dump,
    ]


def _postgresql_databases(where: list[str], environment: dict[str, str]) -> list[str]:
    query = "select datname from pg_database where datallowconn and not datistemplate order by 1"
    text = _ask(["psql", *where, "--dbname=postgres", "-X", "-A", "-t", "-0", "-c", query], environment)
    return [name for name in text.rstrip("\n").split("\0") if name]


def _conninfo(database: str) -> str:
    """A database's name so that libpq does not take it for a connection string."""
    escaped = database.replace("\\", "\\\\").replace("'", "\\'")
    return f"dbname='{escaped}'"


def _mariadb(url: DatabaseUrl) -> list[Part]:
    """Each database in one transaction, without a lock on InnoDB tables; of a whole server its users as well."""
    dump, ask, own = _mysql_programs(url.scheme)
    environment = {"MYSQL_PWD": url.password} if url.password else {}
    where = [f"--defaults-file={url.query['defaults-file']}"] if "defaults-file" in url.query else []  # it must come first
    where += [f"--socket={url.host}"] if url.host.startswith("/") else ([f"--host={url.host}"] if url.host else [])
    where += [f"--port={url.port}"] if url.port else []
    where += [f"--user={url.user}"] if url.user else []
    where += [f"--{name}={url.query[name]}" for name in ("ssl-ca", "ssl-cert", "ssl-key") if name in url.query]
    query = "select schema_name from information_schema.schemata where schema_name not in (%s) order by 1"
    ours = "'information_schema', 'performance_schema', 'sys', 'mysql'"
    databases = [url.database] if url.database else _ask([ask, *where, "-N", "-B", "-e", query % ours], environment).splitlines()
    options = ["--single-transaction", "--quick", "--routines", "--events", "--triggers", "--hex-blob", "--order-by-primary"]
    options += ["--set-gtid-purged=OFF", "--no-tablespaces"] if own else []  # a second file could not be loaded otherwise
    names = [] if url.database else [("users.sql", _mysql_users(url, dump, [ask, *where], environment, options, own=own))]
    names += [(f"{_file_name(name)}.sql", [dump, *where, *options, "--databases", "--", name]) for name in databases]
    return [
        Part(
            name=name,
            command=command,
            environment=environment,
            begins=rb"(/\*M?!.*?\n)?-- (MariaDB|MySQL) dump",
            ends=rb"\n-- Dump completed",
            least=200,
        )
        for name, command in names
    ]


def _mysql_users(
    url: DatabaseUrl, dump: str, ask: list[str], environment: dict[str, str], options: list[str], *, own: bool
) -> list[str]:
    """What dumps the accounts: as statements, or as the server's own tables.

    MariaDB's program fails at the statements where the server does not resolve names and an account has one.
    """
    where = ask[1:]
    if own:
        return [sys.executable, "-m", "safehold.sources.mariadb.accounts", url.public]
    if dump != "mariadb-dump":
        return [dump, *where, *options, "mysql"]
    if _ask([*ask, "-N", "-B", "-e", "select @@skip_name_resolve"], environment).strip() == "1":
        return [dump, *where, "mysql", *ACCOUNTS]
    return [dump, *where, "--system=users", "--insert-ignore"]  # or loading would end at the first account that is there already


def _mysql_programs(scheme: str) -> tuple[str, str, bool]:
    """The programs that dump and ask, and whether they are MySQL's own, which knows GTIDs and accounts of another kind."""
    ours = shutil.which("mariadb-dump") is not None
    theirs = shutil.which("mysqldump") is not None and "MariaDB" not in _ask(["mysqldump", "--version"], {})
    if ours and not (theirs and scheme == "mysql"):
        return "mariadb-dump", "mariadb", False
    return "mysqldump", "mysql", theirs


def _mongodb(url: DatabaseUrl) -> list[Part]:
    """The whole deployment as one archive; of a replica set with the changes made meanwhile, so that it is of one moment.

    An archive ends with the end of a collection, whose checksum it says, and a terminator.  Source: mongo-tools,
    ``common/archive/multiplexer.go``.
    """
    secrets = {"password": url.password, "sslPEMKeyPassword": url.query.get("tlsCertificateKeyFilePassword", "")}
    told = "".join(f"{name}: {json.dumps(secret)}\n" for name, secret in secrets.items() if secret)
    if told and sys.platform == "win32":
        raise UsageError(
            "A MongoDB password in the URL would show in the list of processes.",
            "Leave it out and use --config in a `command:mongodump --archive --config F`, or a certificate.",
        )
    command = ["mongodump", "--archive", f"--uri={url.public}", *(["--config=/dev/stdin"] if told else [])]
    if "replicaSet" in url.query and not url.database:
        command.append("--oplog")
    return [
        Part(
            name="mongodb.archive",
            command=command,
            told=told.encode(),
            begins=rb"\x6d\xe2\x99\x81",
            ends=rb"\x08EOF\x00\x01\x12CRC\x00.{8}\x00\xff{4}\Z",
            nothing=rb"\x6d\xe2\x99\x81(?:(?!\x02db\x00).)*\xff{4}",
            least=100,
        )
    ]


def _redis(url: DatabaseUrl) -> list[Part]:
    """The memory's image, as a replica would get it; where the server does not write it to a file first, a mark follows it."""
    environment = {"REDISCLI_AUTH": url.password} if url.password else {}
    where = ["-s", url.host] if url.host.startswith("/") else ["-h", url.host or "127.0.0.1", "-p", str(url.port or 6379)]
    where += ["--user", url.user, "--no-auth-warning"] if url.user else []
    command = ["redis-cli", *where, "--rdb", "-"]
    return [
        Part(
            name="dump.rdb",
            command=command,
            environment=environment,
            begins=rb"REDIS\d{4}",
            after=rb"(?<=.{9})[0-9a-f]{40}\Z",
            ends=rb"\xff.{8}\Z",
            least=18,
        )
    ]


def _ask(command: list[str], environment: dict[str, str]) -> str:
    """What a program answers.  Raises ``CommandFailed``."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, env=os.environ | environment
        )
    except FileNotFoundError as error:
        raise CommandFailed(f"There is no {command[0]} on this machine.", "Install the database's client programs.") from error
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or ["it said nothing"]
        raise CommandFailed(f"The database could not be asked what it holds: {lines[-1]}", "Check the address and the password.")
    return done.stdout


def _file_name(database: str) -> str:
    """A database's name as that of a file: other characters than letters, digits, ``-``, ``_`` and ``.`` as %XX."""
    name = "".join(c if re.match(r"[\w.-]", c) else "".join(f"%{byte:02X}" for byte in c.encode()) for c in database)
    return "%2E" + name[1:] if name.startswith(".") else name


PRESETS: dict[str, Plan] = {
    "postgresql": _postgresql,
    "postgres": _postgresql,
    "mariadb": _mariadb,
    "mysql": _mariadb,
    "mongodb": _mongodb,
    "redis": _redis,
}
"""The word before the colon -> what to run."""
