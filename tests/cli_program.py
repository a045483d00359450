"""The program as a user has it: words in; status, output and errors out."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from safehold.cli import main


@dataclass(frozen=True)
class Ran:
    """What came of a run."""

    status: int
    raw: bytes
    err: str

    @property
    def out(self) -> str:
        return self.raw.decode("utf-8", "surrogateescape")

    @property
    def lines(self) -> list[dict[str, object]]:
        """Standard output as JSON lines."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def value(self) -> dict[str, object]:
        """Standard output as one JSON object."""
        (value,) = self.lines
        return value

    @property
    def events(self) -> list[dict[str, object]]:
        """Standard error as JSON lines."""
        return [json.loads(line) for line in self.err.splitlines()]


class Program:
    """Runs commands in this process (fast) or in one of their own (real)."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, capture: pytest.CaptureFixture[bytes]) -> None:
        self.folder = folder
        self.key = folder / "owner.key"
        self.repository = folder / "repository"
        self._monkeypatch = monkeypatch
        self._capture = capture

    def set(self, **variables: str | None) -> None:
        """Set or (None) unset variables of the environment."""
        for name, value in variables.items():
            if value is None:
                self._monkeypatch.delenv(name, raising=False)
            else:
                self._monkeypatch.setenv(name, value)

    def __call__(self, *words: object, stdin: bytes = b"", ok: bool = False) -> Ran:
        self._capture.readouterr()
        self._monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        status = main.run([str(word) for word in words])
        captured = self._capture.readouterr()
        ran = Ran(status, captured.out, captured.err.decode("utf-8", "surrogateescape"))
        assert "Traceback" not in ran.err
        assert not ok or status == 0, ran.err
        return ran

    def do(self, *words: object, stdin: bytes = b"") -> Ran:
        """Run what has to end well."""
        return self(*words, stdin=stdin, ok=True)

    def start(self, *words: object, **options: object) -> subprocess.Popen[bytes]:
        """Begin a run in a process of its own."""
        pipe = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
        # Where the tests are run in the background, a shell has them ignore SIGINT, and what they start as well.
        listening = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)} | pipe
        return subprocess.Popen([sys.executable, "-m", "safehold", *map(str, words)], **listening)  # type: ignore[call-overload,no-any-return]

    def spawn(self, *words: object, stdin: bytes = b"") -> Ran:
        """A whole run in a process of its own, without a terminal."""
        done = subprocess.run(
            [sys.executable, "-m", "safehold", *map(str, words)],
            input=stdin,
            capture_output=True,
            check=False,
            start_new_session=True,
        )
        return Ran(done.returncode, done.stdout, done.stderr.decode("utf-8", "surrogateescape"))
