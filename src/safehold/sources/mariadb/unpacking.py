"""The files of a backup program's stream, into a folder."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from safehold.core.errors import DatabaseFailed
from safehold.sources.mariadb.xbstream import Chunk


def unpack(chunks: Iterable[Chunk], folder: Path) -> None:
    """Write every chunk to its place below ``folder``.  Raises ``OSError``, ``DatabaseFailed`` for what no file can be."""
    opened: dict[bytes, int] = {}
    try:
        for chunk in chunks:
            if chunk.path not in opened:
                opened[chunk.path] = _opened(folder, chunk.path)
            if chunk.ends:
                os.close(opened.pop(chunk.path))
            else:
                _write(opened[chunk.path], chunk)
        for path in opened:
            raise DatabaseFailed(f"The stream ends in the middle of {path.decode(errors='replace')}.", "Run it again.")
    finally:
        for descriptor in opened.values():
            os.close(descriptor)


def _opened(folder: Path, name: bytes) -> int:
    if not name or name.startswith(b"/") or any(part in (b"", b".", b"..") for part in name.split(b"/")) or b"\0" in name:
        raise DatabaseFailed(f"The stream holds a file of the name {name!r}.", "Nothing was written.")
    path = folder / os.fsdecode(name)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0), 0o660)


def _write(descriptor: int, chunk: Chunk) -> None:
    """Holes stay holes; a file that ends with one has its length nevertheless."""
    offset, at = chunk.offset, 0
    for skip, length in chunk.holes or ((0, len(chunk.data)),):
        _put(descriptor, chunk.data[at : at + length], offset + skip)
        offset, at = offset + skip + length, at + length
    if chunk.holes and os.fstat(descriptor).st_size < offset:
        os.ftruncate(descriptor, offset)


def _put(descriptor: int, data: bytes, offset: int) -> None:
    os.lseek(descriptor, offset, os.SEEK_SET)
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
