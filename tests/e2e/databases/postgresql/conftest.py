"""Servers of both versions, made once, with a database that a base has to bring back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from postgres_proof import Cluster
from postgres_servers import Server, folder_for_servers


@pytest.fixture(scope="session")
def pg_folder() -> Iterator[Path]:
    """A short folder that belongs to the servers' user."""
    with folder_for_servers() as folder:
        yield folder


def _made(folder: Path, major: int, **settings: str) -> Iterator[Cluster]:
    server = Server(folder, major, f"p{major}").init(**settings).start()
    try:
        server.bench("-i", "-s", "2", "-q")
        server.sql("CREATE EXTENSION amcheck; CREATE UNLOGGED TABLE unlogged AS SELECT generate_series(1, 5000) AS n")
        yield Cluster(server)
    finally:
        server.stop()


@pytest.fixture(scope="session")
def pg15(pg_folder: Path) -> Iterator[Cluster]:
    """Debian's 15."""
    yield from _made(pg_folder, 15)


@pytest.fixture(scope="session")
def pg18(pg_folder: Path) -> Iterator[Cluster]:
    """The wheel's 18, which summarises its log for incremental bases."""
    yield from _made(pg_folder, 18, summarize_wal="on")


@pytest.fixture(params=[15, 18])
def cluster(request: pytest.FixtureRequest) -> Cluster:
    """Each of them in turn."""
    found: Cluster = request.getfixturevalue(f"pg{request.param}")
    return found
