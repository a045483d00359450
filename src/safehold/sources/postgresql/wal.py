"""Files of PostgreSQL's log, seen from outside: their names, the header of a segment, histories of timelines.

Layouts are those of PostgreSQL's ``access/xlog_internal.h`` and ``timeline.c``; they are the same in 13 to 18.  Imported by
`archive-push`, of which every millisecond counts: hence no regular expressions here and no ``typing``.
"""

from __future__ import annotations

import struct

from safehold.core.errors import FormatError

PAGE = 8192
"""Bytes of a page of the log, as every packaged server has it (``--with-wal-blocksize``)."""
DEFAULT_SEGMENT = 16 << 20
SEGMENT_SIZES = frozenset(1 << power for power in range(20, 31))
"""What ``initdb --wal-segsize`` allows: 1 MiB to 1 GiB."""
MAGICS = {0xD106: 13, 0xD10D: 14, 0xD110: 15, 0xD113: 16, 0xD116: 17, 0xD118: 18}
"""``XLOG_PAGE_MAGIC`` -> major version."""
SHORT_HEADER = 24
LONG_HEADER = 40
_LONG_FLAG = 0x0002
_HEADER = struct.Struct("<HHIQI4xQII")
"""magic, info, timeline, page address, bytes that continue a record of the page before; system, segment size, page size."""
_DIGITS = frozenset("0123456789ABCDEF")


class Name:
    """What the name of a file of the archive says."""

    __slots__ = ("high", "kind", "low", "timeline")

    def __init__(self, kind: str, timeline: int, high: int = 0, low: int = 0) -> None:
        """``kind``: segment, partial, backup or history; ``high``, ``low``: the middle and last eight digits."""
        self.kind = kind
        self.timeline = timeline
        self.high = high
        self.low = low

    def start(self, size: int) -> int:
        """The position of the first byte of a segment, where segments have ``size`` bytes."""
        return (self.high << 32) + self.low * size


class Header:
    """The long header at the beginning of a segment."""

    __slots__ = ("address", "remaining", "segment", "system", "timeline", "version")
    timeline: int
    address: int
    """The position of the segment's first byte."""
    remaining: int
    """Bytes of a record that began in the segment before."""
    segment: int
    """Bytes of a segment of this server."""

    def __init__(self, data: bytes) -> None:
        """``data``: 40 bytes."""
        magic, _, self.timeline, self.address, self.remaining, system, self.segment, _ = _HEADER.unpack_from(data)
        self.version = MAGICS.get(magic, 0)
        """The server's major version; 0: one that this program does not know."""
        self.system = str(system)
        """The system identifier, in decimal."""


def history_name(timeline: int) -> str:
    """``00000002.history``."""
    return f"{timeline:08X}.history"


def parse_name(name: str) -> Name | None:
    """What a file name means; None for one that no server gives to a file of its log."""
    stem, dot, rest = name.partition(".")
    if not _DIGITS.issuperset(stem):
        return None
    if rest == "history" and len(stem) == 8:
        return Name("history", int(stem, 16))
    if len(stem) != 24:
        return None
    numbers = int(stem[:8], 16), int(stem[8:16], 16), int(stem[16:], 16)
    if not dot:
        return Name("segment", *numbers)
    if rest == "partial":
        return Name("partial", *numbers)
    is_backup = len(rest) == 15 and rest.endswith(".backup") and _DIGITS.issuperset(rest[:8])
    return Name("backup", *numbers) if is_backup else None


def read_header(data: bytes, name: str) -> Header:
    """The header of a segment, from its first 40 bytes.  Raises ``FormatError`` if they are no such header."""
    if len(data) < LONG_HEADER:
        raise FormatError(f"{name} is no WAL segment: it has {len(data)} bytes.", "Check what made it.")
    magic, info, _, address, _, _, segment, page = _HEADER.unpack_from(data)
    if not (magic >> 8 == 0xD1 and info & _LONG_FLAG) or segment not in SEGMENT_SIZES or address % segment:
        raise FormatError(f"{name} is no WAL segment: it does not begin as one.", "Check what made it.")
    if page != PAGE:
        raise FormatError(f"{name} has pages of {page} bytes, which this program does not read.", "Only 8192 is known.")
    return Header(data)


def check_header(header: Header, name: str) -> None:
    """Raise ``FormatError`` if a segment's header is not that of a file of this name."""
    parsed = parse_name(name)
    if parsed is None or header.address != parsed.start(header.segment):
        position = f"{header.address >> 32:X}/{header.address & 0xFFFFFFFF:X}"
        raise FormatError(
            f"The WAL segment {name} holds position {position}, which is another's.", "Check what put it there under that name."
        )
