"""Reading and writing in threads of their own: while something is made, what comes next is read, and what was made is written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from types import TracebackType
from typing import TypeVar

from safehold.core.pools import Pool

_T = TypeVar("_T")


class Behind:
    """Runs one job after the other, never more than one at a time.  Use as a context manager: at its end all are done."""

    def __init__(self) -> None:
        self._pool = Pool(1, "behind")
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


def ahead(jobs: Iterable[Callable[[], _T]]) -> Iterator[_T]:
    """What jobs give, in order.  While the caller works on what one gave the next runs, so there must be rooms for two."""
    with Pool(1, "ahead") as pool:
        begun: Future[_T] | None = None
        for job in jobs:
            before, begun = begun, pool.submit(job)
            if before is not None:
                yield before.result()
        if begun is not None:
            yield begun.result()


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
