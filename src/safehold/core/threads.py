"""Threads that a fork may pass by, and threads for one thing.

A fork copies only the thread that calls it; a lock that another thread held then stays locked in the child for ever.  A thread
that is registered here can be made to hold none: while its ``busy`` lock is free it only waits for the system.  ``os.fork``
takes these locks first.  A child has none of these threads, and forks in its turn without a thought of them.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

_T = TypeVar("_T")
_pausable: dict[threading.Thread, threading.Lock] = {}


def register(thread: threading.Thread, busy: threading.Lock) -> None:
    """From now on a fork waits until ``busy`` is free, and counts on it that ``thread`` then holds no lock."""
    _pausable[thread] = busy


def unregister(thread: threading.Thread) -> None:
    """The thread has ended."""
    _pausable.pop(thread, None)


def disturbing() -> int:
    """How many threads there are that a fork would disturb, the calling one among them."""
    return threading.active_count() - sum(thread.is_alive() for thread in _pausable)


def is_main() -> bool:
    """Whether the calling thread is the one that the program began with."""
    return threading.current_thread() is threading.main_thread()


def beside(do: Callable[[], _T], name: str) -> Future[_T]:
    """Have something done in a thread of that name, which nobody has to wait for; what it gives, or raises."""
    future: Future[_T] = Future()

    def run() -> None:
        try:
            future.set_result(do())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, name=name, daemon=True).start()
    return future


def _pause() -> None:
    for busy in _pausable.values():
        busy.acquire()


def _go_on() -> None:
    for busy in _pausable.values():
        busy.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_pause, after_in_parent=_go_on, after_in_child=_pausable.clear)
