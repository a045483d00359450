"""From the journal's folder into the repository."""

from __future__ import annotations

import hashlib
from itertools import groupby
from pathlib import Path

import msgspec

from safehold.ops.backup.record import Result
from safehold.ops.databases import logs
from safehold.ops.databases.logs import Log, NewLog
from safehold.ops.databases.recording import RecordOptions
from safehold.ops.databases.sqlite.backup import ENGINE
from safehold.ops.databases.sqlite.recovery import UNTIL
from safehold.repo.repository import Repository
from safehold.repo.snapshots import Database
from safehold.sources.sqlite import journal, steps


class Waiting(msgspec.Struct, frozen=True, kw_only=True):
    """Log files of one history that are closed."""

    system: str
    timeline: int
    files: list[tuple[Path, Log, int]]
    """With how many transactions are in each."""
    bytes: int
    is_last: bool
    """No later history waits."""

    @property
    def end(self) -> int:
        return max(log.end for _, log, _ in self.files)


class Mark(msgspec.Struct, frozen=True, kw_only=True):
    """Since ``position`` nothing was committed, up to ``until_ns``."""

    system: str
    timeline: int
    position: int
    until_ns: int


def waiting_files(folder: Path, writing: str) -> list[Waiting]:
    """What waits in a journal's folder, the history that is followed now last.

    ``writing``: the name of the file that a follower may be writing to; empty if there is none.
    """
    here = journal.load_place(folder)
    now = here.timeline if here else 0
    closed = [name for name in journal.files(folder) if name != writing]
    names = sorted(closed, key=lambda name: (name.startswith(f"{now:08X}"), name))
    read = [(name, *_describe(folder / name)) for name in names]
    groups = [list(group) for _, group in groupby(read, key=lambda row: (row[1], row[2].timeline))]
    return [
        Waiting(
            system=rows[0][1], timeline=rows[0][2].timeline, files=[(folder / name, log, count) for name, _, log, count in rows],
            bytes=sum((folder / name).stat().st_size for name, *_ in rows), is_last=rows[0][2].timeline == now,
        )
        for rows in groups
    ]  # fmt: skip


def commit_waiting(
    repository: Repository, path: str, waiting: Waiting, until_ns: int, options: RecordOptions
) -> tuple[Result, int]:
    """Store log files, and remove them from the journal; the snapshot, and how many transactions they hold.

    ``until_ns``: nothing else was committed before that.
    """
    described = [log for _, log, _ in waiting.files]
    last = described[-1]
    described[-1] = msgspec.structs.replace(last, facts={UNTIL: str(max(until_ns, last.last_ns))})
    database = Database(engine=ENGINE, system=waiting.system, name=path, method="watch")
    opened = [file.open("rb") for file, _, _ in waiting.files]
    try:
        new = [NewLog(log, file.read) for log, file in zip(described, opened, strict=True)]
        result = logs.commit(repository, database, new, options)
    finally:
        for file in opened:
            file.close()
    for path_of, _, _ in waiting.files:
        path_of.unlink()
    return result, sum(count for *_, count in waiting.files)


def commit_mark(repository: Repository, path: str, mark: Mark, options: RecordOptions) -> Result:
    """Store that a database was followed up to a time, and nothing was committed since a position."""
    name = f"{mark.timeline:08X}-{mark.position:016X}.mark"
    facts = {UNTIL: str(mark.until_ns)}
    log = Log(name, mark.timeline, mark.position, mark.position, hashlib.sha256().digest(), 0, mark.until_ns, facts)
    database = Database(engine=ENGINE, system=mark.system, name=path, method="watch")
    return logs.commit(repository, database, [NewLog(log, lambda most: b"")], options)


def _describe(path: Path) -> tuple[str, Log, int]:
    """A closed log file's system, what it says of itself, and how many transactions it holds.  Raises ``FormatError``."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").digest()
        file.seek(0)
        head = steps.require_head(file.read(steps.FILE_HEADER.size), path.name)
        end, first, last, count = head.start, 0, 0, 0
        for step, _, _ in steps.read_steps(file.read, head.page):
            end, last, count = step.end, step.seen_ns, count + step.transactions
            first = first or step.seen_ns
    log = Log(path.name, head.timeline, head.start, end, digest, first, last)
    return head.system, log, count
