"""Carrying a plan out: the base, and the logs over it, into a file."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import msgspec

from safehold.core.errors import DamageError
from safehold.core.events import Progress
from safehold.ops.databases.sqlite.recovery import Plan, base_file, read_log
from safehold.repo import files
from safehold.repo.repository import Repository
from safehold.repo.snapshots import Database
from safehold.sources.sqlite import extracting
from safehold.sources.sqlite.placing import Place


class Restored(msgspec.Struct, frozen=True):
    """What was restored."""

    bytes: int
    """Written, base and logs together."""
    size: int
    transactions: int
    """Of the logs."""
    rows: int = 0
    """Of extracted tables."""


def restore(repository: Repository, plan: Plan, target: Path, *, overwrite: bool = False, verify: bool = False) -> Restored:
    """Restore to the file ``target``: whole, or not at all.

    ``verify``: SQLite checks it before it is put in its place.  Raises ``TargetError``, ``WrongDatabase``, ``DamageError``.
    """
    with Place(target, overwrite=overwrite) as place:
        done = _write(repository, plan, place.scratch)
        if verify:
            _verify(place.scratch, plan)
        entry = base_file(repository, plan.base)
        place.finish(entry.mode, (entry.uid, entry.gid))
        return done


def extract(repository: Repository, plan: Plan, tables: list[str], target: Path, *, overwrite: bool = False) -> Restored:
    """Restore to a scratch file, and write only these tables to ``target``: a database if it is named like one, else SQL."""
    scratch = repository.cache / "scratch"
    scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
    with Place(target, overwrite=overwrite) as place, tempfile.TemporaryDirectory(prefix="sqlite-", dir=scratch) as folder:
        database = Path(folder) / "database"
        done = _write(repository, plan, database)
        new = place.scratch if target.suffix not in extracting.ENDINGS else Path(folder) / ("new" + target.suffix)
        rows = extracting.extract(database, tables, new)
        if new != place.scratch:
            place.scratch.write_bytes(new.read_bytes())
        made = place.scratch.stat()
        place.finish(0o600, (made.st_uid, made.st_gid))
        return msgspec.structs.replace(done, rows=rows)


def _verify(path: Path, plan: Plan) -> None:
    problems = extracting.check(path)
    if problems:
        raise DamageError(
            f"The database that was restored from {plan.base.id[:8]} is damaged: {problems[0]}; nothing was put in its place.",
            "If the database itself was damaged when it was backed up, restore it without --verify to save what can be saved.",
        )


def _write(repository: Repository, plan: Plan, path: Path) -> Restored:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0), 0o600)
    with open(descriptor, "r+b") as file:
        written = _write_base(repository, plan, file.fileno())
        size, replayed, transactions = _replay(repository, plan, file.fileno())
        return Restored(written + replayed, size, transactions)


def _write_base(repository: Repository, plan: Plan, descriptor: int) -> int:
    content = files.open_file(repository.reader, base_file(repository, plan.base))
    written = 0
    for offset, length in content.pieces():
        os.lseek(descriptor, offset, os.SEEK_SET)
        written += _put(descriptor, content.read(offset, length))
        repository.report(Progress(phase="restore", bytes=written, total_bytes=content.size + plan.log_bytes))
    os.ftruncate(descriptor, content.size)
    return written


def _replay(repository: Repository, plan: Plan, descriptor: int) -> tuple[int, int, int]:
    """Lay the logs over the base; the size of the database, bytes written, transactions."""
    database = plan.base.snapshot.source.database
    assert database is not None
    at, size = database.start, os.fstat(descriptor).st_size
    written = transactions = 0
    for stored in plan.logs:
        for step, numbers, pages in read_log(repository, stored):
            if step.end <= at:
                continue
            if step.seen_ns > plan.wanted_ns:
                break
            _require_next(step.start, at, database)
            page = len(pages) // max(1, len(numbers))
            for index, number in enumerate(numbers):
                os.lseek(descriptor, (number - 1) * page, os.SEEK_SET)
                written += _put(descriptor, pages[index * page : (index + 1) * page])
            size = step.pages * page if page else size
            os.ftruncate(descriptor, size)
            at, transactions = step.end, transactions + step.transactions
    return size, written, transactions


def _require_next(start: int, at: int, database: Database) -> None:
    """A step may begin before the base's moment, and never after what was reached."""
    if start > at:
        raise DamageError(
            f"The logs of {database.name} have a gap before position {start}.", "`--plan` says what can be reached."
        )


def _put(descriptor: int, data: bytes) -> int:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
    return len(data)
