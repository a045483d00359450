"""Image copies of SQLite: a moment of the original compared with the copy, page by page.  ``docs/image-copies.md``."""

from __future__ import annotations

import os
import shutil
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import IO

assert sys.platform != "win32"

import msgspec
from blake3 import blake3

from safehold.core.errors import DamageError, ImageError, TargetError, UsageError
from safehold.core.events import Note
from safehold.ops.backup.memory import Memory
from safehold.ops.databases.assembly import Assembly
from safehold.ops.databases.recording import Filled
from safehold.ops.image_copies import rolls
from safehold.ops.image_copies.images import Given, Image, State
from safehold.ops.image_copies.keeping import by_page
from safehold.repo.repository import Repository
from safehold.repo.snapshots import Database
from safehold.sources.open_files import users
from safehold.sources.sqlite import header
from safehold.sources.sqlite.identity import system_of
from safehold.sources.sqlite.pinned import BLOCK, Pinned, pinned
from safehold.storage.filesystem import flush_folder, replace_durably

JOURNAL = "journal"
SCRATCH = "scratch"
IDENTITIES = "identities"
"""Fact: the folder by which this machine tells databases apart."""
DEEP_ON_CLONE = False
_PREFIX = "sqlite:"
_SCHEMA_AT = 40
"""Where a database's schema cookie lies: it only ever grows."""


class Open(msgspec.Struct, frozen=True):
    """A database that is open: there is no server, only an address."""

    url: str
    environment: dict[str, str] = {}


def create(image: Image, state: State, source: str, given: Given) -> State:
    """Make the copy.  Raises ``SourceMissing``, ``DatabaseFailed``, ``DatabaseUnreachable``, ``TargetError``."""
    path = _path(source)
    image.data.mkdir(mode=0o700, exist_ok=True)
    new = image.data / ".new"
    with _moment(image, path) as moment:
        state.rolled_ns = given.clock.now_ns()
        found = moment.stat
        state.system, state.version = _system(path, state), header.library_version(moment.header.library)
        state.facts |= {"file": os.path.basename(path), "mode": f"{found.st_mode & 0o7777:o}"}
        first = _write(new, moment)
        with suppress(PermissionError):  # only root may give files away
            os.chown(new, found.st_uid, found.st_gid)
    new.chmod(found.st_mode & 0o444)
    replace_durably(str(new), str(_file(image, state)))
    return _done(image, state, first)


def update(image: Image, state: State, source: str, given: Given) -> State:
    """Roll the copy forward to now.  A crash, or a full disk, at any point costs at most what this does."""
    settle(image, state)
    path, journal = _path(source), image.folder / JOURNAL
    if _system(path, state) != state.system:
        raise _another(path, state)
    try:
        with journal.open("w+b") as file, _moment(image, path) as moment:
            moment_ns = given.clock.now_ns()
            first, changed = _compare(file, moment, _file(image, state), state, moment_ns)
        flush_folder(str(image.folder))
    except BaseException:
        journal.unlink(missing_ok=True)
        raise
    state.version = header.library_version(moment.header.library)
    if not changed:
        journal.unlink()
        state.rolled_ns = moment_ns
        return _done(image, state, first)
    given.report(Note(message=f"Rolling {state.name} forward by {journal.stat().st_size:,} bytes."))
    state.facts["schema"] = str(_schema(first))
    _carry_out(image, state, moment_ns)
    return state


def settle(image: Image, state: State) -> None:
    """Finish or undo what was interrupted, and see to it that nobody opened the copy otherwise.  Raises ``ImageError``."""
    shutil.rmtree(image.folder / SCRATCH, ignore_errors=True)
    journal = image.folder / JOURNAL
    roll = rolls.read(journal)
    if roll is None or roll.number <= state.rolls:
        if state.phase == "rolling":
            raise ImageError(f"The journal of {state.name}'s roll is gone or damaged.", "Make the image copy anew.")
        journal.unlink(missing_ok=True)
        _require_untouched(image, state)
        return
    if state.phase != "rolling":
        _require_untouched(image, state)
    _carry_out(image, state, roll.moment_ns)


@contextmanager
def opened(image: Image, state: State) -> Iterator[Open]:
    """The image itself, for reading: SQLite then neither locks nor writes anything."""
    settle(image, state)
    yield Open(_uri(_file(image, state)))


