"""A database brought back for a while: a base and its log in a scratch folder, opened by a private server, and gone afterwards.

One table is taken out of a physical backup so, and a backup is proved so.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

assert sys.platform != "win32"

import msgspec

from safehold.core.errors import DamageError, DatabaseFailed, TargetError, UsageError
from safehold.core.events import Note
from safehold.ops.databases.postgresql import recovery
from safehold.ops.databases.postgresql.plan import Plan
from safehold.ops.databases.postgresql.reading import Cluster
from safehold.ops.databases.postgresql.restore import RestoreOptions, finish, place
from safehold.ops.databases.postgresql.segments import reach
from safehold.repo.repository import Repository
from safehold.repo.snapshots import Database, Stored
from safehold.sources.postgresql import deep_check, private, programs
from safehold.sources.postgresql.private import PrivateServer
from safehold.sources.postgresql.programs import Account
from safehold.sources.postgresql.wal import parse_name
from safehold.sources.postgresql.waldump import tablespaces_made

SUPERUSER = "postgres"
"""Where the base does not say which superuser its cluster was made with."""


class Moment(msgspec.Struct, frozen=True):
    """What is brought back: a base, and how far its log is replayed."""

    base: Stored
    plan: Plan
    cluster: Cluster

    @property
    def database(self) -> Database:
        database = self.base.snapshot.source.database
        assert database is not None
        return database


class Scratch(msgspec.Struct, frozen=True):
    """A database that has been brought back and is open."""

    server: PrivateServer
    data: Path
    programs: Path
    account: Account

    def run(self, program: str, *words: object) -> subprocess.CompletedProcess[str]:
        """Run one of the engine's programs against it, as its superuser."""
        return subprocess.run(self.command(program, *words), capture_output=True, text=True, check=False, **self.account.popen)  # type: ignore[call-overload, no-any-return]

    def command(self, program: str, *words: object) -> list[str]:
        """The words of such a call."""
        where = ("-h", str(self.server.sockets), "-U", self.server.owner, "--no-password")
        return [str(self.programs / program), *where, *map(str, words)]


@contextmanager
def folder(near: Path | None) -> Iterator[Path]:
    """A scratch folder, in ``near`` or where temporary files go; removed at the end.  Raises ``TargetError``."""
    near = near if near is not None and _is_open(near) else None
    try:
        made = Path(tempfile.mkdtemp(prefix="safehold-scratch-", dir=near)).absolute()
    except OSError as error:
        raise TargetError(
            f"No scratch folder can be made in {near}: {error.strerror}.", "Name another with --scratch."
        ) from error
    try:
        made.chmod(0o711)  # the server's user has to get to what is its own in it
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _is_open(path: Path) -> bool:
    """Whether the server's user, if that is not oneself, gets there: it may not look into /root."""
    path = path.absolute()
    return os.geteuid() != 0 or all(each.stat().st_mode & 0o001 for each in (path, *path.parents) if each.exists())


def place_in(repository: Repository, moment: Moment, scratch: Path) -> tuple[Path, Account]:
    """Put base and log into a scratch folder; the data directory, and whom the server there is to run as."""
    database = moment.database
    account = programs.account()
    data = scratch / "data"
    data.mkdir(mode=0o700)
    account.give(data)
    spaces = json.loads(database.facts.get("tablespaces", "{}"))
    moved = []
    for oid in spaces:
        (scratch / oid).mkdir(mode=0o700)
        account.give(scratch / oid)
        moved.append(f"{oid}={scratch / oid}")
    placed = place(repository, moment.base, RestoreOptions(target=data, tablespaces=moved))
    try:
        recovery.set_up(repository, data, moment.plan, moment.cluster, recovery.RecoveryOptions())
    except OSError as error:
        raise TargetError(
            f"The log could not be placed in {data}: {error.strerror}.", "Name another folder with --scratch."
        ) from error
    finish(placed)
    return data, account


