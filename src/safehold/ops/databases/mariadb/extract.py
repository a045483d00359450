"""A base brought to a moment on a private server, in a folder that is gone afterwards: to take a table out, or to check all."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO

import msgspec

from safehold.core.errors import DatabaseFailed, PathMissing, TargetError
from safehold.ops.databases.mariadb.planning import Plan
from safehold.ops.databases.mariadb.restore import SPARE, bring_forward, place_files, require_programs
from safehold.ops.databases.mariadb.room import watched
from safehold.repo.repository import Repository
from safehold.sources.mariadb import private
from safehold.sources.mariadb.connecting import Address, connect, option_file, quoted, rows
from safehold.sources.mariadb.private import Private
from safehold.sources.mariadb.programs import find, how, running

END = b"-- Dump completed"
TAIL = 200
ELSEWHERE = ("/var/tmp", "/tmp")
SYSTEM_SCHEMAS = ("information_schema", "performance_schema", "sys")


class Wanted(msgspec.Struct, frozen=True):
    """A database, or one table of it."""

    database: str
    table: str = ""

    def __str__(self) -> str:
        return f"{self.database}.{self.table}" if self.table else self.database


class Checked(msgspec.Struct, frozen=True):
    """What a check of every table found."""

    tables: int
    problems: list[str]
    """What the server said of tables that are not as they should be."""


@contextmanager
def opened(repository: Repository, plan: Plan, beside: Path | None = None) -> Iterator[Private]:
    """The plan's moment on a private server, in a scratch folder below ``beside`` that is gone afterwards, whatever happens."""
    require_programs(plan, server=True)
    scratch = Path(tempfile.mkdtemp(prefix=".safehold-", dir=_roomy(plan, beside)))
    try:
        scratch.chmod(0o711)  # the server's user passes through
        folder = scratch / "data"
        folder.mkdir(mode=0o700)
        with watched(scratch):
            place_files(repository, plan, folder, delete=False)
            bring_forward(repository, plan, folder)
            with private.running(folder, plan.base.engine, plan.base.version, plan.base.facts) as server:
                yield server
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _roomy(plan: Plan, beside: Path | None) -> Path:
    """A folder with room, into which the server's user can pass.  Raises ``TargetError`` if there is none."""
    needed = plan.bytes + SPARE
    places = [*([beside] if beside else []), Path(tempfile.gettempdir()), *map(Path, ELSEWHERE)]
    for place in places:
        if place.is_dir() and _passable(place) and shutil.disk_usage(place).free >= needed:
            return place
    raise TargetError(
        f"None of {', '.join(dict.fromkeys(map(str, places)))} has the {needed >> 20:,} MiB that this needs for a while.",
        "TMPDIR names another place; all users must be able to pass through the folders above it.",
    )


def _passable(folder: Path) -> bool:
    """Whether everybody may pass through: the private server does not run as root."""
    if sys.platform == "win32" or os.geteuid() != 0:
        return True
    return all(above.stat().st_mode & 0o001 for above in (folder, *folder.parents))


def to_file(repository: Repository, plan: Plan, wanted: list[Wanted], target: Path) -> int:
    """Databases and tables as SQL into a file that is not there yet; its size.

    Raises ``TargetError``, ``PathMissing`` for what is not in the database at that moment, and what ``opened`` raises.
    """
    target = Path(os.path.abspath(target))
    if target.exists():
        raise TargetError(f"{target} exists already.", "Name a file that does not.")
    if not target.parent.is_dir():
        raise TargetError(f"There is no folder {target.parent}.", "Make it first.")
    part = target.with_name(target.name + ".part")
    try:
        with opened(repository, plan, target.parent) as server:
            _require(server, wanted)
            with part.open("w+b") as file:
                _dump(server, _each_once(wanted), file)
        os.rename(part, target)
    finally:
        part.unlink(missing_ok=True)
    return target.stat().st_size


def to_server(repository: Repository, plan: Plan, wanted: list[Wanted], where: Address) -> int:
    """The same into another server, where none of it may exist yet; the SQL's size."""
    wanted = _each_once(wanted)
    _require_absent(wanted, where)
    size = 0
    with opened(repository, plan) as server, tempfile.TemporaryFile(prefix="safehold-") as file:
        _require(server, wanted)
        for each in wanted:
            file.seek(0)
            file.truncate()
            _dump(server, [each], file)
            size += file.seek(0, os.SEEK_END)
            file.seek(0)
            _require_absent([each], where)  # again: all this may have taken long
            _load(plan, where, each, file)
    return size


def verify(repository: Repository, plan: Plan, beside: Path | None = None) -> Checked:
    """Restore into a scratch folder, start a private server, and have it check every table.  Raises what ``opened`` raises."""
    with opened(repository, plan, beside) as server:
        return Checked(*server.check())


def _dump(server: Private, wanted: list[Wanted], file: IO[bytes]) -> None:
    for each in wanted:
        server.dump(each.database, each.table, file)
        file.flush()
        file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL))
        if END not in file.read(TAIL):
            raise DatabaseFailed(f"The dump of {each} lacks the mark at its end: it is cut off.", "Nothing was written.")


def _each_once(wanted: list[Wanted]) -> list[Wanted]:
    """Without tables of databases that are wanted as a whole."""
    return [each for each in dict.fromkeys(wanted) if not each.table or Wanted(each.database) not in wanted]


def _require(server: Private, wanted: list[Wanted]) -> None:
    """Raises ``PathMissing`` for what is not there."""
    tables = {(str(d), str(t)) for d, t in rows(server.admin, "select table_schema, table_name from information_schema.tables")}
    databases = {str(row[0]) for row in rows(server.admin, "show databases")}
    for each in wanted:
        if each.database not in databases:
            own = sorted(databases - {*SYSTEM_SCHEMAS, "mysql"})
            raise PathMissing(f"There was no database {each.database} at that moment.", f"There were: {', '.join(own)}.")
        if each.table and (each.database, each.table) not in tables:
            own = sorted(table for database, table in tables if database == each.database)
            raise PathMissing(f"There was no table {each} at that moment.", f"There were: {', '.join(own)}.")


def _require_absent(wanted: list[Wanted], where: Address) -> None:
    """A dump drops tables of the same names before it makes them: never those of a server in use."""
    with closing(connect(where)) as connection:
        found = rows(connection, "select table_schema, table_name from information_schema.tables")
    for each in wanted:
        if any(database == each.database and each.table in ("", table) for database, table in found):
            raise TargetError(f"{each} exists on {where.url.public}.", "Extract into a file, or into a server that lacks it.")


def _load(plan: Plan, where: Address, each: Wanted, file: IO[bytes]) -> None:
    if each.table:
        with closing(connect(where)) as connection:
            rows(connection, f"create database if not exists {quoted(each.database)}")
    with option_file(where) as options:
        command = [find("client", plan.base.engine), f"--defaults-file={options}", "--binary-mode", "--max-allowed-packet=1G"]
        command += [f"--database={each.database}"] if each.table else []
        with running(command, stdin=file) as (process, said):
            process.wait()
        if process.returncode != 0:
            raise DatabaseFailed(
                f"{each} could not be loaded: the client {how(process.returncode)}: {said.last}.",
                "What was loaded of it before that is there: drop it before you try again.",
            )
