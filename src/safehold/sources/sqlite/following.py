"""A follower, as the process that started it sees it."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from contextlib import suppress

import msgspec

from safehold.core.errors import DatabaseFailed
from safehold.sources.sqlite.follower import Orders

ANSWER_SECONDS = 60.0


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """A line of a follower.  ``event``: started, rotated, located, stopped; doubt, failed: it has ended."""

    event: str
    timeline: int = 0
    position: int = 0
    page: int = 0
    resumed: bool = False
    file: str = ""
    looked_ns: int = 0
    reason: str = ""
    errno: int = 0


ENDED = ("doubt", "failed", "stopped")


class Following:
    """A follower's process.  What it says when it ends, it says once: then ``ended`` is that."""

    def __init__(self, orders: Orders, lock: int) -> None:
        """``lock``: a descriptor that the follower keeps open, so that nobody takes its folder while it lives."""
        command = [sys.executable, "-m", "safehold.sources.sqlite.follower"]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, bufsize=0, start_new_session=True, pass_fds=(lock,))
        self._rest = b""
        self.ended: Said | None = None
        self._send(msgspec.json.encode(orders))
        self.started = self._answer("started")
        """None if it ended at once."""

    @property
    def pid(self) -> int:
        return self._process.pid

    def look(self) -> Said | None:
        """What it said when it ended; None while it follows."""
        while self.ended is None and self._read(0):
            pass
        return self.ended

    def rotate(self) -> Said | None:
        """Have the log file closed that is being written; None if it has ended."""
        self._send(b"rotate")
        return self._answer("rotated")

    def locate(self, salts: str, frames: int) -> Said | None:
        """The position at a commit, 0 if it can't be told; None if it has ended."""
        self._send(f"locate {salts} {frames}".encode())
        return self._answer("located")

    def stop(self) -> Said | None:
        """Have it write down what there is, and end."""
        assert self._process.stdin is not None and self._process.stdout is not None
        with suppress(OSError):
            self._process.stdin.close()
        while self.ended is None and self._read(ANSWER_SECONDS) is not None:
            pass
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(ANSWER_SECONDS)
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        return self.ended

    def _send(self, line: bytes) -> None:
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.write(line + b"\n")

    def _answer(self, event: str) -> Said | None:
        while self.ended is None:
            said = self._read(ANSWER_SECONDS)
            if said is None:
                raise DatabaseFailed("The process that follows the database does not answer.", "Start the watch again.")
            if said.event == event:
                return said
        return None

    def _read(self, seconds: float) -> Said | None:
        """Its next line, or None if there is none in that time."""
        assert self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        while b"\n" not in self._rest:
            if not select.select([descriptor], [], [], seconds)[0]:
                return None
            data = os.read(descriptor, 65536)
            if not data:
                self.ended = self.ended or Said(event="failed", reason=f"it ended with status {self._process.wait()}")
                return self.ended
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\n")
        said = msgspec.convert(json.loads(line), Said)
        if said.event in ENDED:
            self.ended = said
        return said
