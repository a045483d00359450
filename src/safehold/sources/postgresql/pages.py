"""Page checksums, many pages at a time: ``src/include/storage/checksum_impl.h``.

32 parallel FNV-1a sums of 32 bits run over a page; the checksum is their exclusive or, mixed with the block's number.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_Words = NDArray[np.uint32]

_SUMS = 32
_PRIME = np.uint32(16777619)
_SHIFT = np.uint32(17)
_SEED_WORDS = (
    "5B1F36E9 B8525960 02AB50AA 1DE66D2A 79FF467A 9BB9F8A3 217E7CD2 83E13D2C F8D4474F E39EB970 42C6AE16 993216FA 7B093B5D "
    "98DAFF3C F718902A 0B1C9CDB E58F764B 187636BC 5D7B3BB1 E73DE7DE 92BEC979 CCA6C0B2 304A0979 85AA43D4 783125BB 6CA8EAA2 "
    "E407EAC6 4B5CFC3E 9FBF8C76 15CA20BE F2CA9FD3 959BD756"
)
_SEEDS = np.array([int(word, 16) for word in _SEED_WORDS.split(" ")], dtype=np.uint32)
_CHECKSUM = 4
"""Place of the checksum in the page header, in words of 16 bits; flags, lower and upper follow it."""
_UPPER = 7


def bad_pages(data: bytes, first: int, page: int, before: int) -> list[int]:
    """The numbers, from 0, of the pages in ``data`` whose checksum is wrong.

    ``first``: the block number of the first one in its relation.  New pages have none; those changed at ``before`` (an LSN) or
    later may have been read half written, and are written again by the recovery.
    """
    count = len(data) // page
    if not count:
        return []
    words = np.frombuffer(data, dtype="<u4", count=count * page // 4).reshape(count, page // 4)
    halves = np.frombuffer(data, dtype="<u2", count=count * page // 2).reshape(count, page // 2)
    stored = halves[:, _CHECKSUM]
    numbers = np.arange(first, first + count, dtype=np.uint32)
    wrong = (_checksums(words, numbers) != stored) & (halves[:, _UPPER] != 0)
    if not wrong.any():
        return []
    changed = words[:, 0].astype(np.uint64) << np.uint64(32) | words[:, 1]
    return [int(index) for index in np.nonzero(wrong & (changed < np.uint64(before)))[0]]


def _checksums(words: _Words, numbers: _Words) -> _Words:
    count = len(words)
    rows = words.reshape(count, -1, _SUMS)
    first = rows[:, 0, :].copy()
    first[:, _CHECKSUM // 2] &= np.uint32(0xFFFF0000)
    sums = np.broadcast_to(_SEEDS, (count, _SUMS)).copy()
    mixed = np.empty_like(sums)
    zeros = np.zeros_like(sums)
    for index in range(rows.shape[1] + 2):
        row = first if index == 0 else rows[:, index, :] if index < rows.shape[1] else zeros
        np.bitwise_xor(sums, row, out=mixed)
        np.multiply(mixed, _PRIME, out=sums)
        np.right_shift(mixed, _SHIFT, out=mixed)
        np.bitwise_xor(sums, mixed, out=sums)
    whole: _Words = np.bitwise_xor.reduce(sums, axis=1) ^ numbers
    return whole % np.uint32(65535) + np.uint32(1)
