"""Which jobs there are, how often each is run, and who runs it.

Every run takes a lease on the job's line in the database, so that of several servers one runs it, and another does when that one
has died.  The lease only saves work: jobs are right when two servers run them at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, select, update

from safehold.core.clock import NS
from safehold.server.database import insert_new
from safehold.server.ids import new_id
from safehold.server.jobs import lapsing, locking, mailing, notices, purging, scrubbing
from safehold.server.schema import jobs
from safehold.server.service import Service

LEASE_NS = 3600 * NS
"""After so long without an end the server that ran a job is taken for dead."""


class Job(msgspec.Struct, frozen=True):
    """Something that is done again and again."""

    run: Callable[[Service], str]
    """Returns what came of it, in a few words."""
    every_seconds: int
    cron: str
    """The same, as queues want it."""


JOBS: Mapping[str, Job] = {
    "lapse": Job(lapsing.forget, 3600, "7 * * * *"),
    "purge": Job(purging.purge, 3600, "17 * * * *"),
    "scrub": Job(scrubbing.scrub, 3600, "27 * * * *"),
    "strays": Job(scrubbing.strays, 86400, "37 3 * * *"),
    "lock": Job(locking.extend, 86400, "47 4 * * *"),
    "overdue": Job(notices.overdue, 300, "*/5 * * * *"),
    "mail": Job(mailing.send, 60, "* * * * *"),
}


def is_due(row: Row[Any] | None, every_seconds: int, now_ns: int) -> bool:
    """Whether a job is to begin, by its line: it ended long enough ago, or whoever began it has died."""
    if row is None:
        return True
    if row.lease_ns > now_ns:
        return False
    return bool(now_ns - row.began_ns >= every_seconds * NS or row.ended_ns < row.began_ns)


def run_due(service: Service, names: Mapping[str, Job] = JOBS, stopping: Callable[[], bool] = lambda: False) -> list[str]:
    """Run what is due, one after the other; the names of what was run."""
    done = []
    for name in names:
        if stopping():
            break
        if run(service, name, names):
            done.append(name)
    return done


def run(service: Service, name: str, names: Mapping[str, Job] = JOBS, *, at_once: bool = False) -> bool:
    """Run a job if it is due (``at_once``: also if it is not) and no other server does; whether it was run.

    What goes wrong is written down, and is no reason for others not to run.
    """
    job, holder = names[name], new_id()
    with service.database.write() as connection:
        if not _take(connection, name, job, holder, service.clock.now_ns(), at_once):
            return False
    result = error = ""
    try:
        result = job.run(service)
    except Exception as failure:  # whatever it is
        error = f"{type(failure).__name__}: {failure}"[:1000]
    with service.database.write() as connection:
        values = {"lease_ns": 0, "ended_ns": service.clock.now_ns(), "result": result, "error": error}
        connection.execute(update(jobs).where(jobs.c.name == name, jobs.c.holder == holder).values(**values))
    return True


def _take(connection: Connection, name: str, job: Job, holder: str, now: int, at_once: bool) -> bool:
    insert_new(connection, jobs, name=name, ended_ns=0, began_ns=0)
    row = connection.execute(select(jobs).where(jobs.c.name == name).with_for_update()).one()
    if row.lease_ns > now or not (at_once or is_due(row, job.every_seconds, now)):
        return False
    values = {"holder": holder, "lease_ns": now + LEASE_NS, "began_ns": now}
    connection.execute(update(jobs).where(jobs.c.name == name).values(**values))
    return True


def standing(connection: Connection) -> list[dict[str, object]]:
    """How each job went last."""
    fields = ("name", "began_ns", "ended_ns", "result", "error")
    return [{field: getattr(row, field) for field in fields} for row in connection.execute(select(jobs).order_by(jobs.c.name))]
