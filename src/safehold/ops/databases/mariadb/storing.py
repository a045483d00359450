"""The files of a backup's stream into a snapshot's tree, while the chunks of several come interleaved.

Memory is bounded: of each file that is under way, less than a block of 1 MiB waits beside the part at hand (1 MiB; of a sparse
file 10 MiB), and small files wait whole.
"""

from __future__ import annotations

import re

import msgspec

from safehold.core.errors import DatabaseFailed
from safehold.ops.databases.assembly import Assembly, Attributes, Growing
from safehold.repo.paged import BLOCK
from safehold.sources.mariadb import delta
from safehold.sources.mariadb.xbstream import Chunk

SMALL = 64 * 1024
"""Files up to this are kept whole, others by page."""
ARIA_PAGE = 8192
MYISAM_PAGE = 4096
LOG_PAGE = BLOCK
"""Of files that are written from front to back: no part of them stays while others change."""
_INNODB = re.compile(rb"(\.ibd|\.ibu|(^|/)(ibdata\d+|undo_?\d+))$", re.IGNORECASE)
_TABLE = re.compile(rb"\.ibd$", re.IGNORECASE)
_MEANWHILE = re.compile(rb"\.(new|ren|del)$")
"""Files by which mariadb-backup says that a table was made, renamed or dropped while it ran."""
_PAGES = ((re.compile(rb"\.(MAD|MAI)$"), ARIA_PAGE), (re.compile(rb"\.(MYD|MYI)$"), MYISAM_PAGE))

Spaces = dict[bytes, int]
"""The numbers of InnoDB's tablespaces, by the paths of their files."""


class Files:
    """Puts chunks into an assembly.  Belongs to one thread."""

    def __init__(self, assembly: Assembly, page: int, attributes: Attributes) -> None:
        """``page``: InnoDB's page size; ``attributes``: of every file."""
        self._assembly = assembly
        self._page = page
        self._attributes = attributes
        self._folder = msgspec.structs.replace(attributes, mode=0o700)
        self._open: dict[bytes, _File] = {}
        self.spaces: Spaces = {}
        """Of InnoDB's files that have come."""
        self.is_odd = False
        """Tables were made, renamed or dropped meanwhile."""

    def put(self, chunk: Chunk) -> None:
        """The next chunk.  Raises ``DatabaseFailed`` for what no file can be."""
        file = self._open.get(chunk.path)
        if file is None:
            file = self._open[chunk.path] = self._begin(chunk.path)
        if chunk.ends:
            del self._open[chunk.path]
            file.close()
            if file.space >= 0:
                self.spaces[chunk.path] = file.space
        else:
            file.add(chunk.offset, filled(chunk))

    def finish(self) -> None:
        """Raises ``DatabaseFailed`` if a file has not come to its end."""
        for path in self._open:
            raise DatabaseFailed(f"The stream ends in the middle of {path.decode(errors='replace')}.", "No snapshot was made.")

    def _begin(self, path: bytes) -> _File:
        if not path or path.startswith(b"/") or any(part in (b"", b".", b"..") for part in path.split(b"/")) or b"\0" in path:
            raise DatabaseFailed(f"The stream holds a file of the name {path!r}.", "No snapshot was made.")
        self.is_odd = self.is_odd or bool(_MEANWHILE.search(path))
        self.make_room(path)
        return _File(self._assembly, path, page_of(path, self._page), self._attributes)

    def make_room(self, path: bytes) -> None:
        """The folder of a file."""
        above = path.rpartition(b"/")[0]
        if above:
            self._assembly.folder(above, self._folder)


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
        self.space = -1
        """The number of InnoDB's tablespace that begins with this file."""

    def add(self, offset: int, data: bytes) -> None:
        if self._size == 0 == offset and _INNODB.search(self._path):
            self._look(data)
        if offset < self._size:
            raise DatabaseFailed(f"The stream goes back in {self._path.decode(errors='replace')}.", "No snapshot was made.")
        while self._size < offset:  # a hole
            self._append(bytes(min(offset - self._size, BLOCK)))
        self._append(data)

    def _look(self, first: bytes) -> None:
        """Only tables have pages of their own size; of the system's tablespace, only one file says what it is."""
        self.space = delta.space_of(first)
        if _TABLE.search(self._path):
            self._page = delta.physical(first, self._page)

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
        at = min(BLOCK - len(self._rest), len(data)) if self._rest else 0
        rest = self._rest + data[:at]
        if self._growing is not None:
            if len(rest) == BLOCK:
                self._growing.add(rest)
                rest = b""
            while not rest and at + BLOCK <= len(data):
                self._growing.add(data[at : at + BLOCK])
                at += BLOCK
        self._rest = rest + data[at:]


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
