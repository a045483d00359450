"""Retention: which snapshots a policy keeps, and why.  A pure function; ``docs/prune.md``, "What is kept".

Snapshots compete only with those of the same device, host and source.  So a hijacked machine that dates its own snapshots
back or forward cannot push out the real ones of others (restic #22057); where the store's own times can be trusted, not even
its own earlier ones.
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import groupby

import msgspec

from safehold.core.errors import UsageError
from safehold.repo.snapshots import Stored

UNLIMITED = -1
_DURATION = re.compile(r"(?:(\d{1,4})y)?(?:(\d{1,5})m)?(?:(\d{1,5})w)?(?:(\d{1,6})d)?(?:(\d{1,7})h)?", re.ASCII)
_LATEST = 253_370_764_800
"""Seconds since 1970 of the year 9999: what claims to be later is taken for that."""


class Duration(msgspec.Struct, frozen=True):
    """A span of the calendar."""

    years: int = 0
    months: int = 0
    weeks: int = 0
    days: int = 0
    hours: int = 0

    def before(self, moment: datetime) -> datetime:
        """The moment so long before; the last day of the month where that month is too short."""
        months = moment.year * 12 + moment.month - 1 - self.years * 12 - self.months
        year, month = divmod(months, 12)
        if year < 1970:
            return moment.replace(year=1970, month=1, day=1)
        day = min(moment.day, calendar.monthrange(year, month + 1)[1])
        earlier = moment.replace(year=year, month=month + 1, day=day)
        return earlier - timedelta(weeks=self.weeks, days=self.days, hours=self.hours)


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """How many to keep of each sort (-1: all), how long, and with which tags."""

    last: int = 0
    hourly: int = 0
    daily: int = 0
    weekly: int = 0
    monthly: int = 0
    yearly: int = 0
    within: Duration | None = None
    tags: frozenset[str] = frozenset()

    @property
    def empty(self) -> bool:
        """Whether it says nothing; then everything is kept."""
        return self == Policy()


class Decision(msgspec.Struct, frozen=True):
    """What becomes of a snapshot."""

    snapshot: Stored
    reasons: tuple[str, ...]
    """Why it is kept; empty: it is to be forgotten."""

    @property
    def keep(self) -> bool:
        return bool(self.reasons)


class _Group(msgspec.Struct):
    """Snapshots of one device and source, newest first, and the reasons found so far."""

    snapshots: list[Stored]
    times: list[datetime]
    reasons: list[list[str]]


Bucket = Callable[[datetime], object]
BUCKETS: dict[str, Bucket] = {
    "hourly": lambda t: (t.year, t.month, t.day, t.hour, t.utcoffset()),
    "daily": lambda t: (t.year, t.month, t.day),
    "weekly": lambda t: t.isocalendar()[:2],
    "monthly": lambda t: (t.year, t.month),
    "yearly": lambda t: t.year,
}


def parse_duration(text: str) -> Duration:
    """``1y6m``, ``30d``, ``2w``, ``12h``: years, months, weeks, days, hours in this order.  Raises ``UsageError``."""
    match = _DURATION.fullmatch(text.strip())
    if match is None or not any(match.groups()):
        raise UsageError(f"{text!r} is no duration.", "Write it as 30d, 2w, 6m, 1y, 12h or 1y6m (m: months).")
    return Duration(*(int(number or 0) for number in match.groups()))


def apply(
    policy: Policy, snapshots: Iterable[Stored], now_ns: int, zone: tzinfo, received: Mapping[str, int] | None = None
) -> list[Decision]:
    """A decision for each snapshot, newest first within each group.  ``zone``: where days begin at midnight.

    ``received`` holds, by id, times (ns) that count instead of what snapshots say of themselves.

    An incomplete snapshot counts only where there is no complete one, and never uses up the place of one.  The newest
    complete snapshot of each group is always kept.  So are a database's logs: which of them are needed follows from the bases
    that are kept, not from their age.
    """
    decisions = []
    every = list(snapshots)
    ordered = sorted((stored for stored in every if not stored.snapshot.is_logs), key=_group_key)
    for _, members in groupby(ordered, key=_group_key):
        decisions += _decide(policy, list(members), now_ns, zone, received or {})
    return decisions + [Decision(stored, ("logs",)) for stored in every if stored.snapshot.is_logs]


def _group_key(stored: Stored) -> tuple[object, ...]:
    snapshot = stored.snapshot
    return (stored.signer, snapshot.host, snapshot.source.kind, snapshot.source.paths)


def _decide(policy: Policy, members: Sequence[Stored], now_ns: int, zone: tzinfo, received: Mapping[str, int]) -> list[Decision]:
    times = {stored.id: received.get(stored.id, stored.snapshot.time_ns) for stored in members}
    ordered = sorted(members, key=lambda s: (times[s.id], s.id), reverse=True)
    group = _Group(ordered, [_local(times[s.id], zone) for s in ordered], [[] for _ in ordered])
    if policy.empty:
        _note(group, range(len(ordered)), "no policy")
    else:
        _keep_last(group, policy.last)
        for name, bucket in BUCKETS.items():
            _keep_buckets(group, getattr(policy, name), name, bucket)
        _keep_within(group, policy.within, now_ns, zone)
        _keep_tagged(group, policy.tags)
        _keep_newest(group)
    return [Decision(s, tuple(reasons)) for s, reasons in zip(ordered, group.reasons, strict=True)]


def _local(time_ns: int, zone: tzinfo) -> datetime:
    seconds = min(max(time_ns // 10**9, 86400), _LATEST)
    return datetime.fromtimestamp(seconds, UTC).astimezone(zone)


def _note(group: _Group, numbers: Iterable[int], reason: str) -> None:
    for number in numbers:
        group.reasons[number].append(reason)


def _keep_last(group: _Group, count: int) -> None:
    """The newest complete ones; incomplete ones only to make up the number."""
    if count:
        complete = [n for n, s in enumerate(group.snapshots) if not s.snapshot.incomplete]
        incomplete = [n for n, s in enumerate(group.snapshots) if s.snapshot.incomplete]
        chosen = complete + incomplete
        _note(group, chosen if count == UNLIMITED else chosen[:count], "last")


def _keep_buckets(group: _Group, count: int, name: str, bucket: Bucket) -> None:
    """The newest complete one of each of ``count`` buckets, and of buckets in between that have only incomplete ones, one."""
    left = {False: count, True: count}
    for number, incomplete in _representatives(group, bucket):
        if left[False] == 0 or count == 0:
            return
        if left[incomplete] != 0:
            left[incomplete] -= 1
            _note(group, [number], f"{name}, incomplete" if incomplete else name)


def _representatives(group: _Group, bucket: Bucket) -> Iterator[tuple[int, bool]]:
    """For each bucket, newest first: the snapshot that stands for it, and whether it is incomplete."""
    for _, found in groupby(range(len(group.snapshots)), key=lambda n: bucket(group.times[n])):
        numbers = list(found)
        complete = [n for n in numbers if not group.snapshots[n].snapshot.incomplete]
        yield (complete or numbers)[0], not complete


def _keep_within(group: _Group, within: Duration | None, now_ns: int, zone: tzinfo) -> None:
    """Counted back from the newest snapshot, not from now: backups that stopped long ago do not melt away."""
    if within is None:
        return
    now = _local(now_ns, zone)
    newest = next((time for time in group.times if time <= now), now)
    limit = within.before(newest)
    _note(group, (n for n, time in enumerate(group.times) if time >= limit), "within")


def _keep_tagged(group: _Group, tags: frozenset[str]) -> None:
    for number, stored in enumerate(group.snapshots):
        for tag in sorted(tags.intersection(stored.snapshot.tags)):
            _note(group, [number], f"tag {tag}")


def _keep_newest(group: _Group) -> None:
    """The newest complete one, and one before which there is none but which is incomplete: it holds the newest data."""
    complete = next((n for n, s in enumerate(group.snapshots) if not s.snapshot.incomplete), None)
    if complete is not None and not group.reasons[complete]:
        _note(group, [complete], "newest")
    if complete != 0 and not group.reasons[0]:
        _note(group, [0], "newest, incomplete")
