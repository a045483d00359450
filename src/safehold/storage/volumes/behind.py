"""Writing in a thread of its own what was made, while the next is being made."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType


class Behind:
    """Runs one job after the other, never more than one at a time.  Use as a context manager: at its end all are done."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, "behind")
        self._last: Future[object] | None = None

    def run(self, job: Callable[[], object]) -> None:
        """Begin a job, once the one before has ended.  Raises what that one raised."""
        if self._last is not None:
            self._last.result()
        self._last = self._pool.submit(job)

    def __enter__(self) -> Behind:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._pool.shutdown()
        if self._last is not None and error is None:
            self._last.result()


class Rooms:
    """Memory that is used again: getting it anew from the system each time took half of the time of making parity."""

    def __init__(self) -> None:
        self._kept: dict[object, bytearray] = {}

    def take(self, key: object, size: int) -> bytearray:
        """Room of that size, with anything in it: what was taken under the same key before, which is of no more use."""
        room = self._kept.get(key)
        if room is None or len(room) != size:
            room = self._kept[key] = bytearray(size)
        return room
