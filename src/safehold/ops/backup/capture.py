"""From what lies in a folder to its entry: metadata captured, content stored."""

from __future__ import annotations

import os
import stat

import msgspec

from safehold.core.entries import BLOCK_DEVICE, CHAR_DEVICE, DIRECTORY, FILE, SYMLINK, Entry, More, Totals, attributes
from safehold.core.events import Reporter, Warn
from safehold.ops.backup.content import Content, ContentWriter
from safehold.ops.backup.paged import LEAST, MOST, PAGE, PagedWriter, is_paged
from safehold.repo import contents
from safehold.repo.writer import Adder
from safehold.sources.files import metadata
from safehold.sources.files.folders import Folder, Vanished, device_numbers, kind_of, same_file

ATTEMPTS = 3
"""A file that changes while it is read is read so many times before what was read last is taken."""
BLOCK = 512
"""Unit of st_blocks."""
SPARSE_FROM = 4096


class AttributesLost(OSError):
    """The bytes of a file are stored, but not all of its attributes could be read; ``entry`` is without them."""

    def __init__(self, error: OSError, entry: Entry) -> None:
        super().__init__(error.errno, f"its attributes could not be read ({error.strerror}); its bytes are stored")
        self.entry = entry


class Counts(msgspec.Struct):
    """What a walk has come by."""

    new: int = 0
    changed: int = 0
    unchanged: int = 0
    errors: int = 0
    excluded: int = 0
    files: int = 0
    bytes: int = 0

    def add(self, more: Counts) -> None:
        """Count what somebody else has come by."""
        for name in self.__struct_fields__:
            setattr(self, name, getattr(self, name) + getattr(more, name))


class Paging(msgspec.Struct, frozen=True):
    """Which files are stored by page."""

    writer: PagedWriter
    page: int = PAGE
    every: bool = False
    """All files that are large enough, not only those whose names say that they change in place."""

    def wants(self, name: bytes, size: int) -> bool:
        return LEAST <= size <= MOST and (self.every or is_paged(name))


