"""One moment of a database that may be in use, read page by page, without blocking a writer in WAL mode.

*WAL mode.*  A holder keeps a read transaction and says at which frame of the WAL.  The moment is then the database file with the
last version of each page among those frames laid over it: SQLite writes no frame back that lies beyond the oldest reader's, and
begins the WAL anew only when no reader needs it.  Where all of the WAL was in the database file already, the reader keeps that
from being written to, and the WAL is not looked at.  No copy of the database is made.

*Rollback mode.*  A reader blocks commits for as long as it reads.  So the file is copied at once, under the reader's lock, by the
system (as a reflink where the file system has that), and read when the lock is gone.

Elsewhere (locks that forbid reading, on Windows; commits too fast to name the moment), SQLite's own backup makes the copy.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

import msgspec

from safehold.core.errors import DatabaseFailed, DatabaseUnreachable, SafeholdError, SourceMissing
from safehold.sources.files.reading import read_bytes
from safehold.sources.sqlite import header, wal

BLOCK = 1024 * 1024
STEP = 8 * 1024 * 1024
_FICLONE = 0x40049409
"""ioctl of Linux: share the blocks of another file."""


class Moment(msgspec.Struct, frozen=True, kw_only=True):
    """What a holder says: see ``holder``."""

    mode: str = ""
    known: bool = False
    salts: str = ""
    frames: int = 0
    pages: int = 0
    sums: tuple[int, int] = (0, 0)
    done: bool = False
    """All frames are in the database file."""
    device: int = 0
    inode: int = 0
    log: int = 0
    """Inode of the WAL."""
    error: str = ""
    name: str = ""
    problems: list[str] = []
    copied: bool = False


class Pinned:
    """A moment of a database.  ``blocks`` may be called once, while the moment is held."""

    def __init__(self, path: str, moment: Moment, head: header.Header, size: int) -> None:
        self.path = path
        self.moment = moment
        self.header = head
        self.page = head.page
        self.size = size
        """Bytes."""
        self.stat = os.stat(path)
        self._database = -1
        self._log = -1
        self._places: dict[int, int] = {}
        self._holder: Holder | None = None
        self._copy = path

    def blocks(self) -> Iterator[bytes]:
        """The database in pieces of 1 MiB, the last of which may be shorter."""
        pages = sorted(self._places)
        at = 0
        for offset in range(0, self.size, BLOCK):
            length = min(BLOCK, self.size - offset)
            stop = (offset + length) // self.page
            first = at
            while at < len(pages) and pages[at] <= stop:
                at += 1
            yield self._block(offset, length, pages[first:at])

    def check(self, how: str) -> list[str]:
        """What ``quick`` or ``full`` check finds wrong with this moment."""
        if self._holder is not None:
            return self._holder.ask(how).problems
        with closing(Holder(self._copy)) as holder:
            return holder.moment.problems or ([holder.moment.error] if holder.moment.error else holder.ask(how).problems)

    def _block(self, offset: int, length: int, changed: list[int]) -> bytes:
        data = bytearray(read_bytes(self._database, length, offset))
        data += bytes(length - len(data))
        for number in changed:
            inside = (number - 1) * self.page - offset
            place = wal.HEADER + self._places[number] * (wal.FRAME + self.page) + wal.FRAME
            data[inside : inside + self.page] = read_bytes(self._log, self.page, place)
        return bytes(data)


class Holder:
    """The process that holds a moment."""

    def __init__(self, path: str) -> None:
        command = [sys.executable, "-m", "safehold.sources.sqlite.holder", path]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8", start_new_session=True
        )
        self.moment = self._answer()

    def ask(self, order: str) -> Moment:
        """Give an order; its answer."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.write(order + "\n")
            self._process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        """Let go."""
        assert self._process.stdin is not None and self._process.stdout is not None
        with suppress(OSError):
            self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()

    def _answer(self) -> Moment:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise DatabaseFailed("The process that holds the database's moment has ended.", "Run it again.")
        return msgspec.convert(json.loads(line), Moment)


