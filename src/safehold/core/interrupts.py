"""Interrupts that wait for a moment.

An interrupt is an exception that may come between any two steps, even while ``Popen`` is at work: the program then runs, and
nobody knows of it.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

from safehold.core import threads

_held: list[None] = []
"""One for each ``held`` that is entered."""
_waiting: list[int] = []
"""Numbers of the signals that came meanwhile."""


@contextmanager
def held() -> Iterator[None]:
    """Interrupts of the main thread wait until the end of this; the first of them is then handled."""
    if not threads.is_main():
        yield
        return
    _held.append(None)
    try:
        yield
    finally:
        _held.pop()
        if not _held and _waiting:
            number = _waiting[0]
            _waiting.clear()
            signal.raise_signal(number)


def waits(number: int) -> bool:
    """For the handler of a signal: whether it has to wait.  It is then sent again."""
    if _held:
        _waiting.append(number)
    return bool(_held)
