"""Locks that end with their holder, however it ends: of the operating system, on a file."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class LockedElsewhere(Exception):
    """Another process holds the lock."""


@contextmanager
def locked(path: Path, *, patience: float = 0) -> Iterator[None]:
    """Hold the lock of a file, which is made if it is not there and stays.  Raises ``LockedElsewhere``, ``OSError``.

    ``patience``: seconds.  A holder that is killed while it begins another program has a child for a moment, which holds it too.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        _wait_for(fd, patience)
        yield
    finally:
        os.close(fd)


def _wait_for(fd: int, patience: float) -> None:
    until = time.monotonic() + patience
    while True:
        try:
            return _take(fd)
        except LockedElsewhere:
            if time.monotonic() >= until:
                raise
        time.sleep(0.02)


def _take(fd: int) -> None:
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise LockedElsewhere from error
