"""The programs that a run is made of: this one, called anew for each step, and the user's own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import msgspec

from safehold.core.errors import Interrupted, SafeholdError
from safehold.core.events import Event, Note, Progress, Reporter, Warn
from safehold.core.pools import Pool

_SHELL_MESSAGE = 300
"""Characters of what a program of the user's said that are kept."""
_EVENTS: dict[str, type[Event]] = {"progress": Progress, "warn": Warn, "note": Note}


class Said(msgspec.Struct):
    """What a child ended with."""

    status: int
    results: list[dict[str, object]] = []
    """The objects that it wrote to standard output."""
    code: str = ""
    message: str = ""


class Children:
    """Runs programs one after the other, and can stop the one that runs.

    They have no terminal, and no Ctrl-C reaches them but by ``stop``: a second one would end them at once, half-way.
    """

    def __init__(self, program: Sequence[str], environ: Mapping[str, str], report: Reporter) -> None:
        """``program``: how this one is called."""
        self._program = program
        self._environ = environ
        self._report = report
        self._lock = threading.Lock()
        self._running: subprocess.Popen[bytes] | None = None
        self._is_shell = False
        self._stopped = False

    def stop(self) -> None:
        """Have the program that runs end in order, and no other begin.  May be called from any thread."""
        with self._lock:
            if not self._stopped and self._running is not None:
                self._end(self._running)
            self._stopped = True

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        """This program ends what it has begun itself, in order; of a shell's command, all are told."""
        if self._is_shell and sys.platform != "win32":
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
        else:
            process.terminate()

    def own(self, words: Sequence[str]) -> Said:
        """Call this program with these words and ``--json``.  Its progress and warnings are reported.  Raises ``Interrupted``."""
        said = Said(0)
        words = [*self._program, *words, "--json"]
        with Pool(1, "told") as pool, self._running_one(words, self._environ, subprocess.PIPE) as process:
            assert process.stdout is not None and process.stderr is not None
            told = pool.submit(self._listen, process.stderr, said)
            said.results = [value for line in process.stdout if (value := _object(line)) is not None]
            told.result()
        said.status = _status(process)
        return said

    def of_user(self, command: str, variables: Mapping[str, str]) -> Said:
        """Run a command of the user's by the shell.  Raises ``Interrupted``."""
        said = Said(0)
        lines = []
        with self._running_one(["/bin/sh", "-c", command], {**self._environ, **variables}, subprocess.STDOUT) as process:
            assert process.stdout is not None
            for line in process.stdout:
                lines.append(line.decode(errors="backslashreplace").rstrip())
                self._report(Note(message=lines[-1]))
        said.status = _status(process)
        if said.status:
            said.code = "command-failed"
            said.message = f"It ended with {said.status}: {' '.join(lines)[-_SHELL_MESSAGE:] or 'it said nothing'}"
        return said

    @contextmanager
    def _running_one(self, words: Sequence[str], environ: Mapping[str, str], stderr: int) -> Iterator[subprocess.Popen[bytes]]:
        """A program, which has ended afterwards.  Raises ``Interrupted``."""
        with self._lock:
            if self._stopped:
                raise Interrupted("Interrupted.")
            self._is_shell = stderr == subprocess.STDOUT
            self._running = _begun(words, environ, stderr)
            process = self._running
        with process:
            try:
                yield process
            except BaseException:
                self.stop()
                process.wait()  # of a Ctrl-C, Popen itself waits a moment only
                raise
        with self._lock:
            self._running = None
            if self._stopped:
                raise Interrupted("Interrupted.")

    def _listen(self, stream: IO[bytes], said: Said) -> None:
        for line in stream:
            value = _object(line)
            if value is None:
                said.message = line.decode(errors="backslashreplace").strip() or said.message
            elif value.get("event") == "error":
                said.code, said.message = str(value["code"]), " ".join(f"{value['message']} {value['hint']}".split())
            elif str(value.get("event")) in _EVENTS:
                self._report(msgspec.convert(value, _EVENTS[str(value["event"])]))


def _begun(words: Sequence[str], environ: Mapping[str, str], stderr: int) -> subprocess.Popen[bytes]:
    pipe, nothing = subprocess.PIPE, subprocess.DEVNULL
    try:
        return subprocess.Popen(
            words, stdin=nothing, stdout=pipe, stderr=stderr, env=dict(environ), cwd=_home(), start_new_session=True
        )
    except OSError as error:
        raise SafeholdError(f"{words[0]} cannot be run: {error.strerror}.", "It is tried again later.") from error


def _home() -> Path:
    home = Path.home()
    return home if home.is_dir() else Path(home.anchor)


def _status(process: subprocess.Popen[bytes]) -> int:
    """As a shell has it."""
    return process.returncode if process.returncode >= 0 else 128 - process.returncode


def _object(line: bytes) -> dict[str, object] | None:
    try:
        return msgspec.json.decode(line, type=dict[str, object])
    except msgspec.DecodeError:
        return None
