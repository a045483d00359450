"""What proves that a restored PostgreSQL cluster is what was backed up."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from cli_program import Program
from postgres_servers import Server

from safehold.cli import credentials
from safehold.cli.settings import Named
from safehold.repo.repository import Repository, open_repository
from safehold.repo.snapshots import Database
from safehold.storage.local import LocalStore

_NUMBERS = count(1)


def sums(server: Server) -> dict[str, object]:
    """Rows and a digest of every table."""
    tables = [str(row[0]) for row in server.sql("SELECT relname FROM pg_stat_user_tables WHERE relname <> 'unlogged'")]
    return {
        table: server.sql(f"SELECT count(*), md5(string_agg(md5(t::text), '' ORDER BY t::text)) FROM {table} t")[0]
        for table in sorted(tables)
    }


class Cluster:
    """A server under test, and copies of it that were restored."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.url = server.url

    @property
    def major(self) -> int:
        return self.server.major

    def target(self) -> Path:
        """A folder that is not there yet."""
        return self.server.folder / f"r{next(_NUMBERS)}"

    def verify(self, folder: Path) -> None:
        """What PostgreSQL itself says of a base."""
        done = self.server.run("pg_verifybackup", folder, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    @contextmanager
    def started(self, folder: Path) -> Iterator[Server]:
        """A private server on a restored folder, which is removed at the end."""
        copy = Server(folder.parent, self.major, folder.name)
        copy.start("-c", f"unix_socket_directories={copy.sockets}", "-c", "archive_mode=off")
        try:
            yield copy
        finally:
            copy.stop()
            shutil.rmtree(folder)

    def prove(self, folder: Path, expected: dict[str, object]) -> None:
        """The base is whole, starts, holds the same rows, and its tables and indexes are sound."""
        self.verify(folder)
        with self.started(folder) as copy:
            assert sums(copy) == expected
            copy.run("pg_amcheck", "-h", copy.sockets, "-U", "postgres", "--heapallindexed", "postgres")


def opened(program: Program) -> Repository:
    """A program's repository, with a cache of its own."""
    credential = credentials.find(credentials.Given(key_file=str(program.key)), {}, Named(location=str(program.repository)))
    return open_repository(LocalStore(program.repository), credential, program.folder / "cache of the test")


def databases(program: Program) -> list[Database]:
    """What the snapshots of a program's repository say of their databases, the oldest first."""
    found = [stored.snapshot.source.database for stored in opened(program).visible_snapshots()]
    return [database for database in found if database is not None]
