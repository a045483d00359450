"""Restoring a server's folder to a moment.  ``docs/mariadb.md``, "Restore".

Everything happens beside the target, in ``.TARGET.safehold-part``, which takes the target's name when it is complete: a
server that is started too early finds nothing.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from safehold.core.errors import DamageError, TargetError, WrongDatabase
from safehold.core.events import Note, Warn
from safehold.ops.databases.mariadb.planning import Plan
from safehold.ops.databases.mariadb.room import watched
from safehold.ops.restore import restore as restore_files
from safehold.repo.repository import Repository
from safehold.sources.files.placing.terms import Counts, Options
from safehold.sources.mariadb import binlog, private, programs

MARK = "safehold.restored"
"""A file in a restored folder that says what it is, so that a later restore may take it as what it starts from."""
PART = ".safehold-part"
SPARE = 64 * 1024 * 1024


class Mark(msgspec.Struct, frozen=True):
    """What a folder was restored from, and to which moment."""

    engine: str
    system: str
    snapshot: str
    binlog: str = ""
    """FILE:POS of the original server up to which it holds."""
    gtid: str = ""


class Restored(msgspec.Struct, frozen=True):
    """What a restore did."""

    counts: Counts
    mark: Mark
    transactions_to: int = 0
    """When the last applied transaction was committed (ns); 0: none was applied."""


def restore(repository: Repository, plan: Plan, target: Path, *, verify: bool = False) -> Restored:
    """Restore into ``target``: absent, empty, or an earlier restore of the same database, of which what is equal stays.

    Raises ``LogGap``, ``TargetError``, ``WrongDatabase``, ``DatabaseFailed``, ``DamageError``, with the target as it was, but for
    an earlier restore whose files were begun to be changed: that is gone.
    ``verify``: have a private server check every table, and raise ``DamageError`` if one is not as it should be.
    """
    require_programs(plan, server=verify)
    with _place(target, plan) as part:
        counts = place_files(repository, plan, part, delete=True)
        bring_forward(repository, plan, part)
        if verify:
            _verify(repository, plan, part)
        (part / MARK).write_bytes(msgspec.json.encode(_mark(plan)))
        hand_over(part)
    return Restored(counts, _mark(plan), plan.stop.time_ns if plan.stop else 0)


def _verify(repository: Repository, plan: Plan, folder: Path) -> None:
    repository.report(Note(message="Checking every table."))
    with private.running(folder, plan.base.engine, plan.base.version, plan.base.facts) as server:
        tables, problems = server.check()
    for problem in problems:
        repository.report(Warn(code="table", message=problem))
    if problems:
        raise DamageError(f"{len(problems)} of {tables} tables are not as they should be.", "An older base may be whole.")


def require_programs(plan: Plan, *, server: bool = False) -> None:
    """Raises what keeps the plan from being carried out, before anything is written."""
    if plan.refused is not None:
        raise plan.refused
    roles = ["backup", *(["server"] if server or plan.logs else []), *(["binlog", "client"] if plan.logs else [])]
    for role in roles:
        program = programs.find(role, plan.base.engine)
        if plan.base.engine == "mariadb" and role in ("backup", "server"):
            programs.require_series(program, plan.base.version, "The base")


def place_files(repository: Repository, plan: Plan, folder: Path, *, delete: bool) -> Counts:
    """The base's files into a folder.  Raises ``DamageError`` and ``TargetError`` unless all of them are there."""
    done = restore_files(repository, plan.stored.snapshot, folder, Options(delete=delete))
    if done.damaged:
        raise DamageError(f"{done.damaged:,} files of the base are damaged in the repository.", "Take an older base.")
    if done.counts.failed:
        raise TargetError(f"{done.counts.failed:,} files could not be written to {folder}.", "The warnings above say why.")
    return done.counts


def bring_forward(repository: Repository, plan: Plan, folder: Path) -> None:
    """Prepare the base, and apply the logs."""
    base = plan.base
    repository.report(Note(message="Preparing the base."))
    private.prepare(folder, base.engine, base.version)
    hand_over(folder)
    if not plan.logs or plan.stop is None:
        return
    with log_files(repository, plan, folder.with_name(folder.name + ".logs")) as files:
        repository.report(Note(message=f"Applying {len(files)} binary logs up to {plan.stop.name}:{plan.stop.offset}."))
        with private.running(folder, base.engine, base.version, base.facts) as server:
            server.replay(files, max(base.stop & 0xFFFFFFFF, len(binlog.MAGIC)), plan.stop.offset)


