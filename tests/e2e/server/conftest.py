"""A server of its own for each test, and its owner; a module that wants others says so itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from online_servers import Person, ServerInThread


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerInThread]:
    made = ServerInThread(tmp_path / "srv")
    yield made
    made.stop()


@pytest.fixture
def owner(server: ServerInThread) -> Person:
    """The first person, with a second factor."""
    return server.owner()
