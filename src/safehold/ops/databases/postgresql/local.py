"""A base read from the data directory itself, with several threads, while the server is told that a backup runs."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

assert sys.platform != "win32"

import msgspec

from safehold.core.entries import FILE, Entry
from safehold.core.errors import DatabaseFailed
from safehold.core.events import Reporter
from safehold.ops.backup.run import RACY_NS
from safehold.ops.databases.assembly import Assembly, Attributes
from safehold.ops.databases.postgresql import storing
from safehold.ops.databases.postgresql.terms import LOCAL, Taken, tell_damage
from safehold.repo.repository import Repository
from safehold.sources.postgresql import connecting, control, folder, labels, manifest
from safehold.sources.postgresql.connecting import Server
from safehold.sources.postgresql.positions import HISTORY, parse_lsn, segment_names

if TYPE_CHECKING:
    from safehold.sources.postgresql.connecting import Session

LABEL = "safehold"
FINE_NS = 100_000_000
"""Of time stamps that advance with the kernel's tick (10 ms at most): after so long a change shows in them."""


class Place(msgspec.Struct, frozen=True):
    """A server and its data directory on this machine."""

    session: Session
    server: Server
    folder: Path


def take(repository: Repository, place: Place, assembly: Assembly, known: dict[bytes, manifest.File]) -> tuple[Taken, bytes]:
    """Put the data directory into the assembly; what is known of the base, and its manifest.

    ``known``: the rows of the last base's manifest.  Raises ``DatabaseFailed``.
    """
    keeps = _keep_log(place.session)
    start = parse_lsn(_begin(place))
    filling = _Filling(repository, place, assembly, known, start)
    filling.fill()
    stop, label_text = _end(place)
    stop_ns = repository.clock.now_ns()
    label = labels.parse(label_text)
    filling.small(b"backup_label", label_text)
    filling.log(label.timeline, label.start, stop)
    made = manifest.made(place.server.major, place.server.system, filling.rows, label.timeline, label.start, stop)
    taken = Taken(
        method=LOCAL,
        timeline=label.timeline,
        start=label.start,
        stop=stop,
        stop_ns=stop_ns,
        tablespaces=folder.tablespaces(place.folder),
        errors=filling.errors,
        facts={} if keeps else {"slot": "none"},
    )
    return taken, manifest.encode(made)


def _keep_log(session: Session) -> bool:
    """Have the server keep its log until the connection ends, or not: then a segment that is gone shows at the end."""
    import psycopg

    name = f"safehold_{os.getpid()}"
    try:
        session.execute("SELECT pg_create_physical_replication_slot(%s, true, true)", [name])
    except psycopg.Error:
        return False  # no slots are configured, or the user may not
    return True


def _begin(place: Place) -> str:
    if place.server.major >= 15:
        return _ask(place.session, "SELECT pg_backup_start(%s, true)", [LABEL])[0]
    return _ask(place.session, "SELECT pg_start_backup(%s, true, false)", [LABEL])[0]


def _end(place: Place) -> tuple[int, bytes]:
    """The position from which on the base is consistent, and its label.  Never waits for the log to be archived."""
    call = "pg_backup_stop(false)" if place.server.major >= 15 else "pg_stop_backup(false, false)"
    lsn, label = _ask(place.session, f"SELECT lsn::text, labelfile FROM {call}", [])
    return parse_lsn(lsn), label.encode()


def _ask(session: Session, statement: str, values: list[str]) -> list[str]:
    import psycopg

    try:
        row = session.execute(statement.encode(), values).fetchone()
    except psycopg.Error as error:
        text = connecting.first_line(error)
        raise DatabaseFailed(
            f"PostgreSQL did not let the base begin or end, no snapshot was made: {text}.", "See the server's log."
        ) from error
    return [str(value) for value in row or ()]


class _Filling:
    """The files of a data directory on their way into an assembly."""

    def __init__(
        self, repository: Repository, place: Place, assembly: Assembly, known: dict[bytes, manifest.File], start: int
    ) -> None:
        self.rows: list[manifest.File] = []
        self.errors = 0
        self._report: Reporter = repository.report
        self._now_ns = repository.clock.now_ns
        self._place = place
        self._assembly = assembly
        self._known = known
        server = place.server
        self._checking = folder.Checking(server.page, server.relation_pages, start) if server.checksums else None

    def fill(self) -> None:
        """Everything but the log; the control file last."""
        with folder.Reader(self._checking) as reader:
            for read in reader.read(self._changed()):
                if isinstance(read, folder.Whole):
                    self._whole(read)
                else:
                    self._large(read)
        self._control()

    def small(self, path: bytes, content: bytes) -> None:
        """A file that the server did not write there, or that is read by itself."""
        import hashlib

        mtime_ns = self._now_ns()
        self._assembly.data(path, content, self._plain(mtime_ns))
        self.rows.append(manifest.file(path, len(content), mtime_ns, hashlib.sha256(content).hexdigest()))

    def log(self, timeline: int, start: int, stop: int) -> None:
        """The segments of the log that the base needs, and the history of its timeline."""
        place = self._place.folder / "pg_wal"
        segments = list(segment_names(timeline, start, stop, self._place.server.segment))
        history = sorted(name for name in os.listdir(place) if HISTORY.fullmatch(os.fsencode(name)))
        for name in [*segments, *history]:
            self._log_file(place / name, is_segment=name in segments)
            self._assembly.data(b"pg_wal/archive_status/%s.done" % name.encode(), b"", self._plain(0))

    def _log_file(self, path: Path, *, is_segment: bool) -> None:
        try:
            with path.open("rb") as file:
                st = os.fstat(file.fileno())
                if is_segment and st.st_size != self._place.server.segment:
                    raise FileNotFoundError
                self._assembly.stream(b"pg_wal/" + os.fsencode(path.name), file.read, _attributes(st, 0))
        except FileNotFoundError as error:
            raise DatabaseFailed(
                f"PostgreSQL has recycled {path.name} of its log already, which the base needs; no snapshot was made.",
                "Set max_replication_slots or wal_keep_size higher, and run it again.",
            ) from error

    def _plain(self, mtime_ns: int) -> Attributes:
        st = os.stat(self._place.folder)
        return Attributes(uid=st.st_uid, gid=st.st_gid, mtime_ns=mtime_ns)

    def _changed(self) -> Iterator[folder.Spot]:
        """The files that have to be read; folders and what has not changed is dealt with."""
        for spot in folder.walk(self._place.folder, self._place.server.major):
            mode = spot.stat.st_mode
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
            self._assembly.paged(path, large.blocks(), large.size, self._place.server.page, attributes)
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
        data = folder.read_control(self._place.folder, self._place.server.system)
        self.small(control.PATH, data)


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
