"""How a plan stands: when it is due, and whether all is well.  Pure functions of the plan and of its history."""

from __future__ import annotations

from datetime import tzinfo

from safehold.core.clock import NS
from safehold.jobs.history import History, Run
from safehold.jobs.plan import Plan
from safehold.jobs.schedule import span

AGAIN_SECONDS = 300
"""After a failure that passes by itself; twice as long after each further one, up to ``HOUR``."""
HOUR = 3600
PASSING = frozenset({"store-unreachable", "waiting", "database-unreachable", "session-expired"})
"""Codes of errors that may be gone in a while."""


def next_run_ns(plan: Plan, history: History, known_ns: int, now_ns: int, zone: tzinfo, later_ns: int = 0) -> int | None:
    """When the plan is due (ns since 1970, perhaps long past); None if it is not by itself.

    ``known_ns``: since when there is this plan; one that names times of day waits for the next of them.
    """
    schedule = plan.schedule
    if plan.paused or schedule.is_empty:
        return None
    failures = history.failures()
    if failures:
        return _again_ns(failures, now_ns)
    last = min(history.last_backup_ns, now_ns)
    if not last:
        return 0 if schedule.every else schedule.next_ns(known_ns, zone, later_ns)
    return schedule.next_ns(last, zone, later_ns)


def _again_ns(failures: list[Run], now_ns: int) -> int:
    newest = failures[0]
    if not newest.ended_ns and len(failures) == 1:
        return 0
    ended = min(newest.ended_ns or newest.began_ns, now_ns)
    worst = newest.worst
    passes = not newest.ended_ns or (worst is not None and worst.code in PASSING)
    seconds = min(AGAIN_SECONDS << min(len(failures) - 1, 8), HOUR) if passes else HOUR
    return ended + seconds * NS


def is_step_due(period: str, last_ns: int, now_ns: int) -> bool:
    """Whether a step that is not part of every run is to be done in this one."""
    return bool(period) and (not last_ns or last_ns > now_ns or now_ns - last_ns >= span(period, "period") * NS)


def state(plan: Plan, history: History, known_ns: int, now_ns: int, zone: tzinfo) -> str:
    """``paused``, ``by hand``, ``failed``, ``overdue``, ``new``, ``incomplete`` or ``fine``."""
    if plan.paused:
        return "paused"
    if _is_overdue(plan, history, known_ns, now_ns, zone):
        return "overdue"
    last = history.last
    if last is None:
        return "by hand" if plan.schedule.is_empty else "new"
    if not last.ended_ns or (last.worst is not None and last.status != 3):
        return "failed"
    return "incomplete" if last.status else "fine"


def _is_overdue(plan: Plan, history: History, known_ns: int, now_ns: int, zone: tzinfo) -> bool:
    schedule = plan.schedule
    if schedule.is_empty:
        return False
    first = schedule.next_ns(min(history.last_backup_ns or known_ns, now_ns), zone)
    return now_ns > schedule.next_ns(first, zone)
