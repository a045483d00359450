"""The files of a backup's stream into a snapshot's tree, while the chunks of several come interleaved.

Memory is bounded: of each file that is under way, less than a block of 1 MiB waits beside the chunk (10 MiB) at hand, and small
files wait whole.
"""

from __future__ import annotations

import re

import msgspec

from safehold.core.errors import DatabaseFailed
from safehold.ops.databases.assembly import Assembly, Attributes, Growing
from safehold.repo.paged import BLOCK
from safehold.sources.mariadb.xbstream import Chunk

SMALL = 64 * 1024
"""Files up to this are kept whole, others by page."""
ARIA_PAGE = 8192
MYISAM_PAGE = 4096
LOG_PAGE = BLOCK
"""Of files that are written from front to back: no part of them stays while others change."""
_INNODB = re.compile(rb"(\.ibd|\.ibu|(^|/)(ibdata\d+|undo_?\d+))$", re.IGNORECASE)
_PAGES = ((re.compile(rb"\.(MAD|MAI)$"), ARIA_PAGE), (re.compile(rb"\.(MYD|MYI)$"), MYISAM_PAGE))


class Files:
    """Puts chunks into an assembly.  Belongs to one thread."""

    def __init__(self, assembly: Assembly, page: int, attributes: Attributes) -> None:
        """``page``: InnoDB's page size; ``attributes``: of every file."""
        self._assembly = assembly
        self._page = page
        self._attributes = attributes
        self._folder = msgspec.structs.replace(attributes, mode=0o700)
        self._open: dict[bytes, _File] = {}

    def put(self, chunk: Chunk) -> None:
        """The next chunk.  Raises ``DatabaseFailed`` for what no file can be."""
        file = self._open.get(chunk.path)
        if file is None:
            file = self._open[chunk.path] = self._begin(chunk.path)
        if chunk.ends:
            del self._open[chunk.path]
            file.close()
        else:
            file.add(chunk.offset, filled(chunk))

    def finish(self) -> None:
        """Raises ``DatabaseFailed`` if a file has not come to its end."""
        for path in self._open:
            raise DatabaseFailed(f"The stream ends in the middle of {path.decode(errors='replace')}.", "No snapshot was made.")

    def _begin(self, path: bytes) -> _File:
        if not path or path.startswith(b"/") or any(part in (b"", b".", b"..") for part in path.split(b"/")) or b"\0" in path:
            raise DatabaseFailed(f"The stream holds a file of the name {path!r}.", "No snapshot was made.")
        above = path.rpartition(b"/")[0]
        if above:
            self._assembly.folder(above, self._folder)
        return _File(self._assembly, path, page_of(path, self._page), self._attributes)


class _File:
    """A file under way: small ones wait whole, others go block by block."""

    def __init__(self, assembly: Assembly, path: bytes, page: int, attributes: Attributes) -> None:
        self._assembly = assembly
        self._path = path
        self._page = page
        self._attributes = attributes
        self._size = 0
        self._rest = b""
        self._growing: Growing | None = None

    def add(self, offset: int, data: bytes) -> None:
        if offset < self._size:
            raise DatabaseFailed(f"The stream goes back in {self._path.decode(errors='replace')}.", "No snapshot was made.")
        while self._size < offset:  # a hole
            self._append(bytes(min(offset - self._size, BLOCK)))
        self._append(data)

    def close(self) -> None:
        if self._growing is None:
            self._assembly.data(self._path, self._rest, self._attributes)
            return
        if self._rest:
            self._growing.add(self._rest)
        self._growing.finish(self._size)

    def _append(self, data: bytes) -> None:
        self._size += len(data)
        if self._growing is None and self._size >= SMALL:
            self._growing = self._assembly.growing(self._path, self._page, self._attributes)
        data = self._rest + data if self._rest else data
        at = 0
        if self._growing is not None:
            while at + BLOCK <= len(data):
                self._growing.add(data[at : at + BLOCK])
                at += BLOCK
        self._rest = data[at:]


def page_of(path: bytes, innodb: int) -> int:
    """The page size by which a large file of that name is kept."""
    if _INNODB.search(path):
        return innodb
    return next((page for pattern, page in _PAGES if pattern.search(path)), LOG_PAGE)


def filled(chunk: Chunk) -> bytes:
    """A chunk's bytes, holes as zeros."""
    if not chunk.holes:
        return chunk.data
    parts = []
    at = 0
    for skip, length in chunk.holes:
        parts += [bytes(skip), chunk.data[at : at + length]]
        at += length
    return b"".join(parts)