@contextmanager
def log_files(repository: Repository, plan: Plan, folder: Path) -> Iterator[list[Path]]:
    """The plan's binary logs, as files in that folder, which is gone afterwards."""
    _clear(folder)
    folder.mkdir(mode=0o700)
    try:
        made = []
        for file in plan.logs:
            path = folder / f"log.{file.number:010}"
            with path.open("wb") as out:
                for data in file.data(repository.reader):
                    out.write(data)
            made.append(path)
        yield made
    finally:
        _clear(folder)


def hand_over(folder: Path) -> None:
    """Everything to whom the data folder belonged, as far as this machine knows that: what the programs made is root's so far."""
    if sys.platform == "win32" or os.geteuid() != 0:
        return
    like = (folder / "ibdata1").stat()
    for path in (folder, *folder.rglob("*")):
        os.chown(path, like.st_uid, like.st_gid, follow_symlinks=False)


def _mark(plan: Plan) -> Mark:
    base, facts = plan.base, plan.base.facts
    if plan.stop is not None:
        return Mark(base.engine, base.system, plan.stored.id, f"{plan.stop.name}:{plan.stop.offset}", plan.stop.gtid)
    where = f"{facts['binlog']}:{facts['position']}" if "binlog" in facts else ""
    return Mark(base.engine, base.system, plan.stored.id, where, facts.get("gtid", ""))


@contextmanager
def _place(target: Path, plan: Plan) -> Iterator[Path]:
    """The folder to work in; the target, once the caller is done with it, and gone if that fails."""
    target = Path(os.path.abspath(target))
    existing = _look(target, plan)
    part = target / PART if os.path.ismount(target) else target.with_name(f".{target.name}{PART}")
    _clear(part)  # what an interrupted restore left
    _require_room(target, plan, existing)
    attributes = target.stat() if target.exists() else None
    if existing:
        os.rename(target, part)
    else:
        part.mkdir(mode=0o700, parents=True)
    try:
        with watched(part):
            yield part
            _take_place(part, target, attributes)
    except BaseException:
        _clear(part)
        raise


def _take_place(part: Path, target: Path, attributes: os.stat_result | None) -> None:
    if part.parent == target:  # a mount point cannot be replaced
        for name in sorted(os.listdir(part), key=lambda name: name == "mysql"):  # without it no server starts
            os.rename(part / name, target / name)
        part.rmdir()
        return
    if attributes is not None:
        os.chmod(part, attributes.st_mode & 0o7777)
    with suppress(FileNotFoundError):
        target.rmdir()
    os.rename(part, target)


def _look(target: Path, plan: Plan) -> bool:
    """Whether the target is an earlier restore of the same database.  Raises ``TargetError`` for anything else that is there."""
    if not target.exists() and not target.is_symlink():
        return False
    if not target.is_dir() or target.is_symlink():
        raise TargetError(f"{target} is no folder.", "Name a folder that is not there yet, or an empty one.")
    names = [name for name in os.listdir(target) if name not in ("lost+found", PART)]
    if not names:
        return False
    try:
        mark = msgspec.json.decode((target / MARK).read_bytes(), type=Mark)
    except (OSError, msgspec.MsgspecError):
        raise TargetError(f"{target} is not empty.", "Name a folder that is not there yet, or an empty one.") from None
    if mark.system != plan.base.system:
        raise WrongDatabase(f"{target} holds another database's restore.", "Name a folder that is not there yet.")
    if _is_running(target):
        raise WrongDatabase(f"A server is running on {target}.", "Stop it, or restore to another folder.")
    if os.path.ismount(target):
        raise TargetError(f"{target} is a mount point and not empty.", "Empty it first.")
    return True


def _is_running(folder: Path) -> bool:
    """Whether a server holds the lock on its first file.  On Windows such a folder cannot be renamed, so there is no need."""
    if sys.platform == "win32":
        return False
    import fcntl

    try:
        with (folder / "ibdata1").open("r+b") as file:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


def _require_room(target: Path, plan: Plan, existing: bool) -> None:
    above = next(path for path in (target, *target.parents) if path.exists())
    free = shutil.disk_usage(above).free
    needed = plan.bytes + SPARE - (plan.stored.snapshot.totals.bytes if existing else 0)
    if free < needed:
        raise TargetError(
            f"{above} has {free >> 20:,} MiB free, and the restore needs about {needed >> 20:,} MiB.", "Choose another folder."
        )


def _clear(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
