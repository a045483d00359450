"""The write-ahead log and its index.  https://www.sqlite.org/walformat.html.

The checksum is linear: what a frame adds to it is a product of its words with Fibonacci numbers, modulo 2^32, so that many
frames are checked at once by numpy instead of word by word.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

HEADER = 32
FRAME = 24
"""Bytes before the page of each frame."""
MAGICS = (0x377F0682, 0x377F0683)
"""The last bit says that checksums take words in big-endian order."""
VERSION = 3007000
INDEX_HEADER = 136
"""Bytes of the -shm file up to the end of what checkpoints keep there."""
_MASK = 0xFFFFFFFF


class Place(msgspec.Struct, frozen=True):
    """A frame of a WAL, as the chain of its checksums has it: what comes after it can be read and proven."""

    salts: bytes
    """8 bytes that change each time the WAL is begun anew."""
    frame: int
    """So many frames lie before."""
    sums: tuple[int, int]
    """Checksum of all that lies before."""


class Index(msgspec.Struct, frozen=True):
    """What the -shm file says: where the last committed transaction ends."""

    salts: bytes
    frames: int
    """Frames of the WAL that are committed."""
    pages: int
    """Size of the database, in pages."""
    page: int
    changes: int
    """Counts transactions, modulo 2^32, while anybody has the database open."""
    sums: tuple[int, int]
    backfilled: int
    """So many frames are in the database file already."""


class Frames(msgspec.Struct, frozen=True):
    """Frames that are proven: whole, of this WAL, in order.  Arrays are as long as there are frames."""

    first: int
    """Number of the first one, from 0 on."""
    numbers: NDArray[np.uint32]
    """Of the pages, from 1 on."""
    sizes: NDArray[np.uint32]
    """Size of the database in pages where a frame ends a transaction, else 0."""
    data: NDArray[np.uint8]
    """The pages: frames x page size."""
    end: Place


def parse_index(data: bytes) -> Index | None:
    """The index's header, in this machine's byte order; None while it is being written, or is not there yet."""
    if len(data) < INDEX_HEADER or data[:48] != data[48:96]:
        return None
    version, changes, ready, page, frames, pages, sum0, sum1 = struct.unpack_from("=I4xIBxHIIII", data)
    if version != VERSION or not ready or struct.unpack_from("=II", data, 40) != _sum_words(data[:40]):
        return None
    size = (page & 0xFE00) + ((page & 1) << 16)
    (backfilled,) = struct.unpack_from("=I", data, 96)
    return Index(data[32:40], frames, pages, size, changes, (sum0, sum1), backfilled)


def parse_header(data: bytes) -> tuple[Place, int, bool] | None:
    """Of a WAL's header: where its frames begin, its page size, and whether checksums are big-endian; None if it is not whole."""
    if len(data) < HEADER:
        return None
    magic, version, page, _, _, _, sum0, sum1 = struct.unpack(">8I", data[:HEADER])
    if magic not in MAGICS or version != VERSION:
        return None
    big = bool(magic & 1)
    if _sum_words(data[:24], ">" if big else "<") != (sum0, sum1):
        return None
    return Place(data[16:24], 0, (sum0, sum1)), page, big


def parse_frames(data: bytes, page: int, start: Place, *, big: bool) -> Frames:
    """The frames of ``data`` that follow ``start`` unbroken: up to the first one that is not whole, or of an older WAL."""
    import numpy as np

    count = len(data) // (FRAME + page)
    raw = np.frombuffer(data, np.uint8, count * (FRAME + page)).reshape(count, FRAME + page)
    heads = np.ascontiguousarray(raw[:, :FRAME]).view(">u4").astype(np.uint32)
    order = np.dtype(">u4" if big else "<u4")
    words = np.concatenate([raw[:, :8], raw[:, FRAME:]], axis=1).view(order).astype(np.uint32, copy=False)
    found = _chain(words, heads[:, 4:6], start)
    wanted = np.frombuffer(start.salts, ">u4").astype(np.uint32)
    good = (found == heads[:, 4:6]).all(axis=1) & (heads[:, 2:4] == wanted).all(axis=1) & (heads[:, 0] > 0)
    whole = int(count if good.all() else np.argmin(good))
    sums = (int(heads[whole - 1, 4]), int(heads[whole - 1, 5])) if whole else start.sums
    end = Place(start.salts, start.frame + whole, sums)
    return Frames(start.frame, heads[:whole, 0], heads[:whole, 1], raw[:whole, FRAME:], end)


def last_versions(frames: Frames, pages: int) -> tuple[NDArray[np.uint32], NDArray[np.intp]]:
    """The numbers of the pages, rising, and for each the last frame that holds it; without those beyond the database's end."""
    import numpy as np

    last = len(frames.numbers) - 1
    numbers, places = np.unique(frames.numbers[::-1], return_index=True)
    keep = numbers <= pages
    return numbers[keep], (last - places)[keep]


def _chain(words: NDArray[np.uint32], stored: NDArray[np.uint32], start: Place) -> NDArray[np.uint32]:
    """The checksum after each frame, if the one before it was right."""
    import numpy as np

    weights, step = _weights(words.shape[1])
    before = np.concatenate([np.array([start.sums], np.uint32), stored[:-1]])
    added = np.empty((len(words), 2), np.uint32)
    for first in range(0, len(words), 64):  # so that products stay in the processor's cache
        part = words[first : first + 64]
        added[first : first + 64, 0] = (part * weights[0]).sum(axis=1, dtype=np.uint32)
        added[first : first + 64, 1] = (part * weights[1]).sum(axis=1, dtype=np.uint32)
    carried: NDArray[np.uint32] = before @ step
    return carried + added


@lru_cache(maxsize=4)
def _weights(count: int) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """By what each of ``count`` words counts in the two sums; and what becomes of the sums before them.

    A pair of words (a, b) turns the sums (s, t) into (s + t + a, s + 2t + a + b): the square of the matrix that makes
    Fibonacci numbers.
    """
    import numpy as np

    numbers = [0, 1]
    while len(numbers) < count + 3:
        numbers.append((numbers[-1] + numbers[-2]) & _MASK)
    pairs = count // 2
    first, second = np.empty(count, np.uint32), np.empty(count, np.uint32)
    for pair in range(pairs):
        k = 2 * (pairs - 1 - pair)
        first[2 * pair], first[2 * pair + 1] = numbers[k + 1], numbers[k]
        second[2 * pair], second[2 * pair + 1] = numbers[k + 2], numbers[k + 1]
    middle = numbers[count]
    step = np.array([[numbers[count - 1], middle], [middle, numbers[count + 1]]], np.uint32)
    return np.stack([first, second]), step


def _sum_words(data: bytes, order: str = "=") -> tuple[int, int]:
    s = t = 0
    words = struct.unpack(f"{order}{len(data) // 4}I", data)
    for a, b in zip(words[::2], words[1::2], strict=True):
        s = (s + a + t) & _MASK
        t = (t + b + s) & _MASK
    return s, t