class Capture:
    """Makes entries.  Belongs to one thread."""

    def __init__(
        self,
        writer: Adder,
        content: ContentWriter,
        paging: Paging | None,
        report: Reporter,
        *,
        trusted: bool,
    ) -> None:
        """``paging``: None where no file is stored by page.  ``trusted``: what old entries refer to is known to be stored."""
        self.counts = Counts()
        self._paging = paging
        self._writer = writer
        self._content = content
        self._lendable = min(content.large, LEAST)
        self._report = report
        self._trusted = trusted
        self._links: dict[tuple[int, int], Entry] = {}

    def entry(self, folder: Folder, name: bytes, st: os.stat_result, old: Entry | None, trusted_before: int) -> Entry:
        """The entry of what is no folder.  Raises ``Vanished``, ``AttributesLost``, ``OSError``.

        ``old``: its entry in the snapshot before; it is taken over if nothing shows a change and its ctime is before
        ``trusted_before``.
        """
        if stat.S_ISREG(st.st_mode):
            return self._file(folder, name, st, old, trusted_before)
        if stat.S_ISDIR(st.st_mode):
            raise Vanished  # it was no folder when it was listed
        return self._special(folder, name, st)

    def folder(self, folder: Folder, name: bytes, st: os.stat_result, tree: bytes, totals: Totals) -> Entry:
        """The entry of an open folder whose tree is stored.  Raises ``OSError``."""
        xattrs = folder.file_xattrs(b"", folder.fd)
        flags = metadata.read_flags(folder.fd, st.st_dev)
        more = More(totals=totals, attributes=attributes(xattrs), flags=flags, birth_ns=metadata.read_birth(st))
        return _entry(name, DIRECTORY, st, 0, tree, more)

    def plain_folder(self, name: bytes, st: os.stat_result, tree: bytes, totals: Totals) -> Entry:
        """The entry of a folder whose attributes cannot be read."""
        return _entry(name, DIRECTORY, st, 0, tree, More(totals=totals))

    def _file(self, folder: Folder, name: bytes, st: os.stat_result, old: Entry | None, trusted_before: int) -> Entry:
        counts = self.counts
        if old is not None and old.ctime_ns < trusted_before and unchanged(old, st) and self._stored(old):
            counts.unchanged += 1
            entry = _same_device(old, st)
        else:
            entry = self._linked(folder, name, st, old) if st.st_nlink > 1 else self._read(folder, name, st, old)
            if old is None or old.kind != FILE:
                counts.new += 1
            elif unchanged(old, st) and _same_content(old, entry):
                counts.unchanged += 1  # it was read only to be sure
            else:
                counts.changed += 1
        counts.files += 1
        counts.bytes += entry.size
        return entry

    def lendable(self, st: os.stat_result, old: Entry | None, trusted_before: int) -> bool:
        """Whether this is a file that has to be read, and that any process can read as well."""
        return (
            stat.S_ISREG(st.st_mode)
            and st.st_nlink == 1
            and st.st_size < self._lendable
            and not (old is not None and old.ctime_ns < trusted_before and unchanged(old, st))
        )

    def _stored(self, old: Entry) -> bool:
        """Whether the content of an old entry can be relied on."""
        if self._trusted:
            return True
        if old.more is not None and old.more.map is not None:
            return False  # a writer cannot look into the list
        return all(self._writer.knows(chunk) for chunk in contents.chunk_names(old))

    def _linked(self, folder: Folder, name: bytes, st: os.stat_result, old: Entry | None) -> Entry:
        """A file of several names is read once."""
        link = (st.st_dev, st.st_ino)
        first = self._links.get(link)
        if first is None or not unchanged(first, st):
            first = self._links[link] = self._read(folder, name, st, old)
        return msgspec.structs.replace(first, name=name)

    def _read(self, folder: Folder, name: bytes, st: os.stat_result, old: Entry | None) -> Entry:
        for _ in range(ATTEMPTS):
            fd = folder.open_file(name)
            try:
                if not stat.S_ISREG(os.fstat(fd).st_mode):
                    raise Vanished  # something else by now, whose end might never come
                holes = metadata.holes(fd, st.st_size) if _may_be_sparse(st) else []
                content, page = self._store(fd, folder, name, st, holes, old)
                more, failure = self._more(folder, name, fd, st, content, holes, page)
                now = os.fstat(fd)
            finally:
                os.close(fd)
            changed = not same_file(st, now)
            st = now
            if not changed:
                break
        else:
            self._warn_changed(folder, name)
        size = content.size if page else content.size + sum(holes[1::2])
        entry = _entry(name, FILE, st, size, content.ids, more)
        if failure is not None:
            raise AttributesLost(failure, _never_unchanged(entry))
        return _never_unchanged(entry) if changed else entry

    def _warn_changed(self, folder: Folder, name: bytes) -> None:
        self._report(
            Warn(
                code="changed-while-read",
                message="Changed while it was read; what is stored may mix old and new.",
                path=os.fsdecode(folder.path + b"/" + name),
                hint="Back up a snapshot of the file system, or stop the program that writes it.",
            )
        )

    def _store(
        self, fd: int, folder: Folder, name: bytes, st: os.stat_result, holes: list[int], old: Entry | None
    ) -> tuple[Content, int]:
        """Store the content of an open file; with it the page size, or 0."""
        paging = self._paging
        if paging is None or not paging.wants(name, st.st_size):
            return self._content.store(fd, st.st_size, holes), 0
        stored = paging.writer.store(fd, folder.path + b"/" + name, st.st_size, paging.page, holes, old)
        return Content(b"", stored.map, stored.size), paging.page

    def _more(
        self, folder: Folder, name: bytes, fd: int, st: os.stat_result, content: Content, holes: list[int], page: int
    ) -> tuple[More | None, OSError | None]:
        """What few files have; and why some of it could not be read."""
        xattrs, flags, failure = None, 0, None
        try:
            xattrs = folder.file_xattrs(name, fd)
            flags = metadata.read_flags(fd, st.st_dev)
        except OSError as error:
            failure = error
        birth = metadata.read_birth(st)
        link = (st.st_dev, st.st_ino) if st.st_nlink > 1 else None
        if not (xattrs or flags or birth or link or holes or content.map):
            return None, failure
        more = More(
            attributes=attributes(xattrs),
            flags=flags,
            birth_ns=birth,
            link=link,
            holes=holes or None,
            map=content.map,
            paged=page,
        )
        return more, failure

    def _special(self, folder: Folder, name: bytes, st: os.stat_result) -> Entry:
        kind = kind_of(st.st_mode)
        more = More(
            target=folder.link_target(name) if kind == SYMLINK else None,
            device=device_numbers(st) if kind in (CHAR_DEVICE, BLOCK_DEVICE) else None,
            link=(st.st_dev, st.st_ino) if st.st_nlink > 1 else None,
            attributes=attributes(folder.xattrs(name)),
        )
        return _entry(name, kind, st, 0, b"", more)


def unchanged(old: Entry, st: os.stat_result) -> bool:
    """Whether a file shows no change since ``old``: size, mtime and ctime in ns, inode.  (mtime alone can be set back.)"""
    return (
        old.kind == FILE
        and old.size == st.st_size
        and old.mtime_ns == st.st_mtime_ns
        and old.ctime_ns == st.st_ctime_ns
        and old.inode == st.st_ino
    )


def _same_content(old: Entry, new: Entry) -> bool:
    maps = (old.more.map if old.more else None, new.more.map if new.more else None)
    return old.content == new.content and maps[0] == maps[1]


def _same_device(old: Entry, st: os.stat_result) -> Entry:
    """An unchanged file's entry, where its file system has another device number by now: hard links are known by that."""
    if old.more is None or old.more.link in (None, (st.st_dev, st.st_ino)):
        return old
    return msgspec.structs.replace(old, more=msgspec.structs.replace(old.more, link=(st.st_dev, st.st_ino)))


def _never_unchanged(entry: Entry) -> Entry:
    """The entry of a file that must be read again next time, whatever it looks like."""
    return msgspec.structs.replace(entry, ctime_ns=0)


def _may_be_sparse(st: os.stat_result) -> bool:
    return st.st_size > SPARSE_FROM and getattr(st, "st_blocks", st.st_size) * BLOCK < st.st_size


def _entry(name: bytes, kind: int, st: os.stat_result, size: int, content: bytes, more: More | None) -> Entry:
    return Entry(
        name,
        kind,
        stat.S_IMODE(st.st_mode),
        st.st_uid,
        st.st_gid,
        st.st_mtime_ns,
        st.st_ctime_ns,
        size,
        st.st_ino,
        content,
        more,
    )
