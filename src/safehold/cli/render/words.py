"""Numbers, sizes, times and names in words for people."""

from __future__ import annotations

import os
import re
from datetime import datetime

_UNITS = ("KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")


def size(count: int) -> str:
    """1536 -> ``1.5 KiB``: three digits at least, powers of 1024."""
    if count < 1024:
        return f"{count} B"
    value, power = count / 1024, 0
    while value >= 1023.95 and power + 1 < len(_UNITS):
        value, power = value / 1024, power + 1
    return f"{value:.{2 if value < 9.995 else 1 if value < 99.95 else 0}f} {_UNITS[power]}"


def count(number: int, one: str, many: str = "") -> str:
    """``1 file``, ``2,048 files``."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def duration(seconds: float) -> str:
    """``0.3 s``, ``42 s``, ``3 min 5 s``, ``2 h 14 min``, ``3 d 4 h``."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for large, small, step, unit in (("d", "h", 3600, 24), ("h", "min", 60, 60), ("min", "s", 1, 60)):
        if whole >= step * unit:
            return f"{whole // (step * unit)} {large} {whole // step % unit} {small}"
    return f"{whole} s"


def moment(time_ns: int) -> str:
    """Local time to the second."""
    return f"{datetime.fromtimestamp(time_ns // 1_000_000_000):%Y-%m-%d %H:%M:%S}"


def iso(time_ns: int) -> str:
    """Local time with offset and nanoseconds, for JSON: ``2026-11-20T14:30:05.000000123+01:00``."""
    whole = datetime.fromtimestamp(time_ns // 1_000_000_000).astimezone().isoformat()
    return f"{whole[:19]}.{time_ns % 1_000_000_000:09d}{whole[19:]}"


def printable(path: bytes | str) -> str:
    """A name for a terminal: control characters, which could play tricks there, as ``\\x1b``."""
    text = path if isinstance(path, str) else os.fsdecode(path)
    return _CONTROL.sub(lambda match: f"\\x{ord(match.group()):02x}", text)


def advice(message: str, hint: str) -> str:
    """What happened and what to do, as two sentences; full stops and the hint's capital are put where they are missing."""
    said = [text if text[-1] in ".!?" else f"{text}." for text in (message, hint[:1].upper() + hint[1:]) if text]
    return printable(" ".join(said))


def table(rows: list[list[str]], right: frozenset[int] = frozenset()) -> list[str]:
    """Lines of aligned columns; those in ``right`` flush right.  The first row is the heading."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(_cell(row[c], widths[c], c in right) for c in range(len(row))).rstrip() for row in rows]


def _cell(text: str, width: int, right: bool) -> str:
    return text.rjust(width) if right else text.ljust(width)
