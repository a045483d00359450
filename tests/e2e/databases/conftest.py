"""The program in a home of its own with a repository, as the tests of the command line have it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_program import Program


@pytest.fixture
def safehold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]) -> Iterator[Program]:
    """The program with a repository that a key file opens."""
    for name in [name for name in os.environ if name.startswith("SAFEHOLD_")]:
        monkeypatch.delenv(name)
    for name, folder in {"HOME": "home", "XDG_CONFIG_HOME": "config", "XDG_CACHE_HOME": "cache"}.items():
        monkeypatch.setenv(name, str(tmp_path / folder))
    made = Program(tmp_path, monkeypatch, capsysbinary)
    made.do("init", made.repository, "--key-file", made.key)
    made.set(SAFEHOLD_REPO=str(made.repository), SAFEHOLD_KEY_FILE=str(made.key))
    yield made