@contextmanager
def opened(repository: Repository, moment: Moment, scratch: Path, chosen: str = "") -> Iterator[Scratch]:
    """Bring a database back and open it.  ``chosen``: the folder of the server's programs.

    Raises ``ProgramMissing`` before anything else.
    """
    found = programs.find(int(moment.database.facts["major"]), chosen)
    repository.report(Note(message=f"Restoring {moment.base.id[:8]} to a scratch folder: {moment.plan.target.text}"))
    data, account = place_in(repository, moment, scratch)
    _require_no_tablespace(moment, data, found, account)
    owner = moment.database.facts.get("superuser", SUPERUSER)
    with private.running(found, data, account, {}, scratch / "log", owner=owner) as server:
        server.wait_promoted()
        yield Scratch(server, data, found, account)


def _require_no_tablespace(moment: Moment, data: Path, found: Path, account: Account) -> None:
    """No tablespace is made on the way: the server would make it in the folder that it has on the original, and write there.

    Raises ``DatabaseFailed``.
    """
    segment = moment.cluster.archive.segment
    logs = [path for folder in ("pg_wal", recovery.FOLDER) for path in sorted((data / folder).glob("*"))]
    names = [(parse_name(path.name), path) for path in logs]
    files = {name.start(segment): path for name, path in names if name is not None and name.kind == "segment"}
    base, pieces = moment.plan.base, moment.plan.pieces
    end = max([base.stop, *(min(reach(piece.log), moment.plan.latest) for piece in pieces)])
    for number, where in tablespaces_made(found, files, segment, base.start, end, account):
        raise DatabaseFailed(
            f"After base {base.id[:8]}, tablespace {number} was made in {where}: a private server here would write there.",
            "Choose a moment in an earlier segment of the log, or a base from after it; or restore it on another machine.",
        )


def extract(scratch: Scratch, names: list[str], target: str) -> int:
    """Write databases or tables (``db``, ``db.table``, ``db.schema.table``) as SQL into a file, or into the server at a URL.

    Bytes of SQL.  Raises ``UsageError`` for one that is not there, ``DatabaseFailed``, ``TargetError``.
    """
    wanted = _by_database(scratch, names)
    if "://" in target:
        if len(wanted) > 1:
            raise UsageError("Into a server, things of one database only are extracted at once.", "Extract one after the other.")
        return sum(_into_server(scratch, database, tables, target) for database, tables in wanted.items())
    path = Path(target).expanduser()
    partial = path.with_name(path.name + ".part")
    try:
        with partial.open("wb") as file:
            for database, tables in wanted.items():
                if len(wanted) > 1:
                    file.write(f'\\connect "{database}"\n'.encode())
                    file.flush()
                _dump(scratch, database, tables, file.fileno())
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
        return path.stat().st_size
    except OSError as error:
        raise TargetError(f"{path} cannot be written: {error.strerror}.", "Name another file.") from error
    finally:
        partial.unlink(missing_ok=True)


def _by_database(scratch: Scratch, names: list[str]) -> dict[str, list[str]]:
    """The tables wanted of each database; none: all of it."""
    import psycopg

    with psycopg.connect(scratch.server.url) as connection:
        known = [str(row[0]) for row in connection.execute("SELECT datname FROM pg_database WHERE datallowconn").fetchall()]
    wanted: dict[str, list[str]] = {}
    for name in names:
        database = next((d for d in sorted(known, key=len, reverse=True) if name == d or name.startswith(d + ".")), "")
        if not database:
            raise UsageError(f"There is no database for `{name}` in that backup.", f"There are: {', '.join(sorted(known))}.")
        rest = name[len(database) + 1 :]
        wanted.setdefault(database, [])
        if rest:
            wanted[database].append(_pattern(scratch, database, rest))
    return wanted