@contextmanager
def pinned(path: str, scratch: Path, *, hold: bool = False) -> Iterator[Pinned]:
    """A moment of the database at ``path``; copies that are needed go into the folder ``scratch``.

    ``hold``: in rollback mode, keep the lock while the moment is read instead of making a copy: commits wait for that long.
    Raises ``SourceMissing``, ``DatabaseFailed`` for what is no database, ``DatabaseUnreachable`` where it is not to be read.
    """
    head = read_header(path)
    with ExitStack() as stack:
        if head is None:
            yield _empty(path)
            return
        if _is_frozen(path):
            path = stack.enter_context(_thawed(path, scratch))
        holder = Holder(path)
        stack.callback(holder.close)
        moment = holder.moment
        if moment.error:
            raise unreachable(path, moment)
        if moment.known:
            with suppress(_Changed):
                yield _direct(path, holder, stack)
                return
        if hold and moment.mode != "wal" and sys.platform != "win32":
            with suppress(_Changed):
                yield _held(path, holder, stack)
                return
        yield _copied(path, holder, scratch, stack)


def read_header(path: str) -> header.Header | None:
    """Of the database file; None if it is empty, as SQLite makes it at first.  Raises ``SourceMissing``, ``DatabaseFailed``."""
    try:
        with open(path, "rb") as file:
            data = file.read(header.SIZE)
    except FileNotFoundError:
        raise SourceMissing(f"There is no {path} to back up.", "Check the name; nothing was backed up.") from None
    except OSError as error:
        raise DatabaseUnreachable(f"{path} cannot be read: {error.strerror}.", "Run it as a user who may.") from error
    return header.parse(data, path) if data else None


def unreachable(path: str, moment: Moment) -> SafeholdError:
    """The error that a holder's answer stands for."""
    if moment.name in ("SQLITE_NOTADB", "SQLITE_CORRUPT"):
        return DatabaseFailed(
            f"{path} cannot be opened as an SQLite database: {moment.error}.",
            "If it is damaged, back it up as a file, by its bare name, before anything else is tried.",
        )
    hints = {
        "SQLITE_BUSY": "Another program holds it for itself (`locking_mode = EXCLUSIVE`, or a long change): try again later.",
        "SQLITE_CANTOPEN": "A database in WAL mode needs a folder that this user may write to, or that nobody may.",
    }
    hint = hints.get(moment.name, "Run it as the user that the application runs as.")
    return DatabaseUnreachable(f"{path} cannot be read: {moment.error}.", hint)


class _Changed(Exception):
    """The files are not what the holder spoke of."""


def _empty(path: str) -> Pinned:
    head = header.Header(4096, False, 0, 0, "", 0, 0, 0)
    return Pinned(path, Moment(mode="empty"), head, 0)


def _direct(path: str, holder: Holder, stack: ExitStack) -> Pinned:
    moment = holder.moment
    database = _opened(path, stack)
    if (os.fstat(database).st_dev, os.fstat(database).st_ino) != (moment.device, moment.inode):
        raise _Changed
    places: dict[int, int] = {}
    log = -1
    if not moment.done:
        log = _opened(path + "-wal", stack)
        if os.fstat(log).st_ino != moment.log:
            raise _Changed
        places = last_places(log, moment)
    page1 = (
        read_bytes(log, 100, wal.HEADER + places[1] * _frame_size(log) + wal.FRAME)
        if 1 in places
        else read_bytes(database, 100, 0)
    )
    made = Pinned(path, moment, header.parse(page1, path), 0)
    made.size = moment.pages * made.page if moment.frames else os.fstat(database).st_size // made.page * made.page
    made._database, made._log, made._holder = database, log, holder
    made._places = {number: place for number, place in places.items() if number * made.page <= made.size}
    return made


