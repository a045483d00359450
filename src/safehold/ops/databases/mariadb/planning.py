"""What a restore would do, before anything is written."""

from __future__ import annotations

import msgspec

from safehold.core.errors import LogGap, UsageError
from safehold.ops.databases import logs
from safehold.ops.databases.mariadb.history import Goal, History, LogFile, Stop
from safehold.repo.repository import Repository
from safehold.repo.snapshots import Database, Stored


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """From what a database is restored."""

    stored: Stored
    base: Database
    stop: Stop | None
    """None: the base itself; or the moment cannot be reached, and ``refused`` says why."""
    logs: list[LogFile]
    """Binary logs to apply, oldest first."""
    history: History
    refused: LogGap | UsageError | None = None

    @property
    def bytes(self) -> int:
        """What it takes on disk, roughly: the base, and the logs while they are applied."""
        return self.stored.snapshot.totals.bytes + sum(file.size for file in self.logs)


def plan(repository: Repository, stored: Stored, goal: Goal) -> Plan:
    """Look at what there is.  Never raises for a moment that cannot be reached: ``refused`` holds that."""
    base = stored.snapshot.source.database
    if base is None:
        raise UsageError(f"Snapshot {stored.id[:8]} is of no database.", "`safehold snapshots` shows which are.")
    history = History(base, logs.catalogue(repository, base.engine, base.system))
    if not goal.needs_logs:
        return Plan(stored=stored, base=base, stop=None, logs=[], history=history)
    try:
        stop = history.stop(goal, repository.reader)
    except (LogGap, UsageError) as error:
        return Plan(stored=stored, base=base, stop=None, logs=[], history=history, refused=error)
    return Plan(stored=stored, base=base, stop=stop, logs=history.needed(stop), history=history)
