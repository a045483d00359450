"""A base from what changed since the one before: an incremental of mariadb-backup, laid over the files that are stored.

What comes of it is a whole base, like one for which every file was read.  Why that is right, and when it is not tried, is in
``docs/mariadb.md``, "Changed pages only".
"""

from __future__ import annotations

import os

import msgspec

from safehold.core.entries import Entry
from safehold.ops.databases.assembly import Assembly, Attributes, Patched
from safehold.ops.databases.mariadb.storing import Files, Spaces, filled
from safehold.repo.paged import BLOCK
from safehold.sources.mariadb import delta
from safehold.sources.mariadb.delta import DELTA, META, Delta, Meta
from safehold.sources.mariadb.taking import CHECKPOINTS, INFO, RENAMED
from safehold.sources.mariadb.xbstream import Chunk

AS_FULL = {
    CHECKPOINTS: {"backup_type": "full-backuped", "from_lsn": "0"},
    INFO: {"innodb_from_lsn": "0", "incremental": "N"},
}
"""What is said otherwise of a base that has been made whole: else it would be taken for an incremental when it is restored."""

FIRST_PAGES = 4
"""Any table's file has at least so many of the server's pages, also one whose own pages are smaller (ROW_FORMAT=COMPRESSED) and
whose first page counts fewer: recovery refuses a smaller one.  Source: InnoDB, ``FIL_IBD_FILE_INITIAL_SIZE``."""


class Unmergeable(Exception):
    """Why changed pages cannot be laid over what is stored, in words: every file has to be read."""


class Merged:
    """Puts the chunks of an incremental into an assembly, as ``Files`` does those of a whole backup.  Belongs to one thread."""

    def __init__(self, assembly: Assembly, files: Files, spaces: Spaces, page: int, attributes: Attributes) -> None:
        """``spaces``: of the base before, by path; ``page``: InnoDB's page size."""
        self._assembly = assembly
        self._files = files
        self._page = page
        self._attributes = attributes
        self._old = spaces
        self._paths = {space: path for path, space in spaces.items()}
        self._metas: dict[bytes, bytes] = {}
        self._told: dict[bytes, bytes] = {}
        self._open: dict[bytes, _Changing] = {}
        self.spaces: Spaces = {}
        """Of what has come."""

    def put(self, chunk: Chunk) -> None:
        """The next chunk.  Raises ``Unmergeable``, ``DatabaseFailed``."""
        path = chunk.path
        if path.endswith(META):
            self._metas[path[: -len(META)]] = self._metas.get(path[: -len(META)], b"") + chunk.data
        elif path.endswith(DELTA):
            self._change(path[: -len(DELTA)], chunk)
        elif _plain(path) in AS_FULL:
            self._tell(chunk)
        else:
            self._files.put(chunk)

    def finish(self) -> None:
        """Raises ``DatabaseFailed`` if a file has not come to its end, ``Unmergeable`` if tables came or went meanwhile."""
        self._files.finish()
        if self._open or self._metas:
            raise Unmergeable(f"{os.fsdecode(next(iter([*self._open, *self._metas])))} did not come whole")
        if self._files.is_odd or self._files.spaces.keys() - self.spaces.keys():
            raise Unmergeable("tables were created, renamed or dropped meanwhile")

    def _tell(self, chunk: Chunk) -> None:
        told = self._told[chunk.path] = self._told.get(chunk.path, b"") + chunk.data
        if chunk.ends:
            self._files.put(Chunk(chunk.path, data=_as_full(told, AS_FULL[_plain(chunk.path)])))
            self._files.put(chunk)

    def _change(self, path: bytes, chunk: Chunk) -> None:
        file = self._open.get(path)
        if file is None:
            if path not in self._metas:
                raise Unmergeable(f"what {os.fsdecode(path)} is did not come first")
            file = self._open[path] = self._begin(path, delta.meta(self._metas.pop(path)))
        if chunk.ends:
            del self._open[path]
            file.close()
        else:
            file.add(filled(chunk))

    def _begin(self, path: bytes, meta: Meta) -> _Changing:
        known = self._paths.get(meta.space)
        if meta.space in self.spaces.values() or known not in (None, path):
            raise Unmergeable(f"{os.fsdecode(known or path)} was renamed")
        self.spaces[path] = meta.space
        if known is None:
            return _Changing(meta, _New(self._files, path, FIRST_PAGES * meta.page, FIRST_PAGES * self._page))
        entry = self._assembly.previous(path)
        if entry is None or (entry.more is not None and entry.more.paged != meta.page):
            raise Unmergeable(f"it is not known what is stored of {os.fsdecode(path)}")
        self._files.make_room(path)
        file = self._assembly.patching(path, entry, meta.page, self._attributes)
        if file is None:
            raise Unmergeable(f"it is not remembered what is stored of {os.fsdecode(path)}")
        return _Changing(meta, _Old(file, entry))


