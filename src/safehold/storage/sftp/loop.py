"""An event loop in a thread of its own, because the engine is synchronous and ``asyncssh`` is not."""

from __future__ import annotations

import asyncio
import selectors
import sys
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeVar

from safehold.core import threads

_T = TypeVar("_T")


class Loop:
    """Runs coroutines.  ``call`` and ``start`` belong to other threads than the loop's own."""

    def __init__(self) -> None:
        self._busy = threading.Lock()
        if sys.platform == "win32":
            self.loop: asyncio.AbstractEventLoop = asyncio.new_event_loop()
        else:
            self.loop = asyncio.SelectorEventLoop(_Pausing(self._busy))
        self.loop.set_default_executor(_OneOff(1))
        # Of several requests of one write that fail together, the first is raised to us; the others are nobody's business.
        self.loop.set_exception_handler(lambda loop, context: None)
        self._thread = threading.Thread(target=self._run, name="sftp", daemon=True)
        self._thread.start()
        threads.register(self._thread, self._busy)

    def start(self, work: Coroutine[Any, Any, _T]) -> Future[_T]:
        """Have a coroutine run."""
        return asyncio.run_coroutine_threadsafe(work, self.loop)

    def call(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Run a coroutine and wait for what it returns or raises.  If the waiting is interrupted, so is the coroutine."""
        future = self.start(work)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def close(self) -> None:
        """Cancel what still runs, and end."""
        with suppress(Exception):
            self.call(_cancel_others())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        threads.unregister(self._thread)
        self.loop.close()

    def _run(self) -> None:
        with self._busy:
            self.loop.run_forever()


async def _cancel_others() -> None:
    tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in tasks:
        task.cancel()
    await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 5)


class _Pausing(selectors.DefaultSelector):
    """Holds ``busy`` except while it waits for the system: then the loop's thread has no other lock, and a fork is safe."""

    def __init__(self, busy: threading.Lock) -> None:
        super().__init__()
        self._busy = busy

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self._busy.release()
        try:
            return super().select(timeout)
        finally:
            self._busy.acquire()


class _OneOff(ThreadPoolExecutor):
    """Each task in a thread that ends with it: threads that stay would keep the program from forking."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        threading.Thread(target=_resolve, args=(future, fn, args, kwargs), name="sftp-once", daemon=True).start()
        return future


def _resolve(future: Future[Any], fn: Callable[..., Any], args: Any, kwargs: Any) -> None:
    try:
        future.set_result(fn(*args, **kwargs))
    except BaseException as error:
        future.set_exception(error)
