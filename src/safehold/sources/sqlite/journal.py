"""The folder where a follower puts log files until they are in the repository, and where it goes on after it was stopped."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from blake3 import blake3

from safehold.core.clock import SystemClock
from safehold.core.errors import UsageError
from safehold.sources.sqlite import steps
from safehold.sources.sqlite.steps import Head, Step
from safehold.sources.sqlite.wal import Place
from safehold.storage.filesystem import flush_folder

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ENDING = ".log"
PLACE = "place"
LOCK_SECONDS = 5.0
"""So long a follower may need to end when the process that started it was killed."""
FILES_A_FOLDER = 256
"""After so many files, positions jump to the next multiple of 2^32: the repository keeps logs in a folder for each."""


class Resumption(msgspec.Struct, frozen=True, kw_only=True):
    """Where an unbroken history has come to."""

    timeline: int
    page: int
    position: int
    seen_ns: int
    place: Place
    changes: int
    files: int = 0
    """Log files since positions jumped."""
    inode: int = 0
    """Of the database file."""


class Journal:
    """Writes log files.  Belongs to one follower; ``sync`` may be called by another thread."""

    def __init__(self, folder: Path, system: str, at: Resumption) -> None:
        self.folder = folder
        self.at = at
        self._system = system
        self._file = -1
        self._name = ""
        self._dirty = False
        self._closing = threading.Lock()

    def add(self, step: Step, numbers: NDArray[np.uint32], pages: NDArray[np.uint8]) -> None:
        """Append a step.  Raises ``OSError``."""
        if self._file < 0:
            self._begin(step)
        _write_all(self._file, steps.pack_step(step, numbers, pages))
        self._dirty = True
        self.at = msgspec.structs.replace(
            self.at, position=step.end, seen_ns=step.seen_ns, place=step.place, changes=step.changes
        )

    def next_end(self, transactions: int) -> int:
        """The position after that many transactions more."""
        if self.at.files >= FILES_A_FOLDER:
            self.at = msgspec.structs.replace(self.at, files=0)
            return ((self.at.position >> 32) + 1 << 32) + transactions
        return self.at.position + transactions

    def moved(self, place: Place, changes: int) -> None:
        """The WAL was begun anew, with nothing lost in between."""
        self.at = msgspec.structs.replace(self.at, place=place, changes=changes)

    def sync(self) -> None:
        """Make what was added durable."""
        with self._closing:
            if self._dirty:
                self._dirty = False
                os.fsync(self._file)

    def rotate(self) -> str:
        """Close the log file, durably; its name, empty if there is none."""
        name = self._name
        if self._file >= 0:
            self.sync()
            with self._closing:
                os.close(self._file)
                self._file, self._name = -1, ""
            self.at = msgspec.structs.replace(self.at, files=self.at.files + 1)
        save(self.folder, self.at)
        return name

    def _begin(self, step: Step) -> None:
        self._name = name_of(self.at.timeline, step.start)
        head = Head(self.at.page, self.at.timeline, step.start, self._system, step.after_ns)
        self._file = os.open(self.folder / self._name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        _write_all(self._file, steps.pack_head(head))
        flush_folder(str(self.folder))


def name_of(timeline: int, start: int) -> str:
    """The name of a log file."""
    return f"{timeline:08X}-{start:016X}{ENDING}"


def files(folder: Path, timeline: int | None = None) -> list[str]:
    """The names of the log files there, of one timeline, in order; or of all."""
    prefix = "" if timeline is None else f"{timeline:08X}-"
    return sorted(name for name in os.listdir(folder) if name.endswith(ENDING) and name.startswith(prefix))


def save(folder: Path, at: Resumption) -> None:
    """Keep where it has come to, durably."""
    new = folder / (PLACE + ".new")
    with new.open("wb") as file:
        file.write(msgspec.msgpack.encode(at))
        file.flush()
        os.fsync(file.fileno())
    new.replace(folder / PLACE)
    flush_folder(str(folder))


def load(folder: Path) -> Resumption | None:
    """Where the follower had come to, its last log file cut off where it is not whole; None if it can't be told."""
    at = load_place(folder)
    if at is None:
        return None
    for name in files(folder, at.timeline):
        at = _walk(folder / name, at)
    return at


def load_place(folder: Path) -> Resumption | None:
    """Where it had come to when a log file was closed last."""
    try:
        return msgspec.msgpack.decode((folder / PLACE).read_bytes(), type=Resumption)
    except (OSError, ValueError):
        return None


def clean(folder: Path) -> None:
    """Cut off what is torn at the end of log files whose follower is gone."""
    for name in files(folder):
        _walk(folder / name, Resumption(timeline=0, page=0, position=0, seen_ns=0, place=Place(b"", 0, (0, 0)), changes=0))


def size(folder: Path) -> int:
    """Bytes of the log files there."""
    return sum((folder / name).stat().st_size for name in files(folder))


def folder_name(path: str) -> str:
    """The name of a database's folder among journals."""
    return blake3(os.fsencode(os.path.realpath(path))).hexdigest(8)


def lock(folder: Path, path: str) -> int:
    """Make the folder and take it for this process; the descriptor to close in the end.  Raises ``UsageError`` if it is taken."""
    if sys.platform == "win32":
        raise UsageError("Databases can be followed on Linux and macOS only.", "`safehold backup sqlite:PATH` works here, too.")
    import fcntl

    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    clock = SystemClock()
    patient_until = clock.monotonic() + LOCK_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return descriptor
        except OSError:
            if clock.monotonic() >= patient_until:
                break
        clock.sleep(0.05)
    os.close(descriptor)
    raise UsageError(f"{path} is being followed into this repository already.", "Stop the other watch first.")


def _walk(path: Path, at: Resumption) -> Resumption:
    """Where a log file ends; what is torn at its end is cut off, and a file without a step removed."""
    with path.open("r+b") as file:
        head = steps.parse_head(file.read(steps.FILE_HEADER.size))
        whole = 0
        for step, _, pages in steps.read_steps(file.read, head.page) if head else ():
            whole = (whole or steps.FILE_HEADER.size) + steps.STEP_HEADER.size + step.count * 4 + len(pages)
            if step.start >= at.position:
                at = msgspec.structs.replace(at, position=step.end, seen_ns=step.seen_ns, place=step.place, changes=step.changes)
        file.truncate(whole)
        os.fsync(file.fileno())
    if not whole:
        path.unlink()
    return at


def _write_all(file: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]
