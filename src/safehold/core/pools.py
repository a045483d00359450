"""Pools of threads that can be waited for again after a wait was interrupted.

Once Ctrl-C has interrupted ``Thread.join``, Python 3.11 and 3.12 take the thread for one that has ended (the thread's own lock
is released), and so does ``ThreadPoolExecutor.shutdown``: whoever stops a pool then would close files that its threads still use.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import partial
from typing import ParamSpec, TypeVar

_P = ParamSpec("_P")
_T = TypeVar("_T")


class Pool(ThreadPoolExecutor):
    """Its ``shutdown``, if it waits, returns only when no job runs any more, also after it was interrupted."""

    def __init__(self, most: int, name: str) -> None:
        super().__init__(most, thread_name_prefix=name)
        self._under_way: set[Future[object]] = set()
        self._running = 0
        """An interrupt in the middle of ``submit`` leaves a job that runs and whose future nobody has."""
        self._quiet = threading.Condition()

    def submit(self, job: Callable[_P, _T], /, *arguments: _P.args, **named: _P.kwargs) -> Future[_T]:
        future = super().submit(self._counted, partial(job, *arguments, **named))
        self._under_way.add(future)  # type: ignore[arg-type]
        future.add_done_callback(self._under_way.discard)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        super().shutdown(wait=False, cancel_futures=cancel_futures)
        if wait:
            _ended(self._under_way)
            with self._quiet:
                self._quiet.wait_for(lambda: not self._running)
            super().shutdown(wait=True)

    def _counted(self, job: Callable[[], _T]) -> _T:
        with self._quiet:
            self._running += 1
        try:
            return job()
        finally:
            with self._quiet:
                self._running -= 1
                self._quiet.notify_all()


def _ended(jobs: set[Future[object]]) -> None:
    wait(jobs.copy())
