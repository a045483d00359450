"""WAL files for tests that need no server."""

from __future__ import annotations

import struct
from pathlib import Path

MIB = 1 << 20


def segment(number: int, filling: bytes = b"", *, system: int = 71, timeline: int = 1, size: int = MIB) -> bytes:
    """A segment of ``size`` bytes that begins as one of PostgreSQL 15 does, with no records."""
    head = struct.pack("<HHIQI4xQII", 0xD110, 2, timeline, number * size, 0, system, size, 8192)
    return (head + filling).ljust(size, b"\0")


def name_of(number: int, timeline: int = 1) -> str:
    """Of a segment of 1 MiB."""
    return f"{timeline:08X}{number // 4096:08X}{number % 4096:08X}"


def write(folder: Path, number: int, filling: bytes = b"", **more: int) -> Path:
    """A segment in a folder, under its name."""
    path = folder / name_of(number, more.get("timeline", 1))
    path.write_bytes(segment(number, filling, **more))
    return path
