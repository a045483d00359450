"""Chunk names that several processes of one backup have taken on, so that none stores what another stores already.

A hash table in memory that they share, without a lock.  A slot is written once.  Whoever reads one that is just being written, or
loses a race for it, sees a name that fits nothing, and at worst a chunk is stored twice, which the format allows.
"""

from __future__ import annotations

import mmap

from safehold.repo.seals import ID_SIZE

SLOTS = 1 << 20
"""24 MiB; only what is used takes memory."""
MOST_PROBES = 32
"""Beyond that a name is not taken in: the table is nearly full."""
_EMPTY = bytes(ID_SIZE)


class Claims:
    """Made before the processes part."""

    def __init__(self, slots: int = SLOTS) -> None:
        """``slots``: a power of two."""
        self._table = mmap.mmap(-1, slots * ID_SIZE)
        self._mask = slots - 1

    def has(self, name: bytes) -> bool:
        """Whether a process has taken this chunk on."""
        slot = self._slot(name)
        return slot is not None and self._table[slot : slot + ID_SIZE] == name

    def add(self, name: bytes) -> None:
        """This process takes this chunk on."""
        slot = self._slot(name)
        if slot is not None:
            self._table[slot : slot + ID_SIZE] = name

    def _slot(self, name: bytes) -> int | None:
        """Where a name is, or would be; None where there is no room."""
        table = self._table
        number = int.from_bytes(name[8:16], "little")
        for probe in range(MOST_PROBES):
            slot = ((number + probe) & self._mask) * ID_SIZE
            found = table[slot : slot + ID_SIZE]
            if found in (name, _EMPTY):
                return slot
        return None