@contextmanager
def promoted(clone: Image, state: State) -> Iterator[Open]:
    """A clone of the image, for writing."""
    path = _file(clone, state)
    path.chmod(int(state.facts["mode"], 8))
    yield Open(f"{path.as_uri()}?mode=rw")


def relocate(image: Image, clone: Image) -> None:
    """Nothing in a database file says where it lies."""
    del image, clone


def verify(image: Image, state: State) -> None:
    """SQLite's quick check.  Raises ``DamageError``, ``ImageError``."""
    _check(image, state, "PRAGMA quick_check(20)")


def verify_deep(image: Image, state: State) -> None:
    """Every index against its table, and every foreign key.  Raises ``DamageError``, ``ImageError``."""
    _check(image, state, "PRAGMA integrity_check(20)", "PRAGMA foreign_key_check")


def public(source: str) -> str:
    """A source, by its whole path."""
    return _PREFIX + _path(source)


def give_up(source: str, state: State) -> None:
    """The original keeps nothing for the image."""
    del source, state


def lineage(state: State) -> str:
    """Snapshots of the image and of its original are compared with each other: they hold the same bytes."""
    return _path(state.source)


def filling(repository: Repository, image: Image, state: State) -> Callable[[Assembly, Memory], Filled]:
    """What puts the image together as a base.  Raises ``ImageError``."""
    del repository
    settle(image, state)
    return by_page(image, _described(image, state), lambda name: _page(image, state))


def _page(image: Image, state: State) -> int:
    """The page size by which the image's file is kept."""
    with _file(image, state).open("rb") as file:
        return header.parse(file.read(header.SIZE), state.name).page


def _described(image: Image, state: State) -> Database:
    """What a snapshot says of the image."""
    path = _file(image, state)
    with path.open("rb") as file:
        data = file.read(header.SIZE)
    facts = {"image": "yes"}
    if data:
        head = header.parse(data, str(path))
        facts |= {"mode": "wal" if head.wal else "delete", "page_size": str(head.page), "encoding": head.encoding}
    return Database(
        engine="sqlite",
        system=state.system,
        name=_path(state.source),
        version=state.version,
        method="image-copy",
        stop_ns=state.rolled_ns,
        facts=facts,
    )


def _path(source: str) -> str:
    path = source.removeprefix(_PREFIX)
    if not path or not source.startswith(_PREFIX):
        raise UsageError(f"{source} names no SQLite database.", "Write, for instance, sqlite:/srv/app/data.db.")
    return os.path.realpath(os.path.expanduser(path))


def _file(image: Image, state: State) -> Path:
    return image.data / state.facts["file"]


def _system(path: str, state: State) -> str:
    if not os.path.exists(path):
        raise ImageError(
            f"There is no {path}, which {state.name} is a copy of.", "`safehold image-copy open` opens the copy instead."
        )
    return system_of(path, Path(state.facts[IDENTITIES]))


def _another(path: str, state: State) -> ImageError:
    return ImageError(
        f"{path} is another database than {state.name} is a copy of.", "Name the right one, or make a new image copy."
    )


@contextmanager
def _moment(image: Image, path: str) -> Iterator[Pinned]:
    try:
        with pinned(path, image.folder / SCRATCH, hold=True) as moment:
            yield moment
    finally:
        shutil.rmtree(image.folder / SCRATCH, ignore_errors=True)


def _write(path: Path, moment: Pinned) -> bytes:
    """The whole of a moment; its first page."""
    first = b""
    with path.open("wb") as file:
        for block in moment.blocks():
            first = first or block[: moment.page]
            file.write(block)
        file.flush()
        os.fsync(file.fileno())
    return first


