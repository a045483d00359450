"""A data directory on this machine: whose it is, what lies in it, and reading it with several threads while it is in use."""

from __future__ import annotations

import hashlib
import os
import stat
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path

import msgspec

from safehold.core.errors import DamageError, DatabaseFailed
from safehold.core.pools import Pool
from safehold.sources.files.folders import read_at, read_soon
from safehold.sources.postgresql import control, names
from safehold.sources.postgresql.connecting import Server

BLOCK = 1024 * 1024
STEP = 4 * BLOCK
"""Read and checked at a time: few calls for many pages."""
AHEAD = 8 * STEP
"""So much is read before it is needed."""
SMALL = 64 * 1024
"""Files up to this size are read together, one task for many."""
TOGETHER = 64
READERS = 2
TRIES = 3
PAUSE_SECONDS = 0.02
"""Between tries to read what the server may be writing just now."""
STARTED_WITHIN = 60.0
"""Seconds between the start time in postmaster.pid and the one that the server tells."""


class Spot(msgspec.Struct, frozen=True, gc=False):
    """A name in the data directory, or in a tablespace."""

    path: bytes
    """Relative to the data directory."""
    place: bytes
    """Where it really lies."""
    stat: os.stat_result


class Checking(msgspec.Struct, frozen=True):
    """How page checksums are checked."""

    page: int
    relation_pages: int
    before: int
    """The LSN from which on a page may be read half written."""


class Read(msgspec.Struct, frozen=True):
    """Bytes of a file, and the numbers of its pages that are damaged."""

    data: bytes
    bad: list[int] = []


class Whole(msgspec.Struct, frozen=True):
    """A small file."""

    spot: Spot
    stat: os.stat_result
    content: Read
    sha256: str


def find(server: Server) -> Path | None:
    """The server's data directory, if it is on this machine, can be read, and is proved to be that server's."""
    named = server.settings.get("data_directory", "")
    if not named or sys.platform == "win32":
        return None
    folder = Path(named)
    try:
        lines = (folder / "postmaster.pid").read_text(errors="replace").splitlines()
        read_control(folder, server.system)
        os.close(os.open(folder / "base", os.O_RDONLY))
        is_same = abs(float(lines[2]) - server.started) < STARTED_WITHIN and lines[3] == server.settings.get("port")
    except (OSError, ValueError, IndexError, DamageError):
        return None
    return folder if is_same else None


def read_control(folder: Path, system: str = "") -> bytes:
    """The control file, whole.  Raises ``DamageError``, also for that of another ``system``; OSError."""
    for attempt in range(TRIES):
        data = (folder / os.fsdecode(control.PATH)).read_bytes()
        try:
            found = control.parse(data)
        except DamageError:
            if attempt == TRIES - 1:
                raise
            time.sleep(PAUSE_SECONDS)
            continue
        if system and found.system != system:
            raise DamageError(f"{folder} is of another database.")
        return data
    raise AssertionError("there is at least one try")


def walk(folder: Path, major: int, catalog: int) -> Iterator[Spot]:
    """Everything that a base holds, folders before what lies in them, but the control file and the log.

    ``catalog``: the version of the catalogs, which is in the names of tablespaces' folders.
    """
    top = os.fsencode(folder)
    version = b"PG_%d_%d" % (major, catalog)
    stack = [Spot(b"", top, os.stat(top))]
    while stack:
        at = stack.pop()
        if at.path:
            yield at
        if at.path in names.EMPTY_FOLDERS:
            continue
        if at.path == b"pg_wal":
            continue
        within = list(_within(at, version))
        yield from (spot for spot in within if not stat.S_ISDIR(spot.stat.st_mode))
        stack += [spot for spot in reversed(within) if stat.S_ISDIR(spot.stat.st_mode)]


def tablespaces(folder: Path) -> dict[str, str]:
    """The folders of the tablespaces, by their numbers; those that lie in the data directory itself are relative."""
    found = {}
    with suppress(FileNotFoundError):
        for name in sorted(os.listdir(folder / "pg_tblspc")):
            place = folder / "pg_tblspc" / name
            found[name] = os.readlink(place) if place.is_symlink() else f"pg_tblspc/{name}"
    return found


def _within(at: Spot, version: bytes) -> Iterator[Spot]:
    """What a base holds of one folder."""
    try:
        with os.scandir(at.place) as listing:
            entries = list(listing)
    except FileNotFoundError:
        return  # a database that was dropped meanwhile
    except OSError as error:
        raise _unreadable(at.place, error) from error
    in_database = names.is_database(at.path)
    reset = names.unlogged(entry.name for entry in entries) if in_database else frozenset()
    for entry in entries:
        name = entry.name
        path = at.path + b"/" + name if at.path else name
        if names.is_left_out(at.path, name) or (reset and names.is_reset(name, reset)) or path == control.PATH:
            continue
        if at.path.startswith(b"pg_tblspc/") and at.path.count(b"/") == 1 and name != version:
            continue  # of a server of another version that shares the tablespace
        follow = at.path == b"pg_tblspc" or path == b"pg_wal"
        with suppress(FileNotFoundError):
            yield Spot(path, entry.path, os.stat(entry.path) if follow else entry.stat(follow_symlinks=False))


