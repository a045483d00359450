"""One writer at a time, of all processes of this machine."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safehold.core.clock import Clock
from safehold.storage import filesystem as fs

_POLL_SECONDS = 0.02


class Exclusive:
    """A lock file; it ends with the process that holds it."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._lock = threading.RLock()
        self._depth = 0

    @contextmanager
    def held(self) -> Iterator[None]:
        """Within it, nobody else is; it may be entered again by the thread that is in it."""
        with self._lock:
            descriptor = self._acquire() if not self._depth else -1
            self._depth += 1
            try:
                yield
            finally:
                self._depth -= 1
                if descriptor >= 0:
                    os.close(descriptor)

    def _acquire(self) -> int:
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)
        try:
            while not fs.hold(descriptor):
                self._clock.sleep(_POLL_SECONDS)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor
