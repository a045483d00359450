"""The target of a base's restore: what may be overwritten, where tablespaces go, and what keeps an unfinished one from starting.

While a restore is under way the folder holds ``safehold-restore``, which says of what, and has no ``global/pg_control``: no
server starts on it.  Only what such a folder or a data directory of the same cluster holds is ever overwritten.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

assert sys.platform != "win32"

import msgspec

from safehold.core.errors import DamageError, TargetError, UsageError, WrongDatabase
from safehold.repo.snapshots import Database
from safehold.sources.postgresql import control

MARK = "safehold-restore"
WAITING = "pg_control.safehold"
"""The name of the control file until all else is in its place."""


class Tablespace(msgspec.Struct, frozen=True):
    """A tablespace: where it was, and where it goes; in the data directory itself if ``target`` is None."""

    oid: str
    path: str
    name: str
    target: Path | None


class Target(msgspec.Struct, frozen=True):
    """A folder that may be written."""

    folder: Path
    tablespaces: list[Tablespace]
    is_new: bool
    """Nothing is in it yet."""
    is_settled: bool
    """It is a data directory, not what an interrupted restore left: what is in it lies on the disk already."""
    owner: tuple[int, int] | None
    """Whom it belongs to, if it was made for somebody else than us."""


class _Mark(msgspec.Struct, frozen=True):
    system: str
    snapshot: str


def examine(folder: Path, database: Database, moved: list[str]) -> Target:
    """Look at a target before anything is written.  ``moved``: OLD=NEW for tablespaces.

    Raises ``TargetError``, ``WrongDatabase``, ``UsageError``.
    """
    is_new = _is_empty(folder)
    if not is_new:
        _require_same(folder, database)
        _require_stopped(folder)
    spaces = _moved(database, moved)
    _require_apart(folder, spaces)
    for space in spaces:
        _require_free(folder, space)
    owner = None
    if folder.is_dir():
        st = folder.stat()
        owner = (st.st_uid, st.st_gid) if st.st_uid != os.geteuid() else None
    return Target(folder, spaces, is_new, not is_new and not (folder / MARK).exists(), owner)


def begin(target: Target, database: Database, snapshot: str) -> None:
    """Make the folders, and keep any server from starting on them until ``end``."""
    folder = target.folder
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    mark = folder / MARK
    mark.write_bytes(msgspec.json.encode(_Mark(database.system, snapshot)))
    _sync(mark)
    _sync(folder)
    at = folder / "global" / "pg_control"
    if at.exists():
        at.unlink()
        _sync(at.parent)
    for space in target.tablespaces:
        if space.target is not None:
            space.target.mkdir(mode=0o700, parents=True, exist_ok=True)


def end(folder: Path) -> None:
    """Let the control file take its place: the restore is whole."""
    place = folder / "global"
    os.replace(place / WAITING, place / "pg_control")
    _sync(place)
    (folder / MARK).unlink()
    _sync(folder)


def tablespaces(database: Database) -> list[Tablespace]:
    """The tablespaces of a base, each where it was."""
    found = json.loads(database.facts.get("tablespaces", "{}"))
    spaces = []
    for oid, each in sorted(found.items()):
        path = str(each["path"])
        if not str(oid).isdigit():
            raise DamageError(f"The base names a tablespace {oid!r}, which cannot be.", "Run `safehold check`.")
        spaces.append(Tablespace(str(oid), path, str(each.get("name", "")), Path(path) if path.startswith("/") else None))
    return spaces


def _moved(database: Database, moved: list[str]) -> list[Tablespace]:
    spaces = tablespaces(database)
    for text in moved:
        old, equals, new = text.partition("=")
        if not equals or not new.startswith("/"):
            raise UsageError(f"--tablespace {text} does not say OLD=NEW.", "NEW is a folder's full path.")
        at = next((n for n, s in enumerate(spaces) if old in (s.oid, s.path, s.name)), None)
        if at is None:
            known = ", ".join(f"{s.oid} ({s.name or s.path})" for s in spaces) or "none"
            raise UsageError(f"The base has no tablespace {old}.", f"It has: {known}.")
        spaces[at] = msgspec.structs.replace(spaces[at], target=Path(new))
    return spaces


def _require_apart(folder: Path, spaces: list[Tablespace]) -> None:
    """No tablespace in the data directory, around it, or in another: a server would take the files of one for another's."""
    places = [("the data directory", folder.resolve())]
    for space in spaces:
        if space.target is None:
            continue
        what, place = f"tablespace {space.name or space.oid}", space.target.resolve()
        for other, taken in places:
            if place.is_relative_to(taken) or taken.is_relative_to(place):
                raise TargetError(
                    f"The folder {space.target} of {what} and {other} ({taken}) lie one in the other.",
                    f"Put it elsewhere with --tablespace {space.oid}=FOLDER; nothing was written.",
                )
        places.append((what, place))


def _is_empty(folder: Path) -> bool:
    """Whether a folder is not there or has nothing in it.  Raises ``TargetError`` for what is no folder."""
    try:
        return not any(name != "lost+found" for name in os.listdir(folder))
    except FileNotFoundError:
        return True
    except OSError as error:
        raise TargetError(f"{folder} cannot be restored into: {error.strerror}.", "Name a folder.") from error


def _require_same(folder: Path, database: Database) -> None:
    system = _system_of(folder)
    if system is None:
        raise WrongDatabase(
            f"{folder} is neither empty nor a data directory of PostgreSQL.", "Name an empty folder; nothing was written."
        )
    if system != database.system:
        raise WrongDatabase(
            f"{folder} holds another PostgreSQL cluster (system {system}, the base is of {database.system}).",
            "Name an empty folder; nothing was written.",
        )


def _system_of(folder: Path) -> str | None:
    """Which cluster a folder holds, or was to hold when its restore was interrupted."""
    try:
        return msgspec.json.decode((folder / MARK).read_bytes(), type=_Mark).system
    except (OSError, msgspec.MsgspecError):
        pass
    try:
        return control.parse((folder / "global" / "pg_control").read_bytes()).system
    except (OSError, DamageError):
        return None


def _require_stopped(folder: Path) -> None:
    try:
        process = abs(int((folder / "postmaster.pid").read_text(errors="replace").split()[0]))
        os.kill(process, 0)
    except (FileNotFoundError, ProcessLookupError):
        return
    except (OSError, ValueError, IndexError):
        process = 0
    raise WrongDatabase(
        f"A PostgreSQL server runs on {folder}" + (f" (process {process})." if process else "."),
        "Stop it first; if there is none, remove postmaster.pid from the folder.  Nothing was written.",
    )


def _require_free(folder: Path, space: Tablespace) -> None:
    """A tablespace's folder must be empty, or the one that the data directory in the target has had for it."""
    if space.target is None or _is_empty(space.target):
        return
    link = folder / "pg_tblspc" / space.oid
    if not link.is_symlink() or os.path.realpath(link) != os.path.realpath(space.target):
        raise TargetError(
            f"The folder {space.target} of tablespace {space.name or space.oid} is not empty.",
            f"Put it elsewhere with --tablespace {space.oid}=FOLDER; nothing was written.",
        )


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