class Reader:
    """Reads files with several threads, ahead of the one that works on what they give.  Use as a context manager."""

    def __init__(self, checking: Checking | None) -> None:
        self._checking = checking
        self._pool = Pool(READERS, "read")
        self._waiting: deque[tuple[object, int]] = deque()
        self._outstanding = 0

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *exception: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)
        for waiting, _ in self._waiting:
            if isinstance(waiting, Large):
                waiting.close()

    def read(self, spots: Iterable[Spot]) -> Iterator[Whole | Large]:
        """The files, small ones whole; a large one's ``blocks`` must be taken before the next is asked for.

        What has vanished meanwhile is left out.  Raises ``DatabaseFailed`` for what cannot be read.
        """
        tasks = self._tasks(spots)
        while True:
            while self._outstanding < AHEAD and (task := next(tasks, None)) is not None:
                self._waiting.append(task)
                self._outstanding += task[1]
            if not self._waiting:
                return
            waiting, size = self._waiting.popleft()
            self._outstanding -= size
            if isinstance(waiting, Large):
                waiting.refill = lambda: self._refill(tasks)
                yield waiting
                waiting.close()
            else:
                assert isinstance(waiting, Future)
                yield from waiting.result()

    def _refill(self, tasks: Iterator[tuple[object, int]]) -> Read:
        """The next piece of the large file at hand."""
        while self._outstanding < AHEAD and (task := next(tasks, None)) is not None:
            self._waiting.append(task)
            self._outstanding += task[1]
        waiting, size = self._waiting.popleft()
        self._outstanding -= size
        assert isinstance(waiting, Future)
        piece: Read = waiting.result()
        return piece

    def _tasks(self, spots: Iterable[Spot]) -> Iterator[tuple[object, int]]:
        small: list[Spot] = []
        for spot in spots:
            if spot.stat.st_size <= SMALL:
                small.append(spot)
                if len(small) == TOGETHER:
                    yield self._pool.submit(self._together, small), TOGETHER * SMALL // 4
                    small = []
                continue
            if (large := self._open(spot)) is not None:
                yield large, 0
                for at in range(0, large.size, STEP):
                    length = min(STEP, large.size - at)
                    yield self._pool.submit(self._piece, large, at, length), length
        if small:
            yield self._pool.submit(self._together, small), len(small) * SMALL // 4

    def _open(self, spot: Spot) -> Large | None:
        try:
            fd = os.open(spot.place, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _unreadable(spot.place, error) from error
        return Large(spot, fd)

    def _together(self, spots: list[Spot]) -> list[Whole]:
        found = []
        for spot in spots:
            large = self._open(spot)
            if large is not None:
                with large:
                    content = self._piece(large, 0, large.size)
                found.append(Whole(spot, large.stat, content, hashlib.sha256(content.data).hexdigest()))
        return found

    def _piece(self, large: Large, at: int, length: int) -> Read:
        try:
            data = _read(large.fd, at, length)
            read_soon(large.fd, at + AHEAD, STEP)
        except OSError as error:
            raise _unreadable(large.spot.place, error) from error
        segment = names.relation(large.spot.path)
        if self._checking is None or segment is None:
            return Read(data)
        return _checked(large.fd, data, at, segment, self._checking)


class Large:
    """A large file while it is read: ``size`` bytes of it, whatever becomes of it meanwhile."""

    def __init__(self, spot: Spot, fd: int) -> None:
        self.spot = spot
        self.fd = fd
        self.stat = os.fstat(fd)
        self.size = self.stat.st_size
        self.bad: list[int] = []
        """Numbers of damaged pages, once the blocks have been taken."""
        self.refill: Callable[[], Read] = lambda: Read(b"")
        self._left = self.size

    def __enter__(self) -> Large:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def blocks(self) -> Iterator[bytes]:
        """Its content in blocks of 1 MiB, the last may be shorter."""
        while self._left > 0:
            piece = self.refill()
            self._left -= len(piece.data)
            self.bad += piece.bad
            if len(piece.data) <= BLOCK:
                yield piece.data
            else:
                yield from (piece.data[at : at + BLOCK] for at in range(0, len(piece.data), BLOCK))

    def close(self) -> None:
        """Close the file."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def _read(fd: int, at: int, length: int) -> bytes:
    """That many bytes: zeros where the file was cut off meanwhile; the recovery does that again."""
    data = read_at(fd, length, at)
    while len(data) < length and (more := read_at(fd, length - len(data), at + len(data))):
        data += more
    return data if len(data) == length else data + bytes(length - len(data))


def _checked(fd: int, data: bytes, at: int, segment: int, checking: Checking) -> Read:
    """The same with pages read again that look damaged: the server may have been writing them."""
    from safehold.sources.postgresql.pages import bad_pages

    page = checking.page
    first = segment * checking.relation_pages + at // page
    bad = bad_pages(data, first, page, checking.before)
    if not bad:
        return Read(data)
    changed = bytearray(data)
    for _ in range(TRIES):
        time.sleep(PAUSE_SECONDS)
        for number in bad:
            changed[number * page : number * page + page] = _read(fd, at + number * page, page)
        bad = [n for n in bad if bad_pages(bytes(changed[n * page : n * page + page]), first + n, page, checking.before)]
        if not bad:
            break
    return Read(bytes(changed), [first + number for number in bad])


def _unreadable(place: bytes, error: OSError) -> DatabaseFailed:
    return DatabaseFailed(
        f"{os.fsdecode(place)} cannot be read, no snapshot was made: {error.strerror}.",
        "Run the backup as the server's user or as root; if the disk is at fault, see the system's log.",
    )
