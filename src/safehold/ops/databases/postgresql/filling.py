"""The files of a data directory on their way into a base: what has not changed is not read, the rest by several threads."""

from __future__ import annotations

import hashlib
import os
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

assert sys.platform != "win32"

import msgspec

from safehold.core.entries import FILE, Entry
from safehold.core.errors import DatabaseFailed
from safehold.core.events import Reporter
from safehold.ops.backup.run import RACY_NS
from safehold.ops.databases.assembly import Assembly, Attributes
from safehold.ops.databases.postgresql import storing
from safehold.ops.databases.postgresql.terms import tell_damage
from safehold.repo.repository import Repository
from safehold.sources.files.system import system
from safehold.sources.postgresql import control, folder, manifest
from safehold.sources.postgresql.connecting import Server
from safehold.sources.postgresql.positions import HISTORY, segment_names

FINE_NS = 100_000_000
"""Of time stamps that advance with the kernel's tick (10 ms at most): after so long a change shows in them."""


class Origin(msgspec.Struct, frozen=True):
    """A data directory on this machine."""

    server: Server
    """Whose it is."""
    folder: Path
    wal: Path
    """Where its log lies."""
    control: Callable[[], bytes]
    """Reads its control file."""
    written_from: int
    """Pages that were changed at this position of the log or later may be being written: their checksums say nothing."""
    left_out: frozenset[bytes] = frozenset()
    """Paths that are no part of it."""


class Filling:
    """One base.  ``rows`` are those of its manifest, as far as it has got; ``errors``: files with damaged pages."""

    def __init__(self, repository: Repository, origin: Origin, assembly: Assembly, known: dict[bytes, manifest.File]) -> None:
        """``known``: the rows of the last base's manifest."""
        self.rows: list[manifest.File] = []
        self.errors = 0
        self._report: Reporter = repository.report
        self._now_ns = repository.clock.now_ns
        self._origin = origin
        self._assembly = assembly
        self._known = known
        server = origin.server
        self._checking = folder.Checking(server.page, server.relation_pages, origin.written_from) if server.checksums else None

    def fill(self) -> None:
        """Everything but the log; the control file last."""
        system.keep_memory()  # a sixth of the CPU went into pages given back and asked for again
        with folder.Reader(self._checking) as reader:
            for read in reader.read(self._changed()):
                if isinstance(read, folder.Whole):
                    self._whole(read)
                else:
                    self._large(read)
        self._control()

    def small(self, path: bytes, content: bytes) -> None:
        """A file that the server did not write there, or that is read by itself."""
        mtime_ns = self._now_ns()
        self._assembly.data(path, content, self._plain(mtime_ns))
        self.rows.append(manifest.file(path, len(content), mtime_ns, hashlib.sha256(content).hexdigest()))

    def log(self, timeline: int, start: int, stop: int) -> None:
        """The segments of the log that the base needs, and the history of its timeline."""
        place = self._origin.wal
        segments = list(segment_names(timeline, start, stop, self._origin.server.segment))
        history = sorted(name for name in os.listdir(place) if HISTORY.fullmatch(os.fsencode(name)))
        for name in [*segments, *history]:
            self._log_file(place / name, is_segment=name in segments)
            self._assembly.data(b"pg_wal/archive_status/%s.done" % name.encode(), b"", self._plain(0))

    def _log_file(self, path: Path, *, is_segment: bool) -> None:
        partial = path.with_name(f"{path.name}.partial")
        try:
            with (path if path.exists() else partial).open("rb") as file:
                st = os.fstat(file.fileno())
                if is_segment and st.st_size != self._origin.server.segment:
                    raise FileNotFoundError
                self._assembly.stream(b"pg_wal/" + os.fsencode(path.name), file.read, _attributes(st, 0))
        except FileNotFoundError as error:
            raise DatabaseFailed(
                f"PostgreSQL has recycled {path.name} of its log already, which the base needs; no snapshot was made.",
                "Set max_replication_slots or wal_keep_size higher, and run it again.",
            ) from error

    def _plain(self, mtime_ns: int) -> Attributes:
        st = os.stat(self._origin.folder)
        return Attributes(uid=st.st_uid, gid=st.st_gid, mtime_ns=mtime_ns)

    def _changed(self) -> Iterator[folder.Spot]:
        """The files that have to be read; folders and what has not changed is dealt with."""
        origin = self._origin
        for spot in folder.walk(origin.folder, origin.server.major, control.parse(origin.control()).catalog_version):
            mode = spot.stat.st_mode
            if spot.path in origin.left_out:
                continue
            if stat.S_ISDIR(mode):
                self._assembly.folder(spot.path, _attributes(spot.stat, 0))
            elif stat.S_ISLNK(mode):
                with suppress(FileNotFoundError):
                    self._assembly.link(spot.path, os.readlink(spot.place), _attributes(spot.stat, 0))
            elif stat.S_ISREG(mode) and not self._is_kept(spot):
                yield spot

    def _is_kept(self, spot: folder.Spot) -> bool:
        entry = self._assembly.previous(spot.path)
        if entry is None or not _is_unchanged(entry, spot.stat):
            return False
        self._assembly.keep(spot.path, entry)
        row = self._known.get(spot.path)
        same = row is not None and row.size == entry.size
        self.rows.append(row if row is not None and same else manifest.file(spot.path, entry.size, entry.mtime_ns))
        return True

    def _whole(self, read: folder.Whole) -> None:
        path, data = read.spot.path, read.content.data
        self._assembly.data(path, data, _attributes(read.stat, self._now_ns()))
        self._note(path, len(data), read.stat, read.sha256, read.content.bad)

    def _large(self, large: folder.Large) -> None:
        path, attributes = large.spot.path, _attributes(large.stat, self._now_ns())
        if storing.is_paged(path, large.size):
            self._assembly.paged(path, large.blocks(), large.size, self._origin.server.page, attributes)
        else:
            blocks = large.blocks()
            self._assembly.stream(path, lambda most: next(blocks, b""), attributes)
        self._note(path, large.size, large.stat, "", large.bad)

    def _note(self, path: bytes, size: int, st: os.stat_result, sha256: str, bad: list[int]) -> None:
        self.rows.append(manifest.file(path, size, st.st_mtime_ns, sha256))
        if tell_damage(self._report, path, bad):
            self.errors += 1
            self._assembly.distrust(path)

    def _control(self) -> None:
        self.small(control.PATH, self._origin.control())


def _attributes(st: os.stat_result, now_ns: int) -> Attributes:
    """``now_ns``: what was changed shortly before may change again within the same time stamp, so it is not remembered."""
    ctime_ns = st.st_ctime_ns if st.st_ctime_ns < now_ns - _margin_ns(st) else 0
    return Attributes(
        mode=stat.S_IMODE(st.st_mode),
        uid=st.st_uid,
        gid=st.st_gid,
        mtime_ns=st.st_mtime_ns,
        ctime_ns=ctime_ns,
        inode=st.st_ino,
    )


def _margin_ns(st: os.stat_result) -> int:
    """A disk of this machine takes its time stamps from the clock that we ask, in nanoseconds: the kernel's tick counts."""
    has_disk = os.major(st.st_dev) != 0  # network and stacked file systems have no device
    return FINE_NS if has_disk and st.st_ctime_ns % 10**9 else RACY_NS


def _is_unchanged(entry: Entry, st: os.stat_result) -> bool:
    return (
        entry.kind == FILE
        and 0 < entry.ctime_ns == st.st_ctime_ns
        and (entry.size, entry.mtime_ns, entry.inode) == (st.st_size, st.st_mtime_ns, st.st_ino)
    )