def _held(path: str, holder: Holder, stack: ExitStack) -> Pinned:
    """The database file itself, while the holder keeps others from changing it."""
    moment, database = holder.moment, _opened(path, stack)
    found = os.fstat(database)
    if (found.st_dev, found.st_ino) != (moment.device, moment.inode):
        raise _Changed
    head = header.parse(read_bytes(database, header.SIZE, 0), path)
    made = Pinned(path, moment, head, found.st_size // head.page * head.page)
    made._database, made._holder = database, holder
    return made


def last_places(log: int, moment: Moment) -> dict[int, int]:
    """Page number -> the last frame that holds it, up to the moment's.  Raises ``_Changed``."""
    begun = wal.parse_header(read_bytes(log, wal.HEADER, 0))
    if begun is None or begun[0].salts.hex() != moment.salts:
        raise _Changed
    at, page, big = begun
    frame = wal.FRAME + page
    found: dict[int, int] = {}
    while at.frame < moment.frames:
        count = min(moment.frames - at.frame, max(1, STEP // frame))
        frames = wal.parse_frames(read_bytes(log, count * frame, wal.HEADER + at.frame * frame), page, at, big=big)
        if len(frames.numbers) < count:
            raise _Changed
        found.update(zip(frames.numbers.tolist(), range(at.frame, at.frame + count), strict=True))
        at = frames.end
    if at.sums != tuple(moment.sums):
        raise _Changed
    return found


def _frame_size(log: int) -> int:
    begun = wal.parse_header(read_bytes(log, wal.HEADER, 0))
    assert begun is not None
    return wal.FRAME + begun[1]


def _copied(path: str, holder: Holder, scratch: Path, stack: ExitStack) -> Pinned:
    """The database copied under the holder's lock, which is then let go."""
    scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="sqlite-", dir=scratch))
    copy = os.path.join(folder, "copy")
    if holder.moment.mode == "wal" or sys.platform == "win32":
        answer = holder.ask(f"copy {copy}")
        if not answer.copied:
            raise DatabaseFailed(f"{path} could not be copied into {scratch}: {answer.error}.", "The folder needs as much room.")
    else:
        copy_file(path, copy)
    holder.close()
    database = _opened(copy, stack)
    made = Pinned(path, holder.moment, header.parse(read_bytes(database, header.SIZE, 0), path), os.fstat(database).st_size)
    made._database, made._copy = database, copy
    return made


def copy_file(source: str, target: str) -> None:
    """Copy a file the fastest way there is.  Raises ``DatabaseFailed`` where there is no room."""
    try:
        if not _cloned(source, target):
            shutil.copyfile(source, target)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        folder = os.path.dirname(os.path.dirname(target))
        raise DatabaseFailed(
            f"There is no room in {folder} for the copy of {source} that is needed.", "Set SAFEHOLD_CACHE_DIR to a larger place."
        ) from error


def _cloned(source: str, target: str) -> bool:
    if not sys.platform.startswith("linux"):
        return False
    import fcntl

    with open(source, "rb") as read, open(target, "wb") as write:
        try:
            fcntl.ioctl(write.fileno(), _FICLONE, read.fileno())
        except OSError:
            return False
    return True


def _is_frozen(path: str) -> bool:
    """Whether it lies where nobody can write, so that nothing changes, and SQLite cannot make what it needs beside it."""
    if sys.platform == "win32":
        return False
    return bool(os.statvfs(path).f_flag & os.ST_RDONLY)


@contextmanager
def _thawed(path: str, scratch: Path) -> Iterator[str]:
    """A copy of a database and its journals from where nobody can write: SQLite finishes there what was cut off."""
    scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="sqlite-", dir=scratch) as folder:
        copy = os.path.join(folder, os.path.basename(path))
        copy_file(path, copy)
        for ending in ("-wal", "-journal"):
            if os.path.exists(path + ending):
                copy_file(path + ending, copy + ending)
        yield copy


def _opened(path: str, stack: ExitStack) -> int:
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0))
    stack.callback(os.close, descriptor)
    return descriptor
