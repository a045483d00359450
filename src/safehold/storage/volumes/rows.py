"""Parity inside a volume: which frames of a session make a row, and the parity frames behind them.  ``docs/format/volumes.md``.

The n data frames of a session stand in R = ceil(n / k) rows, column by column: frame i is in row i mod R, column i // R.  So a
burst of bad frames takes one frame of each of many rows.  The rows' parity frames follow in the same order: parity frame t is
in row t mod R and is its parity number t // R.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import cycle

from safehold.storage.volumes.behind import Behind, Rooms, ahead
from safehold.storage.volumes.erasure import code_of
from safehold.storage.volumes.frames import INSIDE, Stamp, seal_parity
from safehold.storage.volumes.galois import address

LEAST = 2
"""Parity frames that a row has, however short it is."""
SLICE = 32 << 20
"""Bytes of data frames that are taken into memory at once."""

ReadFrames = Callable[[int, memoryview], object]
"""Fill the buffer with the frames from a slot on."""


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of a session of ``n`` data frames under the code ``k`` + ``m``; m = 0: there is no parity."""

    n: int
    k: int
    m: int

    @property
    def rows(self) -> int:
        return -(-self.n // self.k)

    @property
    def columns(self) -> int:
        """Columns in which there is anything."""
        return -(-self.n // self.rows) if self.n else 0

    @property
    def each(self) -> int:
        """Parity frames of a row: all m where rows are full, fewer in a small session."""
        return min(self.m, max(LEAST, -(-self.columns * self.m // self.k))) if self.n else 0

    @property
    def parity(self) -> int:
        """Parity frames in all."""
        return self.rows * self.each

    def height(self, column: int) -> int:
        """How many rows have a data frame in a column."""
        return min(self.rows, self.n - column * self.rows)

    def slices(self, frame_size: int) -> Iterator[tuple[int, int]]:
        """The rows in runs (first, end) of a size to be held in memory."""
        step = max(1, SLICE // (frame_size * max(1, self.columns)))
        for first in range(0, self.rows, step):
            yield first, min(self.rows, first + step)


def encode(rows: Rows, stamp: Stamp, start: int, read: ReadFrames, write: Callable[[int, bytearray], object]) -> None:
    """Make a session's parity frames.  ``start``: the slot of its first data frame; the parity follows the last."""
    size, code = stamp.size, code_of(rows.k, rows.m) if rows.m else None
    if code is None:
        return

    def seal_and_write(first: int, parity: list[bytearray]) -> None:
        for number, block in enumerate(parity):
            index = number * rows.rows + first
            seal_parity(block, INSIDE, stamp, start + rows.n + index, index)
            write(start + rows.n + index, block)

    def load(first: int, end: int, room: Rooms) -> tuple[int, int, _Columns]:
        data = _Columns(rows, first, end, size, room.take("data", rows.columns * (end - first) * size))
        data.load(range(rows.columns), lambda column: start + column * rows.rows, read)
        return first, (end - first) * size, data

    rooms, made = cycle((Rooms(), Rooms())), cycle((Rooms(), Rooms()))
    with Behind() as behind:
        for first, length, data in ahead(partial(load, *each, next(rooms)) for each in rows.slices(size)):
            room = next(made)
            parity = [room.take(number, length) for number in range(rows.each)]
            code.encode(
                {column: data.place(column) for column in range(rows.columns)},
                {rows.k + number: address(block) for number, block in enumerate(parity)},
                length,
            )
            behind.run(partial(seal_and_write, first, parity))


class _Columns:
    """The frames of some rows, column by column; where there is no frame there are zeros."""

    def __init__(self, rows: Rows, first: int, end: int, size: int, buffer: bytearray) -> None:
        """``buffer``: room for them, whatever is in it."""
        self._rows = rows
        self._first = first
        self._height = end - first
        self._size = size
        self.buffer = buffer
        self._base = address(self.buffer)

    def load(self, columns: Iterable[int], slot_of: Callable[[int], int], read: ReadFrames) -> None:
        view = memoryview(self.buffer)
        for column in columns:
            here = max(0, min(self._height, self._rows.height(column) - self._first))
            at = column * self._height * self._size
            if here > 0:
                read(slot_of(column) + self._first, view[at : at + here * self._size])
            if here < self._height:
                view[at + here * self._size : at + self._height * self._size] = bytes((self._height - here) * self._size)

    def place(self, column: int) -> int:
        return self._base + column * self._height * self._size
