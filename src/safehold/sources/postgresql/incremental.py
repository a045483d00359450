"""Files of an incremental base: ``INCREMENTAL.NAME`` holds the blocks of NAME that changed.

Layout (``src/backend/backup/basebackup_incremental.c``): little-endian 32-bit words magic, number of blocks, truncation block
length, then the numbers of the blocks; padded to a whole block if there are any; then the blocks.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from itertools import pairwise

import msgspec

from safehold.core.errors import DatabaseFailed

PREFIX = b"INCREMENTAL."
MAGIC = 0xD3AE1F0D
_HEAD = struct.Struct("<III")
BLOCK = 1024 * 1024
"""Runs end where a block of a paged file does."""


class Changes(msgspec.Struct, frozen=True):
    """What a file of an incremental base says."""

    blocks: tuple[int, ...]
    truncation: int
    """No block from this on is the old file's: it was cut off there, and may have grown again."""

    def size(self, page: int) -> int:
        """Bytes of the whole file."""
        return max(self.truncation, self.blocks[-1] + 1 if self.blocks else 0) * page


def whole_name(path: bytes) -> bytes | None:
    """The path of the file whose changes are in the file at ``path``; None if that is no such file."""
    folder, slash, name = path.rpartition(b"/")
    return folder + slash + name.removeprefix(PREFIX) if name.startswith(PREFIX) else None


def read_head(read: Callable[[int], bytes], page: int) -> Changes:
    """The head of such a file, up to its first block.  Raises ``DatabaseFailed``."""
    head = read(_HEAD.size)
    magic, count, truncation = _HEAD.unpack(head) if len(head) == _HEAD.size else (0, 0, 0)
    numbers = read(4 * count)
    if magic != MAGIC or len(numbers) != 4 * count:
        raise DatabaseFailed("A file of the incremental base is damaged; no snapshot was made.", "Use --method stream.")
    blocks = struct.unpack(f"<{count}I", numbers)
    if any(after <= before for before, after in pairwise(blocks)):
        raise DatabaseFailed("The blocks of the incremental base are not in order; no snapshot was made.", "Use --method stream.")
    if count:
        read(-(_HEAD.size + 4 * count) % page)
    return Changes(blocks, truncation)


def runs(changes: Changes, read: Callable[[int], bytes], page: int) -> Iterator[tuple[int, bytes]]:
    """The changed blocks, those that follow each other together, but none across a border of ``BLOCK``: offset, bytes."""
    blocks = changes.blocks
    start = 0
    for index in range(1, len(blocks) + 1):
        if index < len(blocks) and blocks[index] == blocks[index - 1] + 1 and blocks[index] * page % BLOCK:
            continue
        length = (index - start) * page
        data = read(length)
        if len(data) != length:
            raise DatabaseFailed("A file of the incremental base is cut off; no snapshot was made.", "Use --method stream.")
        yield blocks[start] * page, data
        start = index