def _compare(file: IO[bytes], moment: Pinned, target: Path, state: State, moment_ns: int) -> tuple[bytes, bool]:
    """Write down the pages that differ, and commit; the first page, which is always among them, and whether anything differs."""
    import numpy as np

    page, writer, changed = moment.page, rolls.Writer(file), False
    first = b""
    with target.open("rb", buffering=0) as image:
        size = os.fstat(image.fileno()).st_size
        for at, block in enumerate(moment.blocks()):
            old = os.pread(image.fileno(), len(block), at * BLOCK)
            first = first or block[:page]
            if old == block and at:
                continue
            new = np.frombuffer(block, np.uint8).reshape(-1, page)
            known = np.frombuffer(old[: len(old) // page * page], np.uint8).reshape(-1, page)
            differs = np.ones(len(new), np.bool_)
            differs[: len(known)] = (new[: len(known)] != known).any(axis=1)
            changed |= bool(differs.any())
            differs[0] |= at == 0
            numbers = np.flatnonzero(differs)
            writer.add((numbers + at * (BLOCK // page)).astype(np.uint32), new[numbers].tobytes())
    if (not first and size) or _schema(first) < int(state.facts["schema"]):
        raise _another(moment.path, state)
    writer.commit(rolls.Roll(page, state.rolls + 1, moment.size, moment_ns))
    return first, changed or moment.size != size


def _schema(first: bytes) -> int:
    return int.from_bytes(first[_SCHEMA_AT : _SCHEMA_AT + 4], "big")


def _carry_out(image: Image, state: State, moment_ns: int) -> None:
    """Do what the journal says.  Where there is no room for it, all stays as it was."""
    path, journal = _file(image, state), image.folder / JOURNAL
    state.phase = "rolling"
    image.save(state)
    mode = path.stat().st_mode & 0o7777
    path.chmod(mode | 0o200)
    try:
        rolls.carry_out(journal, path)
    except rolls.NoRoom as error:
        state.phase, state.mark = "ready", _mark(path)
        image.save(state)
        journal.unlink()
        raise TargetError(
            f"There is no room in {image.folder} for {state.name} to grow.", "Make room; nothing is lost."
        ) from error
    finally:
        path.chmod(mode)
    state.rolled_ns = moment_ns
    _done(image, state, b"")
    journal.unlink()
    flush_folder(str(image.folder))


def _done(image: Image, state: State, first: bytes) -> State:
    """The copy is what it should be: keep by what that is known later."""
    if first:
        state.facts["schema"] = str(_schema(first))
    state.facts.setdefault("schema", "0")
    state.mark, state.phase, state.rolls = _mark(_file(image, state)), "ready", state.rolls + 1
    image.save(state)
    return state


def _mark(path: Path) -> str:
    """What any program that writes to a database file changes."""
    with path.open("rb") as file:
        found = os.fstat(file.fileno())
        return f"{found.st_size}:{found.st_mtime_ns}:{blake3(file.read(header.SIZE)).hexdigest(8)}"


def _require_untouched(image: Image, state: State) -> None:
    """Nobody opened the copy otherwise, and nobody has it open."""
    path = _file(image, state)
    if not path.exists():
        raise ImageError(f"There is no {path} any more.", "Make the image copy anew.")
    found = [f"process {pid}" for pid in users(path)]
    if found:
        raise ImageError(f"{path} is open in another program ({', '.join(found)}).", "End it; `open --read-write` opens a clone.")
    beside = [Path(f"{path}{ending}") for ending in ("-wal", "-journal", "-shm")]
    written = any(one.exists() and one.stat().st_size for one in beside[:2])
    if written or _mark(path) != state.mark:
        raise ImageError(
            f"{state.name} was opened otherwise since its last roll; it is no copy of the original any more.", "Make it anew."
        )
    for one in beside:
        one.unlink(missing_ok=True)  # of a program that read, and was killed


def _uri(path: Path) -> str:
    return f"{path.as_uri()}?mode=ro&immutable=1"


def _check(image: Image, state: State, *pragmas: str) -> None:
    settle(image, state)
    problems: list[str] = []
    try:
        with closing(sqlite3.connect(_uri(_file(image, state)), uri=True, isolation_level=None)) as db:
            for pragma in pragmas:
                rows = db.execute(pragma).fetchall()
                problems += [_problem(row) for row in rows if row[0] != "ok"]
    except sqlite3.DatabaseError as error:
        problems.append(str(error))
    if problems:
        raise DamageError(
            f"{state.name} is damaged: {problems[0].rstrip('.')}.", "Look into the original as well: it may be damaged there."
        )


def _problem(row: tuple[object, ...]) -> str:
    """What a check says: a sentence, or a row that refers to one that is not there."""
    if len(row) == 1:
        return str(row[0])
    return f"row {row[1]} of {row[0]} refers to a row of {row[2]} that is not there"
