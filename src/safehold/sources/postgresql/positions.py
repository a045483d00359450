"""Positions in the log of a cluster (LSN, 64 bits), and the names of the files that hold them."""

from __future__ import annotations

import re
from collections.abc import Iterator

_LSN = re.compile(r"([0-9A-Fa-f]{1,8})/([0-9A-Fa-f]{1,8})")
SEGMENT = re.compile(rb"[0-9A-F]{24}")
"""The name of a segment of the log."""
HISTORY = re.compile(rb"[0-9A-F]{8}\.history")
"""The name of a timeline's history file."""


def parse_lsn(text: str) -> int:
    """``1/2F000028`` as a number.  Raises ``ValueError``."""
    found = _LSN.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text!r} is no position in PostgreSQL's log")
    return int(found[1], 16) << 32 | int(found[2], 16)


def format_lsn(position: int) -> str:
    """As PostgreSQL writes it."""
    return f"{position >> 32:X}/{position & 0xFFFFFFFF:X}"


def segment_name(timeline: int, position: int, size: int) -> str:
    """The file that holds ``position``; ``size``: of a segment, in bytes."""
    number = position // size
    per_high = (1 << 32) // size
    return f"{timeline:08X}{number // per_high:08X}{number % per_high:08X}"


def segment_names(timeline: int, start: int, stop: int, size: int) -> Iterator[str]:
    """The files that hold the log from ``start`` up to, but not including, ``stop``."""
    for at in range(start - start % size, stop, size):
        yield segment_name(timeline, at, size)
