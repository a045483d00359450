"""The bytes of one file: written, or compared with those that are there and written only where they differ.

Crash safety.  A file is written under its own name, with mode 0600 and the time of writing.  Its times are set when all
its bytes are written, so a file that a killed restore left unfinished has another modification time than its entry, and
``if-changed`` restores it again.  Where the size is right before the bytes are (a file changed in place, a sparse file)
the bytes are forced to the medium before the time is set, so the same holds after a power cut.  Small files that differ
are truncated and written again: a file system that lost the new bytes lost the new size too.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator

assert sys.platform != "win32"

from safehold.core.errors import DamageError
from safehold.sources.files.data import Data
from safehold.sources.files.system import system

SMALL = 128 * 1024
"""Up to this many bytes a file that differs is written again as a whole."""
BLOCK = 64 * 1024
"""The unit in which larger files are compared and written."""


class Bytes:
    """Complete bytes as ``Data``."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    @property
    def size(self) -> int:
        return len(self._content)

    def read(self, offset: int, length: int) -> bytes:
        return self._content[offset : offset + length]

    def pieces(self) -> Iterator[tuple[int, int]]:
        step = 16 * BLOCK
        for offset in range(0, self.size, step):
            yield offset, min(step, self.size - offset)


def write_all(fd: int, content: bytes, offset: int) -> None:
    """Write all of ``content`` at ``offset``."""
    view = memoryview(content)
    while view:
        written = os.pwrite(fd, view, offset)
        view, offset = view[written:], offset + written


def hole_pairs(holes: list[int] | None, size: int) -> list[tuple[int, int]]:
    """Start and end of each hole below ``size``.  Raises DamageError if they are not sorted or overlap."""
    pairs: list[tuple[int, int]] = []
    end = 0
    for offset, length in zip((holes or [])[::2], (holes or [])[1::2], strict=True):
        if offset < end or length < 0:
            raise DamageError("The list of holes of a sparse file is damaged", "run `safehold check`")
        end = offset + length
        if offset < size:
            pairs.append((offset, min(end, size)))
    return pairs


def outside(pieces: Iterable[tuple[int, int]], holes: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """The parts of ascending pieces that no hole covers, as offset and length."""
    first = 0
    for offset, length in pieces:
        end = offset + length
        while first < len(holes) and holes[first][1] <= offset:
            first += 1
        at = first
        while at < len(holes) and holes[at][0] < end:
            if holes[at][0] > offset:
                yield offset, holes[at][0] - offset
            offset = max(offset, holes[at][1])
            at += 1
        if offset < end:
            yield offset, end - offset


def _parts_and_zeros(data: Data, holes: list[tuple[int, int]]) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Offset and length of what has to be read, and start and end of all else: it is zero, in a hole or not."""
    parts = list(outside(data.pieces(), holes))
    zeros = []
    at = 0
    for offset, length in [*parts, (data.size, 0)]:
        if offset > at:
            zeros.append((at, offset))
        at = offset + length
    return parts, zeros


def _read(data: Data, offset: int, length: int) -> bytes:
    content = data.read(offset, length)
    if len(content) != length:
        raise DamageError(f"Stored data is {len(content)} bytes where {length} belong", "run `safehold check`")
    return content


def write_new(fd: int, data: Data, holes: list[tuple[int, int]]) -> int:
    """Write an empty file; holes stay holes.  Returns how many bytes were written."""
    written = end = 0
    for offset, length in outside(data.pieces(), holes):
        write_all(fd, _read(data, offset, length), offset)
        written += length
        end = offset + length
    if end < data.size:
        os.ftruncate(fd, data.size)
    if holes:
        os.fsync(fd)
    return written


def equals(fd: int, data: Data, holes: list[tuple[int, int]], size: int) -> bool:
    """Whether an open file of ``size`` bytes has exactly these bytes."""
    if size != data.size:
        return False
    parts, zeros = _parts_and_zeros(data, holes)
    return all(_read_file(fd, offset, length) == _read(data, offset, length) for offset, length in parts) and all(
        not _has_data(fd, start, end) for start, end in zeros
    )


def update(fd: int, data: Data, holes: list[tuple[int, int]], size: int) -> int:
    """Make an open file of ``size`` bytes have these bytes, writing blocks that differ.  Returns the bytes written."""
    if not holes and data.size <= SMALL:
        return _update_small(fd, _read(data, 0, data.size), size)
    parts, zeros = _parts_and_zeros(data, holes)
    written = sum(_update_part(fd, offset, _read(data, offset, length)) for offset, length in parts)
    punched = [_empty(fd, start, min(end, size)) for start, end in zeros if start < size]
    if size != data.size:
        os.ftruncate(fd, data.size)
    if written or any(punched) or size != data.size:
        os.fsync(fd)
    return written + sum(punched)


def _update_small(fd: int, content: bytes, size: int) -> int:
    if size == len(content) and _read_file(fd, 0, size) == content:
        return 0
    os.ftruncate(fd, 0)
    write_all(fd, content, 0)
    return len(content)


def _update_part(fd: int, offset: int, content: bytes) -> int:
    old = _read_file(fd, offset, len(content))
    if old == content:
        return 0
    written = 0
    for start in range(0, len(content), BLOCK):
        block = content[start : start + BLOCK]
        if old[start : start + BLOCK] != block:
            write_all(fd, block, offset + start)
            written += len(block)
    return written


def _read_file(fd: int, offset: int, length: int) -> bytes:
    """At most ``length`` bytes, fewer only at the end of the file."""
    content = os.pread(fd, length, offset)
    while len(content) < length and (more := os.pread(fd, length - len(content), offset + len(content))):
        content += more
    return content


def _allocated(fd: int, start: int, end: int) -> bool:
    """Whether a stretch of a file is not one hole."""
    try:
        return os.lseek(fd, start, os.SEEK_DATA) < end
    except OSError:
        return False


def _has_data(fd: int, start: int, end: int) -> bool:
    """Whether a byte of a stretch is not zero."""
    if not _allocated(fd, start, end):
        return False
    step = 16 * BLOCK
    return any(any(_read_file(fd, offset, min(step, end - offset))) for offset in range(start, end, step))


def _empty(fd: int, start: int, end: int) -> int:
    """Make a stretch a hole, or zeros where the file system has no holes.  Returns the bytes that had to be changed."""
    if not _allocated(fd, start, end):
        return 0
    dirty = _has_data(fd, start, end)
    if not system.punch(fd, start, end - start) and dirty:
        for offset in range(start, end, BLOCK):
            write_all(fd, bytes(min(BLOCK, end - offset)), offset)
    return end - start if dirty else 0
