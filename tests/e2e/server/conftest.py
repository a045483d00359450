"""A server of its own for each test, its owner, and the program; a module that wants others says so itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_program import Program
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


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]) -> Program:
    """With state, caches and settings of the test's own, and passwords in its environment."""
    made = Program(tmp_path, monkeypatch, capfdbinary)
    made.set(
        SAFEHOLD_STATE_DIR=str(tmp_path / "state"),
        SAFEHOLD_CACHE_DIR=str(tmp_path / "cache"),
        SAFEHOLD_CONFIG=None,
        SAFEHOLD_REPO=None,
        SAFEHOLD_PASSWORD="passphrase",
        SAFEHOLD_ACCOUNT_PASSWORD="account password",
        XDG_CONFIG_HOME=str(tmp_path / "config"),
    )
    return made
