"""Packs: the stored objects that hold segments.  ``docs/format/packs.md``.

    header (16 bytes) | segment bodies | segment tables | footer | tail (92 bytes)

A pack is named by the SHA-256 of all its bytes, so that anyone, a server or ``sha256sum``, can verify it.  The footer is
clear: it says where each segment lies and the BLAKE3 of its sealed bytes, so that a store without keys can verify, scrub and
compact.  It carries the wrapped keys of the sessions its segments belong to, so that a pack can be read on its own, and is
signed by the device that wrote it.
"""

from __future__ import annotations

import hashlib
import re
import struct
from contextlib import suppress

import msgspec
from blake3 import blake3

from safehold.core.errors import FormatError, ObjectExists
from safehold.repo.seals import KIND_NAMES, Seals, SessionRef
from safehold.repo.segments import LIMIT, SealedSegment, open_table
from safehold.storage.store import Store, Upload

MAGIC = b"SHPACK1\n"
END = b"SHPEND1\n"
HEADER = struct.Struct("<8sB7x")
TAIL = struct.Struct("<16s64sI8s")
"""Slot id of the signer (zero: a store that compacted), its signature over the footer, the footer's length, magic."""
TARGET = 32 * 1024 * 1024
"""A pack is closed when it has grown past this."""
FOOTER_LIMIT = 64 * 1024 * 1024
FARTHEST = 0xFFFF_FFFF
"""The last offset that an index can hold."""
GUESS = 16 * 1024
"""How much of a pack's end is asked for first; nearly every footer fits."""
_NAME = re.compile("[0-9a-f]{64}")


class SegmentRef(msgspec.Struct, array_like=True, frozen=True):
    """Where a segment lies in its pack."""

    id: bytes
    session: int
    """Which of the footer's sessions sealed it."""
    offset: int
    length: int
    table_offset: int
    table_length: int
    digest: bytes
    """BLAKE3 of sealed body + sealed table, one after the other."""


class Footer(msgspec.Struct, array_like=True, frozen=True):
    """What a pack says of itself in the clear."""

    sessions: list[SessionRef]
    segments: list[SegmentRef]


class PackRecord(msgspec.Struct, frozen=True):
    """A stored pack and what it holds: what an index shard is made from."""

    id: bytes
    kind: int
    size: int
    footer: Footer
    chunks: list[list[tuple[bytes, int]]]
    """Per segment: chunk ids and lengths."""

    @property
    def key(self) -> str:
        return key_of(self.id)


def key_of(pack_id: bytes) -> str:
    """The store key of a pack."""
    name = pack_id.hex()
    return f"packs/{name[:2]}/{name}"


def id_of(key: str) -> bytes | None:
    """The id of the pack stored under a key; None if that is no key of a pack."""
    name = key.rpartition("/")[2]
    pack_id = bytes.fromhex(name) if _NAME.fullmatch(name) else b""
    return pack_id if pack_id and key == key_of(pack_id) else None


def end_of(seals: Seals, footer: Footer) -> bytes:
    """Footer and signed tail, as they end a pack."""
    encoded = msgspec.msgpack.encode(footer)
    return encoded + TAIL.pack(seals.keyring.slot_id, seals.sign("pack", encoded), len(encoded), END)


