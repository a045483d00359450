"""``global/pg_control``: which cluster a data directory is, and whether it was read whole.

Only the first fields are used, which all versions from 13 to 18 share (``src/include/catalog/pg_control.h``).
"""

from __future__ import annotations

import struct

import msgspec

from safehold.core.errors import DamageError

PATH = b"global/pg_control"
SIZE = 8192
_FIELDS = struct.Struct("<QIIi")
_CHECKSUM_AT = range(240, 361, 4)
"""Where the CRC-32C may stand: the length of the structure differs between versions."""


class Control(msgspec.Struct, frozen=True):
    """What a control file says."""

    system: str
    """The system identifier, in decimal."""
    control_version: int
    catalog_version: int
    state: int


def parse(data: bytes) -> Control:
    """The fields of a control file.  Raises ``DamageError`` where its checksum is wrong: it was read half written."""
    if len(data) < SIZE or not _is_whole(data):
        raise DamageError("PostgreSQL's control file is damaged or was read half written.", "Run the backup again.")
    system, control, catalog, state = _FIELDS.unpack_from(data)
    return Control(str(system), control, catalog, state)


def crc32c(data: bytes, crc: int = 0xFFFFFFFF) -> int:
    """The running CRC-32C (Castagnoli) of a few bytes, not finished by inverting it."""
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc


def _is_whole(data: bytes) -> bool:
    crc = crc32c(data[: _CHECKSUM_AT.start])
    for at in _CHECKSUM_AT:
        if int.from_bytes(data[at : at + 4], "little") == crc ^ 0xFFFFFFFF:
            return True
        crc = crc32c(data[at : at + 4], crc)
    return False


def _entry(value: int) -> int:
    for _ in range(8):
        value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
    return value


_TABLE = [_entry(value) for value in range(256)]
