"""Servers of both versions, made once, with a database that a base has to bring back."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from cli_program import Program
from postgres_archiving import Archiving, Errands
from postgres_proof import Cluster
from postgres_servers import MAJORS, NEW, OLD, Server, folder_for_servers


@pytest.fixture(scope="session")
def pg_folder() -> Iterator[Path]:
    """A short folder that belongs to the servers' user."""
    with folder_for_servers() as folder:
        yield folder


def _made(folder: Path, major: int, name: str, **settings: str) -> Iterator[Cluster]:
    server = Server(folder, major, name).init(**settings).start()
    try:
        server.bench("-i", "-s", "2", "-q")
        server.sql("CREATE EXTENSION amcheck; CREATE UNLOGGED TABLE unlogged AS SELECT generate_series(1, 5000) AS n")
        yield Cluster(server)
    finally:
        server.stop()


@pytest.fixture(scope="session")
def pg15(pg_folder: Path) -> Iterator[Cluster]:
    """Debian's 15."""
    yield from _made(pg_folder, OLD, "old")


@pytest.fixture(scope="session")
def pg18(pg_folder: Path) -> Iterator[Cluster]:
    """The wheel's 18, which summarises its log for incremental bases."""
    yield from _made(pg_folder, NEW, "new", **({"summarize_wal": "on"} if NEW >= 17 else {}))


@pytest.fixture(params=MAJORS)
def cluster(request: pytest.FixtureRequest) -> Cluster:
    """Each of them in turn."""
    found: Cluster = request.getfixturevalue("pg15" if request.param == OLD else "pg18")
    return found


@pytest.fixture(scope="session")
def errands(pg_folder: Path) -> Iterator[Errands]:
    """What runs Safehold for servers."""
    made = Errands(pg_folder)
    yield made
    made.close()


_COUNT = count(1)


def _archiving(folder: Path, program: Program, errands: Errands, major: int, segment: int = 1) -> Iterator[Archiving]:
    made = Archiving(folder, program, errands, major, f"w{next(_COUNT)}").begin(segment)
    try:
        yield made
    finally:
        made.server.stop()


@pytest.fixture
def archiving(pg_folder: Path, safehold: Program, errands: Errands) -> Iterator[Archiving]:
    """A new server of version 15 that archives into a spool."""
    yield from _archiving(pg_folder, safehold, errands, OLD)


@pytest.fixture(params=MAJORS)
def archiving_any(request: pytest.FixtureRequest, pg_folder: Path, safehold: Program, errands: Errands) -> Iterator[Archiving]:
    """A new server of each version in turn."""
    yield from _archiving(pg_folder, safehold, errands, request.param)


@pytest.fixture
def archiving_64(pg_folder: Path, safehold: Program, errands: Errands) -> Iterator[Archiving]:
    """One of version 15 whose segments have 64 MiB; those of the others have 1."""
    yield from _archiving(pg_folder, safehold, errands, OLD, 64)
