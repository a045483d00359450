"""Running a restore that an owner ordered: always into a folder of its own.  ``docs/jobs.md``.

The folder is filled under another name and gets its own when all is there: so what an interruption left is known as such, and
nothing that anybody else made is ever in it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

import msgspec

from safehold.codec.job import Order
from safehold.core.entries import DIRECTORY
from safehold.core.errors import PathMissing, TargetError, UsageError
from safehold.core.events import Event, Progress
from safehold.ops.resolve import resolve
from safehold.ops.restore import restore
from safehold.repo import trees
from safehold.repo.repository import Repository
from safehold.repo.snapshots import Snapshot
from safehold.sources.files.placing.terms import Options

UNFINISHED = ".unfinished"
_SHORT = 8


class Done(msgspec.Struct, frozen=True):
    """What was restored, and what not.  Sizes in bytes."""

    folder: str
    placed: int
    failed: int
    damaged: int
    bytes: int


def folder_name(id: bytes, now_ns: int) -> str:
    """What the new folder of a job is called: when it was begun, and the beginning of the job's id."""
    when = datetime.fromtimestamp(now_ns // 10**9)  # the device's own time: people read it there
    return f"{when:%Y-%m-%d %H.%M} {id.hex()[:_SHORT]}"


def chosen_folder(order: Order, allowed: Sequence[str]) -> Path:
    """The allowed folder that an order is for, as it was when it was allowed.  Raises ``TargetError``."""
    into = order.into or allowed[0]
    if into not in allowed:
        raise TargetError(f"This device does not allow restores into {into}.", "`safehold device allow-restores --into FOLDER`.")
    if not os.path.isdir(into) or os.path.realpath(into) != into:
        raise TargetError(f"{into} is not the folder any more that restores were allowed into.", "Allow them anew.")
    return Path(into)


def fill(repository: Repository, order: Order, folder: Path, tell: Callable[[int], None]) -> Done:
    """Restore what an order names into what ``finish`` makes ``folder``; ``tell`` is given the percentage, and may raise to stop.

    What an earlier run left unfinished is gone on with.  Raises ``SnapshotMissing``, ``PathMissing``, ``TargetError``,
    ``UsageError`` for a database, and as ``restore`` does.
    """
    snapshot = resolve(repository, order.snapshot).snapshot
    database = snapshot.source.database
    if database is not None and database.role != "dump":
        raise UsageError("That backup is of a database, which a job does not restore.", "`safehold restore`, on its machine.")
    paths = [_checked(repository, snapshot, path) for path in _outermost(order.paths)] or [b""]
    unfinished = _make(folder)
    placed = failed = damaged = written = 0
    for number, path in enumerate(paths):
        share = _Share(tell, repository.report, number, len(paths))
        target = _target(repository, snapshot, unfinished, path, _common(paths))
        result = restore(repository, snapshot, target, Options(), path=path, report=share)
        counts = result.counts
        placed += counts.created + counts.changed + counts.kept
        failed += counts.failed
        damaged += result.damaged
        written += counts.written
    return Done(str(folder), placed, failed, damaged, written)


def finish(folder: Path) -> None:
    """Give a filled folder its name, unless it has it already.  Raises ``TargetError``."""
    unfinished = folder.with_name(folder.name + UNFINISHED)
    try:
        if unfinished.is_dir() and not os.path.lexists(folder):
            unfinished.rename(folder)
    except OSError as error:
        raise TargetError(f"{unfinished} cannot be given its name: {error.strerror}.", "What was restored is there.") from error


def _make(folder: Path) -> Path:
    unfinished = folder.with_name(folder.name + UNFINISHED)
    try:
        if os.path.lexists(folder):
            raise TargetError(f"{folder} is there already.", "Nothing was restored, and nothing changed.")
        if unfinished.is_symlink():
            raise TargetError(f"{unfinished} is a link.", "Nothing was restored, and nothing changed.")
        unfinished.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise TargetError(f"{unfinished} cannot be made: {error.strerror}.", "Allow restores into another folder.") from error
    return unfinished


def _outermost(paths: Sequence[bytes]) -> list[bytes]:
    """Paths without slashes at their ends, each once, and none that lies in another."""
    found: list[bytes] = []
    for path in sorted({path.strip(b"/") for path in paths}):
        names = path.split(b"/")
        if any(name in (b"", b".", b"..") or b"\0" in name for name in names):
            raise PathMissing("The order names a path that no backup has.", "Order it again.")
        if not any(path.startswith(other + b"/") for other in found):
            found.append(path)
    return found


def _checked(repository: Repository, snapshot: Snapshot, path: bytes) -> bytes:
    """The path, if it is in the snapshot.  Raises ``PathMissing``."""
    trees.find(repository.reader, snapshot.tree, path)
    return path


def _common(paths: Sequence[bytes]) -> bytes:
    """The innermost folder that holds all of them, with a slash at its end; empty: the root."""
    parents = [path.split(b"/")[:-1] for path in paths]
    first, last = min(parents), max(parents)
    shared = 0
    while shared < min(len(first), len(last)) and first[shared] == last[shared]:
        shared += 1
    return b"".join(name + b"/" for name in first[:shared])


def _target(repository: Repository, snapshot: Snapshot, unfinished: Path, path: bytes, common: bytes) -> Path:
    """Where a path is placed: the folder's own place for a folder, that of the folder above for anything else."""
    entry = trees.find(repository.reader, snapshot.tree, path) if path else None
    below = path[len(common) :].split(b"/") if path else []
    if entry is not None and entry.kind != DIRECTORY:
        below = below[:-1]
    return unfinished.joinpath(*(os.fsdecode(name) for name in below))


class _Share:
    """The events of one of several restores, as a percentage of all."""

    def __init__(self, tell: Callable[[int], None], report: Callable[[Event], None], number: int, all: int) -> None:
        self._tell = tell
        self._report = report
        self._number = number
        self._all = all

    def __call__(self, event: Event) -> None:
        if isinstance(event, Progress):
            part = event.bytes / event.total_bytes if event.total_bytes else 0.0
            self._tell(min(99, int(100 * (self._number + min(1.0, part)) / self._all)))
        self._report(event)
