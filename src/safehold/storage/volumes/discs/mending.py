"""Damaged frames of a volume made anew from the parity of their session, and where they are kept as long as they are needed."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator

from safehold.storage.volumes import frames
from safehold.storage.volumes.erasure import code_of
from safehold.storage.volumes.frames import Stamp
from safehold.storage.volumes.galois import address
from safehold.storage.volumes.media.medium import Medium
from safehold.storage.volumes.rows import SLICE, Rows


class Mended:
    """Frames that were made anew, in a file without a name."""

    def __init__(self, frame_size: int) -> None:
        self._size = frame_size
        self._places: dict[tuple[int, int], int] = {}
        self._file: tempfile._TemporaryFileWrapper[bytes] | None = None
        self._end = 0

    def put(self, volume: int, slot: int, frame: memoryview | bytearray) -> None:
        """Keep a frame."""
        if self._file is None:
            self._file = tempfile.NamedTemporaryFile(prefix="safehold-volumes-")  # noqa: SIM115 (it lives as long as this)
        self._file.seek(self._end)
        self._file.write(frame)
        self._places[volume, slot] = self._end
        self._end += self._size

    def has(self, volume: int, slot: int) -> bool:
        return (volume, slot) in self._places

    def get(self, volume: int, slot: int, into: memoryview) -> bool:
        """Copy a frame; False if it isn't here."""
        place = self._places.get((volume, slot))
        if place is None or self._file is None:
            return False
        self._file.seek(place)
        into[:] = self._file.read(self._size)
        return True

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
        self._places.clear()


def mend(rows: Rows, stamp: Stamp, start: int, wanted: list[int], medium: Medium, into: Mended, across: int = 0) -> int:
    """Make the damaged data frames of some rows from parity; how many.  What cannot be made is left out.

    ``across``: so many of the first frames are parity across volumes.
    """
    done = 0
    step = max(1, SLICE // (stamp.size * (rows.columns + rows.each)))
    for first, end in _runs(wanted, step):
        done += _Block(rows, stamp, start, first, end, medium, across).mend(into)
    return done


class _Block:
    """Some rows that lie side by side, data and parity, column by column."""

    def __init__(self, rows: Rows, stamp: Stamp, start: int, first: int, end: int, medium: Medium, across: int) -> None:
        self._rows = rows
        self._across = across
        self._stamp = stamp
        self._start = start
        self._first = first
        self._height = end - first
        self._size = stamp.size
        self._buffer = bytearray((rows.columns + rows.each) * self._height * self._size)
        view = memoryview(self._buffer)
        self._bad: list[set[int]] = [set() for _ in range(self._height)]
        """Per row, the numbers of its blocks that are damaged; parity from k on."""
        for column in range(rows.columns + rows.each):
            self._load(column, view, medium)

    def _load(self, column: int, view: memoryview, medium: Medium) -> None:
        is_data = column < self._rows.columns
        here = min(self._height, self._rows.height(column) - self._first) if is_data else self._height
        if here <= 0:
            return
        slot = self._slot(column)
        at = column * self._height * self._size
        part = view[at : at + here * self._size]
        medium.read(slot * self._size, part)
        number = column if is_data else self._rows.k + column - self._rows.columns
        base = address(part)
        for row in range(here):
            place = row * self._size
            if not (frames.is_whole(part, base, place, self._size) and frames.parse(part, place).slot == slot + row):
                self._bad[row].add(number)

    def _slot(self, column: int) -> int:
        """Where the first of these rows' frames of a column lies."""
        if column < self._rows.columns:
            return self._start + column * self._rows.rows + self._first
        return self._start + self._rows.n + (column - self._rows.columns) * self._rows.rows + self._first

    def mend(self, into: Mended) -> int:
        done = 0
        begin = 0
        while begin < self._height:
            end = begin + 1
            while end < self._height and self._shape(end) == self._shape(begin):
                end += 1
            done += self._decode(begin, end, into)
            begin = end
        return done

    def _shape(self, row: int) -> tuple[frozenset[int], int]:
        """What rows must have in common to be made together: what is damaged, and how many data frames there are."""
        width = sum(self._rows.height(column) > self._first + row for column in (self._rows.columns - 1,))
        return frozenset(self._bad[row]), width

    def _decode(self, begin: int, end: int, into: Mended) -> int:
        rows, k = self._rows, self._rows.k
        lost = sorted(number for number in self._bad[begin] if number < k)
        width = rows.columns if rows.height(rows.columns - 1) > self._first + begin else rows.columns - 1
        if not lost or len(self._bad[begin]) > rows.each:
            return 0
        base = address(self._buffer)
        numbers = [*range(width), *range(k, k + rows.each)]
        known = {number: self._place(base, number, begin) for number in numbers if number not in self._bad[begin]}
        made = {number: bytearray((end - begin) * self._size) for number in lost}
        code_of(k, rows.m).decode(
            known, range(width, k), {number: address(each) for number, each in made.items()}, (end - begin) * self._size
        )
        for column, block in made.items():
            for row in range(end - begin):
                at, slot = row * self._size, self._slot(column) + begin + row
                if slot - self._start < self._across:
                    whole = block[at : at + self._size]
                    frames.seal_parity(whole, frames.ACROSS, self._stamp, slot, slot - self._start)
                    into.put(self._stamp.volume, slot, whole)
                elif frames.reseal(block, at, self._size, self._stamp):
                    into.put(self._stamp.volume, slot, memoryview(block)[at : at + self._size])
        return len(made) * (end - begin)

    def _place(self, base: int, number: int, row: int) -> int:
        column = number if number < self._rows.k else self._rows.columns + number - self._rows.k
        return base + (column * self._height + row) * self._size


def _runs(numbers: Iterable[int], longest: int) -> Iterator[tuple[int, int]]:
    """Neighbouring numbers together: (first, end), at most so many."""
    first = end = -1
    for number in numbers:
        if number == end and end - first < longest:
            end += 1
            continue
        if end > first:
            yield first, end
        first, end = number, number + 1
    if end > first:
        yield first, end
