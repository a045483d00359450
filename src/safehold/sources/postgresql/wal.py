"""PostgreSQL's write-ahead log, seen from outside: positions, file names, the header of a segment, histories of timelines.

Layouts are those of PostgreSQL's ``access/xlogdefs.h``, ``xlog_internal.h`` and ``timeline.c``; they are the same in 13 to 18.
Imported by `archive-push`, of which every millisecond counts: so it imports next to nothing.
"""

from __future__ import annotations

import re
import struct
from typing import NamedTuple

from safehold.core.errors import FormatError, UsageError

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
_SEGMENT = re.compile(r"([0-9A-F]{8})([0-9A-F]{8})([0-9A-F]{8})")
_LSN = re.compile(r"([0-9A-Fa-f]{1,8})/([0-9A-Fa-f]{1,8})")


class Name(NamedTuple):
    """What the name of a file of the archive says."""

    kind: str
    """segment, partial, backup or history."""
    timeline: int
    high: int = 0
    """The middle eight digits."""
    low: int = 0
    """The last eight digits."""

    def start(self, size: int) -> int:
        """The position of the first byte of a segment, where segments have ``size`` bytes."""
        return (self.high << 32) + self.low * size


class Header(NamedTuple):
    """The long header at the beginning of a segment."""

    version: int
    """The server's major version; 0: one that this program does not know."""
    timeline: int
    address: int
    """The position of the segment's first byte."""
    remaining: int
    """Bytes of a record that began in the segment before."""
    system: int
    segment: int
    """Bytes of a segment of this server."""


class Ancestor(NamedTuple):
    """A timeline on the way to another: it was followed up to ``switch``."""

    timeline: int
    switch: int


def parse_lsn(text: str) -> int:
    """``0/3000028`` as a number.  Raises ``UsageError``."""
    match = _LSN.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"{text!r} is no position in a PostgreSQL log.", "Write it as pg_current_wal_lsn() does: 0/3000028.")
    return int(match[1], 16) << 32 | int(match[2], 16)


def format_lsn(position: int) -> str:
    """0x3000028 as ``0/3000028``."""
    return f"{position >> 32:X}/{position & 0xFFFFFFFF:X}"


def segment_name(timeline: int, position: int, size: int = DEFAULT_SEGMENT) -> str:
    """The name of the segment that holds that position."""
    number = position // size
    per_file = (1 << 32) // size
    return f"{timeline:08X}{number // per_file:08X}{number % per_file:08X}"


def history_name(timeline: int) -> str:
    """``00000002.history``."""
    return f"{timeline:08X}.history"


def parse_name(name: str) -> Name | None:
    """What a file name means; None for one that no server gives to its log."""
    stem, _, rest = name.partition(".")
    if rest == "history" and re.fullmatch("[0-9A-F]{8}", stem):
        return Name("history", int(stem, 16))
    match = _SEGMENT.fullmatch(stem)
    if match is None:
        return None
    timeline, high, low = (int(part, 16) for part in match.groups())
    if not rest and "." not in name:
        return Name("segment", timeline, high, low)
    if rest == "partial":
        return Name("partial", timeline, high, low)
    return Name("backup", timeline, high, low) if re.fullmatch(r"[0-9A-F]{8}\.backup", rest) else None


def read_header(data: bytes, name: str) -> Header:
    """The header of a segment, from its first 40 bytes.  Raises ``FormatError`` if they are no such header."""
    if len(data) < LONG_HEADER:
        raise FormatError(f"{name} is no WAL segment: it has {len(data)} bytes.", "Check what made it.")
    magic, info, timeline, address, remaining, system, segment, page = _HEADER.unpack_from(data)
    if not (magic >> 8 == 0xD1 and info & _LONG_FLAG) or segment not in SEGMENT_SIZES or address % segment:
        raise FormatError(f"{name} is no WAL segment: it does not begin as one.", "Check what made it.")
    if page != PAGE:
        raise FormatError(f"{name} has pages of {page} bytes, which this program does not read.", "Only 8192 is known.")
    return Header(MAGICS.get(magic, 0), timeline, address, remaining, system, segment)


def check_header(header: Header, name: str) -> None:
    """Raise ``FormatError`` if a segment's header is not that of a file of this name."""
    parsed = parse_name(name)
    if parsed is None or header.address != parsed.start(header.segment):
        raise FormatError(
            f"The WAL segment {name} holds position {format_lsn(header.address)}, which is another's.",
            "Check what put it there under that name.",
        )


def parse_history(text: str, name: str) -> list[Ancestor]:
    """The ancestors that a history file lists, oldest first.  Raises ``FormatError``."""
    found: list[Ancestor] = []
    for line in text.splitlines():
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        try:
            found.append(Ancestor(int(words[0]), parse_lsn(words[1])))
        except (ValueError, IndexError, UsageError) as error:
            raise FormatError(f"The history file {name} cannot be read at {line.strip()!r}.", "It is damaged.") from error
    if any(later.timeline <= earlier.timeline for earlier, later in zip(found, found[1:], strict=False)):
        raise FormatError(f"The timelines in the history file {name} do not ascend.", "It is damaged.")
    return found
