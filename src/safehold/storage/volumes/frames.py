"""Frames: what a volume is made of.  ``docs/format/volumes.md``.

A frame is 64 KiB (8 KiB on small media) at a multiple of its size, its *slot*.  It says of itself what it is, and proves it by a
CRC-32, so that a volume whose directory is gone can be read by looking at every slot.

    prefix (32 bytes) | fields (32 bytes) | payload

Parity is computed over fields and payload of data frames; a parity frame has its own prefix, and code behind it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from safehold.core.errors import FormatError
from safehold.storage.volumes.galois import address, crc_of

DATA = b"SHVD"
"""A frame of an object."""
INSIDE = b"SHVI"
"""Parity over the frames of one session of one volume."""
ACROSS = b"SHVA"
"""Parity over the data frames of several volumes."""
KINDS = (DATA, INSIDE, ACROSS)
PREFIX = struct.Struct("<4sIBBHI8sII")
"""Kind, CRC-32 of all that follows, data and parity frames in a row, session, volume, set, slot, index."""
FIELDS = struct.Struct("<QQIHHII")
"""Of a data frame: object, offset in the object's stream, length of the payload, session, 0, index, slot."""
CODED = PREFIX.size
"""Where that begins which parity covers."""
HEADER = PREFIX.size + FIELDS.size
HEAD = struct.Struct("<QH")
"""What an object's stream begins with: its size, the length of its key, then the key."""
HEAD_SIZE = 224
"""So many bytes of the first frame's payload come before the object itself."""
SIZES = (64 * 1024, 8 * 1024)
SET_BYTES = 8
"""So much of a set's id is in every frame."""
_CRC_FROM = 8
_crc = crc_of()


@dataclass(frozen=True, slots=True)
class Frame:
    """What a frame says of itself."""

    kind: bytes
    k: int
    m: int
    session: int
    volume: int
    set_id: bytes
    slot: int
    index: int
    """Of a data or across frame: its number among those of the session; of an inside frame: among the session's parity."""
    object: int = 0
    offset: int = 0
    """Of the payload, in the object's stream."""
    length: int = 0


