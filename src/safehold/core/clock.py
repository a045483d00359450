"""The only source of time, so that tests own it."""

from __future__ import annotations

import time
from typing import Protocol

NS = 1_000_000_000
"""Nanoseconds of a second."""


class Clock(Protocol):
    """Wall and monotonic time."""

    def now_ns(self) -> int:
        """Wall time in nanoseconds since 1970 UTC."""

    def monotonic(self) -> float:
        """Seconds that never go back, for intervals."""

    def sleep(self, seconds: float) -> None:
        """Wait."""


class SystemClock:
    """The machine's own clock."""

    def now_ns(self) -> int:
        return time.time_ns()

    def monotonic(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


class ManualClock:
    """A clock that only moves when told to; ``sleep`` moves it."""

    def __init__(self, now_ns: int = 1_700_000_000_000_000_000) -> None:
        self._now_ns = now_ns
        self._monotonic = 0.0

    def now_ns(self) -> int:
        return self._now_ns

    def monotonic(self) -> float:
        return self._monotonic

    def sleep(self, seconds: float) -> None:
        self.advance(seconds)

    def advance(self, seconds: float) -> None:
        """Move both times forward by ``seconds``."""
        self._now_ns += int(seconds * 1e9)
        self._monotonic += seconds