def _pattern(scratch: Scratch, database: str, name: str) -> str:
    """A table's name as pg_dump takes it.  Raises ``UsageError``."""
    import psycopg

    query = (
        "SELECT quote_ident(nspname) || '.' || quote_ident(relname) FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace"
        " WHERE relkind IN ('r', 'p', 'v', 'm', 'S', 'f') AND (nspname || '.' || relname = %s OR relname = %s"
        " AND pg_table_is_visible(c.oid)) ORDER BY 1"
    )
    with psycopg.connect(scratch.server.url, dbname=database) as connection:
        found = [str(row[0]) for row in connection.execute(query, [name, name]).fetchall()]
    if not found:
        raise UsageError(f"There is no table `{name}` in the database {database} of that backup.", "Write db.schema.table.")
    return found[0]


def _words(database: str, tables: list[str]) -> list[str]:
    escaped = database.replace("\\", "\\\\").replace("'", "\\'")
    return ["--format=plain", *(f"--table={table}" for table in tables), f"--dbname=dbname='{escaped}'"]


def _dump(scratch: Scratch, database: str, tables: list[str], out: int) -> None:
    command = scratch.command("pg_dump", *_words(database, tables))
    done = subprocess.run(command, stdout=out, stderr=subprocess.PIPE, text=True, check=False, **scratch.account.popen)  # type: ignore[call-overload]
    if done.returncode != 0:
        raise DatabaseFailed(f"pg_dump failed on {database}: {_last(done.stderr)}.", "Nothing was extracted.")


def _into_server(scratch: Scratch, database: str, tables: list[str], url: str) -> int:
    """All or nothing, in one transaction.  How many bytes are not known: 0."""
    from psycopg import conninfo

    known = conninfo.conninfo_to_dict(url)
    password = known.pop("password", None)
    environment = dict(os.environ) | ({"PGPASSWORD": str(password)} if password else {})
    with subprocess.Popen(
        scratch.command("pg_dump", *_words(database, tables)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **scratch.account.popen,  # type: ignore[call-overload]
    ) as dump:
        words = ["-X", "-q", "-1", "-v", "ON_ERROR_STOP=1", "--no-password", "-d", conninfo.make_conninfo("", **known)]
        load = subprocess.run(
            [str(scratch.programs / "psql"), *words],
            stdin=dump.stdout,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            env=environment,
        )
        said = dump.stderr.read().decode(errors="replace")
    if load.returncode != 0:
        raise DatabaseFailed(f"The other server did not take it: {_last(load.stderr)}.", "Nothing was changed there.")
    if dump.returncode != 0:
        raise DatabaseFailed(f"pg_dump failed on {database}: {_last(said)}.", "Look into the other server: what came was loaded.")
    return 0


def prove(scratch: Scratch) -> dict[str, int]:
    """Check every index of every database against its table; what was looked at.  Raises ``DamageError``."""
    import psycopg

    with psycopg.connect(scratch.server.url) as connection:
        rows = connection.execute("SELECT count(*), sum(pg_database_size(oid))::bigint FROM pg_database").fetchone()
    assert rows is not None
    words = deep_check.problem(scratch.server.sockets, scratch.server.owner, scratch.programs, scratch.account)
    if words:
        raise DamageError(f"The restored database is damaged: {words}.", _ORIGINAL)
    return {"databases": int(rows[0]), "bytes": int(rows[1])}


def prove_pages(scratch: Scratch) -> None:
    """Check every page's checksum of a database that has been shut down by now.  Raises ``DamageError``."""
    command = [str(scratch.programs / "pg_checksums"), "--check", "-D", str(scratch.data)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, **scratch.account.popen)  # type: ignore[call-overload]
    if done.returncode != 0 and "not enabled" not in done.stderr:
        raise DamageError(f"The restored database is damaged: {_last(done.stderr)}.", _ORIGINAL)


_ORIGINAL = "Look into the original as well: it may be damaged there. An older snapshot may be whole."


def _last(text: str) -> str:
    lines = [line for line in text.strip().splitlines() if "error" in line.lower()] or text.strip().splitlines()
    return lines[0].rstrip(".") if lines else "it did not say why"