class PackBuilder:
    """Writes one pack, segment by segment.  Belongs to one thread at a time."""

    def __init__(self, seals: Seals, upload: Upload, kind: int, session: SessionRef | None = None) -> None:
        """``session`` is listed though no segment may be its own: the pack is then not the same as any other of its segments."""
        self._seals = seals
        self._upload = upload
        self._kind = kind
        self._sha256 = hashlib.sha256()
        self._sessions: dict[SessionRef, int] = {session: 0} if session else {}
        self._segments: list[SegmentRef] = []
        self._tables: list[bytes] = []
        self._chunks: list[list[tuple[bytes, int]]] = []
        self.size = 0
        self._write(HEADER.pack(MAGIC, kind))

    def append(self, segment: SealedSegment) -> None:
        """Add a segment."""
        digest = blake3(segment.body).update(segment.table).digest()
        session = self._sessions.setdefault(segment.session, len(self._sessions))
        self._segments.append(SegmentRef(segment.id, session, self.size, len(segment.body), 0, len(segment.table), digest))
        self._tables.append(segment.table)
        self._chunks.append(segment.chunks)
        self._write(segment.body)

    def finish(self) -> PackRecord:
        """Write tables, footer and tail, and commit.  Durable when this returns."""
        footer = Footer(
            list(self._sessions), [self._with_table(*pair) for pair in zip(self._segments, self._tables, strict=True)]
        )
        self._write(end_of(self._seals, footer))
        pack_id = self._sha256.digest()
        with suppress(ObjectExists):  # the same bytes: an upload that was repeated
            self._upload.commit(key_of(pack_id))
        return PackRecord(pack_id, self._kind, self.size, footer, self._chunks)

    def abort(self) -> None:
        """Forget it."""
        self._upload.abort()

    def _with_table(self, segment: SegmentRef, table: bytes) -> SegmentRef:
        placed = msgspec.structs.replace(segment, table_offset=self.size)
        self._write(table)
        return placed

    def _write(self, data: bytes) -> None:
        self._upload.write(data)
        self._sha256.update(data)
        self.size += len(data)


class PackTail(msgspec.Struct, frozen=True):
    """The clear end of a stored pack, checked for shape but not for its signature."""

    kind: int
    signer: bytes
    signature: bytes
    encoded: bytes
    footer: Footer


def read_tail(store: Store, key: str) -> PackTail:
    """The footer of a stored pack.  Raises ``FormatError`` when there is none."""
    size = store.size(key)
    end = store.get_range(key, -min(size, GUESS), GUESS) if size else b""
    length = _footer_length(key, end, size)
    if length + TAIL.size > len(end):
        end = store.get_range(key, size - length - TAIL.size, length + TAIL.size)
    return parse_tail(key, store.get_range(key, 0, HEADER.size), end, size)


def parse_tail(key: str, header: bytes, end: bytes, size: int) -> PackTail:
    """The footer from the last bytes of a pack of ``size`` bytes; ``end`` holds at least footer and tail."""
    length = _footer_length(key, end, size)
    if len(header) < HEADER.size or len(end) < length + TAIL.size:
        raise FormatError(f"Pack {key} is cut off: it has {size} bytes.")
    magic, kind = HEADER.unpack_from(header)
    signer, signature, _, _ = TAIL.unpack(end[-TAIL.size :])
    encoded = end[len(end) - TAIL.size - length : len(end) - TAIL.size]
    try:
        footer = msgspec.msgpack.decode(encoded, type=Footer)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"The footer of pack {key} cannot be read: {error}.") from error
    if magic != MAGIC or kind not in KIND_NAMES or not _fits(footer, size - length - TAIL.size):
        raise FormatError(f"The footer of pack {key} does not describe a pack of {size} bytes.")
    return PackTail(kind, signer, signature, encoded, footer)


def open_tables(seals: Seals, store: Store, key: str, tail: PackTail) -> PackRecord:
    """What the pack holds, from its sealed tables.  Raises ``DamageError``."""
    chunks = []
    for segment in tail.footer.segments:
        sealed = store.get_range(key, segment.table_offset, segment.table_length)
        chunks.append(open_table(seals, tail.kind, segment.id, sealed))
    return PackRecord(bytes.fromhex(key.rsplit("/", 1)[1]), tail.kind, store.size(key), tail.footer, chunks)


def _footer_length(key: str, end: bytes, size: int) -> int:
    if len(end) < TAIL.size or size < HEADER.size + TAIL.size:
        raise FormatError(f"Pack {key} is cut off: it has {size} bytes.")
    _, _, length, magic = TAIL.unpack(end[-TAIL.size :])
    if magic != END or length > min(FOOTER_LIMIT, size - HEADER.size - TAIL.size):
        raise FormatError(f"Pack {key} does not end as a pack does.")
    return int(length)


def _fits(footer: Footer, room: int) -> bool:
    def inside(offset: int, length: int) -> bool:
        return offset >= HEADER.size and length >= 0 and offset + length <= room

    return all(
        inside(s.offset, s.length)
        and inside(s.table_offset, s.table_length)
        and 0 <= s.session < len(footer.sessions)
        and len(s.id) == 16
        and s.length <= LIMIT + 1024
        and s.offset <= FARTHEST
        for s in footer.segments
    )
