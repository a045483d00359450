"""The program in a home of its own, with and without a repository."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_program import Program


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]) -> Iterator[Program]:
    """The program in a home of its own, without a repository."""
    for name in [name for name in os.environ if name.startswith("SAFEHOLD_")]:
        monkeypatch.delenv(name)
    for name, folder in {"HOME": "home", "XDG_CONFIG_HOME": "config", "XDG_CACHE_HOME": "cache"}.items():
        monkeypatch.setenv(name, str(tmp_path / folder))
    monkeypatch.chdir(tmp_path)
    signals = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    yield Program(tmp_path, monkeypatch, capsysbinary)
    for number, handler in signals.items():
        signal.signal(number, handler)


@pytest.fixture
def safehold(program: Program) -> Program:
    """The program with a repository that a key file opens."""
    program.do("init", program.repository, "--key-file", program.key)
    program.set(SAFEHOLD_REPO=str(program.repository), SAFEHOLD_KEY_FILE=str(program.key))
    return program


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A small folder to back up."""
    made = tmp_path / "source"
    (made / "letters" / "old").mkdir(parents=True)
    (made / "letters" / "one.txt").write_bytes(b"one\n")
    (made / "letters" / "old" / "two.txt").write_bytes(b"two\n" * 1000)
    (made / "empty").mkdir()
    (made / "link").symlink_to("letters/one.txt")
    return made
