"""Segments: the unit of compression and sealing.  ``docs/format/segments.md``.

A segment holds one large chunk or many small ones, one after the other, compressed together and sealed under a key of its
own.  It names neither a pack nor a place, so that packs can be rewritten, and shares kept, without opening it.  Its table
(which chunks, how long) is sealed apart, under the index key, and travels with it.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

import msgspec

from safehold.codec import compression, sealing
from safehold.codec.levels import Levels
from safehold.core.errors import DamageError, FormatError
from safehold.repo.seals import Seals, SessionKey, SessionRef

TARGET = 2 * 1024 * 1024
"""Bytes of small chunks that are gathered before they are compressed together."""
LIMIT = 16 * 1024 * 1024
"""No segment holds more, before or after compression; a reader refuses what claims to."""
ROW = struct.Struct("<24sI")
"""A line of a table: chunk id, length."""


class SealedSegment(msgspec.Struct, frozen=True):
    """A segment on its way into a pack."""

    id: bytes
    kind: int
    session: SessionRef
    body: bytes
    table: bytes
    chunks: list[tuple[bytes, int]]
    """Chunk ids and their lengths, in order.  Known to its maker only."""

    @property
    def raw(self) -> int:
        """Bytes before compression."""
        return sum(length for _, length in self.chunks)


class Sealer(msgspec.Struct, frozen=True):
    """How one session makes segments."""

    seals: Seals
    session: SessionKey
    level: int = compression.DEFAULT_LEVEL
    pad: bool = False
    verify: bool = True
    """Open again what was sealed before it is stored: memory goes bad, and libraries have had bugs (restic #4523)."""
    columns: int = 0
    """The level for what is smaller in columns; 0: that is not tried."""
    levels: Levels | None = None
    """Chooses the level of everything else, instead of ``level``, and says what suits columns."""

    def seal(self, kind: int, ids: Sequence[bytes], pieces: Sequence[bytes | memoryview]) -> SealedSegment:
        """Compress and seal ``pieces``, whose names are ``ids``."""
        raw = bytes(pieces[0]) if len(pieces) == 1 else b"".join(pieces)
        chunks = [(name, len(piece)) for name, piece in zip(ids, pieces, strict=True)]
        return self._seal(kind, raw, chunks)

    def _seal(self, kind: int, raw: bytes, chunks: list[tuple[bytes, int]]) -> SealedSegment:
        seals = self.seals
        segment_id = seals.random(16)
        key = seals.segment_key(self.session.secret, segment_id)
        level = self.levels.choose(raw) if self.levels else self.level
        suits = self.levels.suits_columns if self.levels else compression.suits_columns
        packed = compression.pack(raw, level, pad=self.pad and len(chunks) == 1, columns=self.columns, suits=suits)
        body = sealing.aead_seal(key, sealing.ZERO_NONCE, packed, seals.segment_aad(b"segment", kind, segment_id))
        if self.verify and open_body(seals, self.session.secret, kind, segment_id, body) != raw:
            raise DamageError(
                "A segment did not come back as it was sealed, before it was stored.",
                "Test this machine's memory, then try again.",
            )
        table = seal_table(seals, kind, segment_id, chunks)
        return SealedSegment(segment_id, kind, self.session.ref, body, table, chunks)


def open_body(seals: Seals, secret: bytes, kind: int, segment_id: bytes, body: bytes) -> bytes:
    """The raw bytes of a segment.  Raises ``DamageError`` when it is not what was sealed."""
    key = seals.segment_key(secret, segment_id)
    packed = sealing.aead_open(key, sealing.ZERO_NONCE, body, seals.segment_aad(b"segment", kind, segment_id))
    return compression.unpack(packed, LIMIT)


def seal_table(seals: Seals, kind: int, segment_id: bytes, chunks: Sequence[tuple[bytes, int]]) -> bytes:
    """The sealed table of a segment: a row per chunk."""
    rows = b"".join(ROW.pack(name, length) for name, length in chunks)
    return sealing.aead_seal(seals.table_key(segment_id), sealing.ZERO_NONCE, rows, seals.segment_aad(b"table", kind, segment_id))


def open_table(seals: Seals, kind: int, segment_id: bytes, sealed: bytes) -> list[tuple[bytes, int]]:
    """Chunk ids and lengths.  Raises ``DamageError``."""
    rows = sealing.aead_open(
        seals.table_key(segment_id), sealing.ZERO_NONCE, sealed, seals.segment_aad(b"table", kind, segment_id)
    )
    if len(rows) % ROW.size:
        raise FormatError("A segment's table is not made of whole rows.")
    chunks = [(name, length) for name, length in ROW.iter_unpack(rows)]
    if sum(length for _, length in chunks) > LIMIT:
        raise FormatError("A segment's table claims more than a segment may hold.")
    return chunks