class _New:
    """A file of which nothing is stored: all its pages come, and what does not is zeros."""

    def __init__(self, files: Files, path: bytes, first: int, least: int) -> None:
        """``first``: bytes at the beginning that are written when a table is made, and not when it is imported;
        ``least``: the bytes that any file of the kind has, whatever its first page counts.
        """
        self._files = files
        self._path = path
        self._first = first
        self._least = least
        self._size = 0

    def add(self, at: int, data: bytes) -> None:
        if not self._size and (at or len(data) < self._first):
            raise Unmergeable(f"{os.fsdecode(self._path)} came without its first pages")
        self._files.put(Chunk(self._path, at, data))
        self._size = at + len(data)

    def finish(self, least: int) -> None:
        if not self._size:
            raise Unmergeable(f"{os.fsdecode(self._path)} came without its first pages")
        if max(least, self._least) > self._size:
            self._files.put(Chunk(self._path, max(least, self._least)))
        self._files.put(Chunk(self._path, ends=True))


class _Old:
    """A file that is stored.  It never becomes shorter: as with mariadb-backup itself, what is no longer used stays."""

    def __init__(self, file: Patched, entry: Entry) -> None:
        self._file = file
        self._size = entry.size

    def add(self, at: int, data: bytes) -> None:
        self._size = max(self._size, at + len(data))
        self._file.add(at, data)

    def finish(self, least: int) -> None:
        self._file.finish(max(self._size, least))


class _Changing:
    """A file whose changed pages come: those that follow each other in a block go on together."""

    def __init__(self, meta: Meta, into: _New | _Old) -> None:
        self._meta = meta
        self._into = into
        self._delta = Delta(meta.page)
        self._at = 0
        self._run: list[bytes] = []
        self._length = 0
        self._least = 0

    def add(self, data: bytes) -> None:
        for at, pages in self._delta.feed(data):
            if at == 0 and self._meta.space:  # the system's tablespace may have several files
                self._check(pages)
                self._least = delta.size_of(pages, self._meta.page)
            if self._run and (at != self._at + self._length or at % BLOCK == 0):
                self._flush()
            if not self._run:
                self._at = at
            self._run.append(pages)
            self._length += len(pages)

    def close(self) -> None:
        self._delta.finish()
        self._flush()
        self._into.finish(self._least)

    def _check(self, first: bytes) -> None:
        if delta.space_of(first) != self._meta.space:
            raise Unmergeable(f"a file says that it is of tablespace {delta.space_of(first)}, not {self._meta.space}")

    def _flush(self) -> None:
        if self._run:
            self._into.add(self._at, self._run[0] if len(self._run) == 1 else b"".join(self._run))
        self._run, self._length = [], 0


def _plain(path: bytes) -> str:
    name = os.fsdecode(path)
    return RENAMED.get(name, name)


def _as_full(told: bytes, otherwise: dict[str, str]) -> bytes:
    lines = []
    for line in told.decode(errors="surrogateescape").splitlines():
        name = line.partition("=")[0].strip()
        lines.append(f"{name} = {otherwise[name]}" if name in otherwise else line)
    return "".join(f"{line}\n" for line in lines).encode(errors="surrogateescape")


class Since(msgspec.Struct, frozen=True, array_like=True):
    """What is remembered with a base for the next one."""

    lsn: int
    """A checkpoint before the base began: what was changed up to it lies in its files as they are stored."""
    last_lsn: int
    """How far the base goes."""
    process: int
    """When the server's process was started, in seconds since 1970."""
    connection: int
    """A number that grows with every connection to that process."""
    spaces: Spaces
    tables: dict[int, int]
    """Which table was in which tablespace when the base began."""


NOTE = "mariadb-since"


def encode(since: Since | None) -> bytes:
    return msgspec.msgpack.encode(since)


def decode(data: bytes | None) -> Since | None:
    """None if nothing is remembered."""
    try:
        return msgspec.msgpack.decode(data, type=Since | None) if data else None
    except msgspec.MsgspecError:
        return None
