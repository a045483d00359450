"""Progress where there is no terminal (a log, a pipe): a line now and then."""

from __future__ import annotations

import sys
from collections.abc import Callable

from safehold.cli.render.words import count, duration, size
from safehold.core.events import Progress

EVERY_SECONDS = 30.0


class Lines:
    """A line every ``EVERY_SECONDS``; a short run says nothing."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._start = monotonic()
        self._next = self._start + EVERY_SECONDS

    def progress(self, event: Progress) -> None:
        now = self._monotonic()
        if now < self._next:
            return
        self._next = now + EVERY_SECONDS
        self.above(f"{event.phase}: {_amount(event)}, after {duration(now - self._start)}")

    def above(self, line: str) -> None:
        sys.stderr.write(line + "\n")
        sys.stderr.flush()

    def close(self) -> None:
        """Nothing is left on the screen."""


def _amount(event: Progress) -> str:
    if event.total_bytes:
        return f"{size(event.bytes)} of {size(event.total_bytes)} ({100 * event.bytes // event.total_bytes} %)"
    return f"{count(event.files, 'file')}, {size(event.bytes)}"
