"""Index shards as numpy columns, so that ten million chunks are looked at without ten million Python objects."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from safehold.core.errors import FormatError
from safehold.repo.shards import Shard

Numbers = NDArray[np.int64]
Flags = NDArray[np.bool_]
Amounts = NDArray[np.float64]

SEGMENT = np.dtype([("id", "V16"), ("pack", "<u4"), ("session", "<u4"), ("offset", "<u4"), ("length", "<u4")])
PACK = np.dtype([("id", "V32"), ("size", "<u8"), ("kind", "u1"), ("rest", "V7")])


class Columns:
    """One shard.  ``n`` rows (places of chunks), ``s`` segments, ``p`` packs; nothing is copied that need not be."""

    def __init__(self, shard: Shard) -> None:
        """Raises ``FormatError`` where a row points outside the shard."""
        self.shard = shard
        self.prefixes: NDArray[np.uint64] = np.frombuffer(shard.prefixes(), np.uint64)  # type: ignore[call-overload]
        self.rests = np.frombuffer(shard.rests, ">u8").reshape(-1, 2)
        """(n, 2): bytes 8 to 15 and 16 to 23 of the chunk ids."""
        self.places = np.frombuffer(shard.places, "<u4").reshape(-1, 3)
        """(n, 3): segment, offset and length."""
        self.segments: NDArray[Any] = np.frombuffer(shard.segment_rows, SEGMENT)
        self.packs: NDArray[Any] = np.frombuffer(shard.pack_rows, PACK)
        self._check()

    @property
    def rows(self) -> int:
        return len(self.prefixes)

    @property
    def row_packs(self) -> NDArray[Any]:
        """(n,): the pack of each row, by its number in this shard."""
        return np.asarray(self.segments["pack"][self.places[:, 0]])

    def pack_ids(self) -> list[bytes]:
        """(p,): 32 bytes each."""
        return [pack for pack, _, _ in self.shard.packs()]

    def names(self, rows: Numbers) -> list[bytes]:
        """The chunk ids of some rows, 24 bytes each."""
        columns = np.empty((len(rows), 3), ">u8")
        columns[:, 0] = self.prefixes[rows]
        columns[:, 1:] = self.rests[rows]
        joined = columns.tobytes()
        return [joined[at : at + 24] for at in range(0, len(joined), 24)]

    def _check(self) -> None:
        inside = (
            (self.rows == 0 or int(self.places[:, 0].max()) < len(self.segments))
            and (len(self.segments) == 0 or int(self.segments["pack"].max()) < len(self.packs))
            and (len(self.segments) == 0 or int(self.segments["session"].max()) < len(self.shard.tail.sessions))
        )
        if not inside or np.any(self.prefixes[1:] < self.prefixes[:-1]):
            raise FormatError(
                f"Index shard {self.shard.name[:8]} points outside itself, or is not sorted.", "Run `safehold repair`."
            )