@dataclass(frozen=True, slots=True)
class Stamp:
    """What all frames of a session have in common."""

    set_id: bytes
    volume: int
    session: int
    k: int
    m: int
    size: int
    """Bytes of a frame."""

    @property
    def payload(self) -> int:
        """Bytes of an object that a frame holds."""
        return self.size - HEADER

    def count(self, size: int) -> int:
        """How many frames an object of so many bytes takes."""
        return -(-(size + HEAD_SIZE) // self.payload)


def payload_of(frame_size: int) -> int:
    """Bytes of an object's stream that a frame of that size holds."""
    return frame_size - HEADER


def count_of(size: int, frame_size: int) -> int:
    """How many frames an object of ``size`` bytes takes."""
    return -(-(size + HEAD_SIZE) // payload_of(frame_size))


def head(key: str, size: int) -> bytes:
    """The beginning of an object's stream."""
    name = key.encode("ascii")
    return (HEAD.pack(size, len(name)) + name).ljust(HEAD_SIZE, b"\0")


def parse_head(data: bytes | memoryview) -> tuple[str, int]:
    """Key and size of an object, from the first bytes of its stream.  Raises ``FormatError``."""
    size, length = HEAD.unpack_from(data)
    name = bytes(data[HEAD.size : HEAD.size + length])
    if length > HEAD_SIZE - HEAD.size or not name.isascii():
        raise FormatError("The first frame of an object does not name it.")
    return name.decode("ascii"), size


def seal_data(buffer: bytearray, stamp: Stamp, slot: int, index: int, number: int, first: int, end: int) -> None:
    """Give the frames in a buffer, whose payloads are there already, their headers and checksums.

    ``first``: which of the object's frames the first is; ``end``: bytes of the object's stream in all.
    """
    size, payload = stamp.size, stamp.payload
    base = address(buffer)
    set_id, volume, session, k, m = stamp.set_id, stamp.volume, stamp.session, stamp.k, stamp.m
    for at in range(0, len(buffer), size):
        offset = first * payload
        length = min(payload, end - offset)
        FIELDS.pack_into(buffer, at + CODED, number, offset, length, session, 0, index, slot)
        PREFIX.pack_into(buffer, at, DATA, 0, k, m, session, volume, set_id, slot, index)
        crc = _crc(base + at + _CRC_FROM, size - _CRC_FROM)
        PREFIX.pack_into(buffer, at, DATA, crc, k, m, session, volume, set_id, slot, index)
        first, slot, index = first + 1, slot + 1, index + 1


def seal_parity(buffer: bytearray, kind: bytes, stamp: Stamp, slot: int, index: int) -> None:
    """The same for frames in whose coded parts there is parity already."""
    size = stamp.size
    base = address(buffer)
    for at in range(0, len(buffer), size):
        values = (stamp.k, stamp.m, stamp.session, stamp.volume, stamp.set_id, slot, index)
        PREFIX.pack_into(buffer, at, kind, 0, *values)
        PREFIX.pack_into(buffer, at, kind, _crc(base + at + _CRC_FROM, size - _CRC_FROM), *values)
        slot, index = slot + 1, index + 1


def reseal(buffer: bytearray, at: int, size: int, stamp: Stamp) -> bool:
    """Give a data frame whose coded part was brought back its prefix; False if there was no frame (all zeros)."""
    _, _, length, session, _, index, slot = FIELDS.unpack_from(buffer, at + CODED)
    if not length:
        return False
    values = (stamp.k, stamp.m, session, stamp.volume, stamp.set_id, slot, index)
    PREFIX.pack_into(buffer, at, DATA, 0, *values)
    crc = _crc(address(buffer) + at + _CRC_FROM, size - _CRC_FROM)
    PREFIX.pack_into(buffer, at, DATA, crc, *values)
    return True


def is_whole(buffer: bytearray | memoryview, base: int, at: int, size: int) -> bool:
    """Whether there is an undamaged frame at a place of a buffer, whose address is ``base``."""
    crc = int.from_bytes(buffer[at + 4 : at + 8], "little")
    return bytes(buffer[at : at + 4]) in KINDS and crc == _crc(base + at + _CRC_FROM, size - _CRC_FROM)


def parse(buffer: bytearray | memoryview, at: int = 0) -> Frame:
    """What a whole frame says of itself."""
    kind, _, k, m, session, volume, set_id, slot, index = PREFIX.unpack_from(buffer, at)
    if kind != DATA:
        return Frame(kind, k, m, session, volume, set_id, slot, index)
    number, offset, length, _, _, _, _ = FIELDS.unpack_from(buffer, at + CODED)
    return Frame(kind, k, m, session, volume, set_id, slot, index, number, offset, length)


def whole(buffer: bytearray, size: int) -> Iterator[tuple[int, Frame]]:
    """Every undamaged frame of a buffer that begins at a slot: where it begins, and what it says."""
    base = address(buffer) if buffer else 0
    for at in range(0, len(buffer) - size + 1, size):
        if is_whole(buffer, base, at, size):
            yield at, parse(buffer, at)


def damaged(buffer: bytearray | memoryview, size: int, set_id: bytes, volume: int, slot: int) -> list[int]:
    """Which slots of a buffer, whose first slot is ``slot``, hold no whole frame of their own."""
    base = address(buffer) if buffer else 0
    expected = PREFIX.pack(b"", 0, 0, 0, 0, volume, set_id, 0, 0)[12:24]
    bad = []
    for at in range(0, len(buffer), size):
        if not (
            is_whole(buffer, base, at, size)
            and bytes(buffer[at + 12 : at + 24]) == expected
            and int.from_bytes(buffer[at + 24 : at + 28], "little") == slot
        ):
            bad.append(slot)
        slot += 1
    return bad
