"""The journal of a roll of pages: all that an image's file will be changed by is on the disk before the first byte of it is.

Little-endian.  Head: magic, page size, number of the roll, size of the file after it, the moment that it then shows (ns since
1970 UTC), digest.  Then frames: ``PAGE``, how many pages (4), digest, their numbers from 0 on (4 each), the pages.  Then the mark
of the commit: ``DONE``, how many frames (4), digest.  Each digest is of the one before it and of what it stands for (blake3).
"""

from __future__ import annotations

import os
import struct
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING

assert sys.platform != "win32"

import msgspec
from blake3 import blake3

assert sys.platform != "win32"

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MAGIC = b"SHIMAGE1"
STEP = 1 << 20
PAGE, DONE = b"PAGE", b"DONE"
DIGEST = 16
HEAD = struct.Struct("<8sIQQq")
FRAME = struct.Struct("<4sI16s")
MOST = 4096
"""Pages of a frame: 1 MiB of pages of 512 bytes are 2048."""
ROLLING = b"Safehold rolling"
"""What a database file begins with in the middle of a roll, instead of SQLite's 16 bytes: no program opens it then."""


class Roll(msgspec.Struct, frozen=True):
    """What a journal begins with."""

    page: int
    number: int
    size: int
    moment_ns: int


class Writer:
    """Writes a journal; without ``commit`` it counts for nothing."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._digest = b""
        self._frames = 0
        self._seek = HEAD.size + DIGEST
        file.write(bytes(self._seek))  # the head is written last: it says how large the file will be

    @property
    def is_empty(self) -> bool:
        """Whether nothing was added."""
        return not self._frames

    def add(self, numbers: NDArray[np.uint32], pages: bytes) -> None:
        """Pages of a file, by their numbers."""
        body = numbers.astype("<u4").tobytes() + pages
        self._digest = _digest(self._digest, body)
        self._file.write(FRAME.pack(PAGE, len(numbers), self._digest) + body)
        self._frames += 1

    def commit(self, roll: Roll) -> None:
        """From now on, the roll is done or will be done."""
        head = HEAD.pack(MAGIC, roll.page, roll.number, roll.size, roll.moment_ns)
        self._file.write(FRAME.pack(DONE, self._frames, _digest(self._digest, head)))
        self._file.flush()
        self._file.seek(0)
        self._file.write(head + _digest(b"", head))
        self._file.flush()
        os.fsync(self._file.fileno())


def read(path: Path) -> Roll | None:
    """The roll that a journal holds; None if there is none, or it was not committed: the file was not touched then."""
    try:
        with path.open("rb") as file:
            roll = _head(file)
            if roll is not None:
                for _ in _frames(file, roll):
                    pass
            return roll
    except (FileNotFoundError, _Torn):
        return None


class NoRoom(OSError):
    """There is no room for the file to grow.  It is as it was."""


def carry_out(path: Path, target: Path) -> None:
    """Do to a file what a committed journal says: as often as needed, the result is the same.

    Raises ``NoRoom`` where nothing was done, ``OSError``.
    """
    with path.open("rb") as file, open(os.open(target, os.O_RDWR), "r+b", buffering=0) as image:
        roll = _head(file)
        assert roll is not None
        _grow(image.fileno(), roll.size)
        if os.fstat(image.fileno()).st_size >= len(ROLLING):
            _put(image.fileno(), ROLLING, 0)
            os.fsync(image.fileno())
        first = b""
        for numbers, pages in _frames(file, roll):
            for at, number in enumerate(numbers):
                page = pages[at * roll.page : (at + 1) * roll.page]
                if number:
                    _put(image.fileno(), page, number * roll.page)
                else:
                    first = page
        os.ftruncate(image.fileno(), roll.size)
        os.fsync(image.fileno())
        _put(image.fileno(), first, 0)
        os.fsync(image.fileno())


def _grow(descriptor: int, size: int) -> None:
    before = os.fstat(descriptor).st_size
    if size <= before:
        return
    try:
        _reserve(descriptor, before, size)
    except OSError as error:
        with suppress(OSError):
            os.ftruncate(descriptor, before)
        if os.pread(descriptor, len(ROLLING), 0) == ROLLING:
            raise
        raise NoRoom(error.errno, error.strerror) from error


def _reserve(descriptor: int, before: int, size: int) -> None:
    if sys.platform == "linux":
        os.posix_fallocate(descriptor, before, size - before)
        return
    for offset in range(before, size, STEP):
        _put(descriptor, bytes(min(STEP, size - offset)), offset)


def _put(descriptor: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        done = os.pwrite(descriptor, view, offset)
        view, offset = view[done:], offset + done


class _Torn(Exception):
    """A journal ends before it was committed."""


def _head(file: IO[bytes]) -> Roll | None:
    data = file.read(HEAD.size + DIGEST)
    if len(data) < HEAD.size + DIGEST or data[HEAD.size :] != _digest(b"", data[: HEAD.size]):
        return None
    magic, page, number, size, moment_ns = HEAD.unpack(data[: HEAD.size])
    return Roll(page, number, size, moment_ns) if magic == MAGIC else None


def _frames(file: IO[bytes], roll: Roll) -> Iterator[tuple[tuple[int, ...], bytes]]:
    """Every frame: the numbers of its pages, the pages.  Raises ``_Torn`` unless the mark of the commit follows."""
    before, count = b"", 0
    while True:
        head = file.read(FRAME.size)
        if len(head) < FRAME.size:
            raise _Torn
        kind, number, digest = FRAME.unpack(head)
        if kind == DONE:
            if number != count or digest != _digest(before, HEAD.pack(MAGIC, *_values(roll))):
                raise _Torn
            return
        if kind != PAGE or number > MOST:
            raise _Torn
        body = file.read(number * (4 + roll.page))
        before, count = _digest(before, body), count + 1
        if before != digest:
            raise _Torn
        yield struct.unpack_from(f"<{number}I", body), body[4 * number :]


def _values(roll: Roll) -> tuple[int, int, int, int]:
    return roll.page, roll.number, roll.size, roll.moment_ns


def _digest(before: bytes, data: bytes) -> bytes:
    return blake3(before + data).digest(DIGEST)
