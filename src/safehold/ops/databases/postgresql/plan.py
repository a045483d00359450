"""From what is there and a target to what a recovery needs, or why it can't be.  Pure functions.  ``docs/postgresql.md``."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from safehold.core.errors import LogGap, SafeholdError, UsageError
from safehold.ops.databases.postgresql.archive import Archive, Base, Piece, Reach
from safehold.ops.databases.postgresql.segments import checkpoint_ns, points, reach, xids
from safehold.sources.postgresql.positions import format_lsn

KINDS = ("latest", "immediate", "time", "lsn", "xid", "name")
NEWEST, CURRENT = 0, -1
"""Timelines that are told by the base: the newest that it leads to, or its own."""


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """The moment that is wanted."""

    kind: str = "latest"
    value: int = 0
    """Of a time: ns since 1970; of an LSN, a transaction: its number."""
    name: str = ""
    """Of a named restore point."""
    text: str = ""
    """As the user wrote it, or in words."""
    inclusive: bool = True
    timeline: int = NEWEST


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a recovery does."""

    base: Base
    target: Target
    timeline: int
    """The one that it ends on."""
    way: list[int]
    """The timelines that it goes through."""
    pieces: list[Piece]
    """The log files that it reads."""
    earliest_ns: int
    earliest: int
    """From when, and where, on this base can be recovered."""
    latest_ns: int
    """The last end of a transaction that can be recovered from this base on this way."""
    latest: int
    missing: str
    """The first segment that is not in the archive."""
    gap: bool
    """Whether later ones are."""
    notes: list[str]
    """What the user should know, in sentences."""
    to_end: bool = False
    """The target, a time, is after the last transaction of the log, and the log is known to be whole up to then.  The server is
    told no target: it would not find it, and fail."""

    @property
    def size(self) -> int:
        """Bytes of log."""
        return sum(piece.stored.entry.size for piece in self.pieces)


def make(bases: Sequence[Base], archive: Archive, target: Target, chosen: Base | None = None) -> Plan:
    """The plan for a target.  ``chosen``: the base to begin from; else the newest that will do.

    Raises ``LogGap`` where log is missing, naming the first file; ``SafeholdError`` where the target is before every base, not
    archived yet, or unknown; ``UsageError`` for a timeline that can't be got to.
    """
    candidates = [chosen] if chosen else sorted(bases, key=lambda base: (base.stop, base.stop_ns), reverse=True)
    if not candidates:
        raise SafeholdError("There is no base of this database.", "Make one: safehold backup postgresql://...")
    failures: list[SafeholdError] = []
    for base in candidates:
        try:
            plan = _from(base, archive, target)
        except SafeholdError as error:
            failures.append(error)
            if isinstance(error, _TooLate):
                continue  # an older one may do
            break
        return plan if base is candidates[0] else _with_note(plan, candidates[0])
    raise _refusal(failures, bases, archive, target, chosen)


class _TooLate(SafeholdError):
    """The base was finished after the target."""


def _refusal(
    failures: list[SafeholdError], bases: Sequence[Base], archive: Archive, target: Target, chosen: Base | None
) -> SafeholdError:
    """Why it can't be, with the base that would do if another was named."""
    last = failures[-1]
    if not isinstance(last, _TooLate):
        return last
    if chosen and len(bases) > 1:
        try:
            other = make(bases, archive, target).base
        except SafeholdError:
            return SafeholdError(str(last), last.hint)
        return SafeholdError(str(last), f"Base {other.id[:8]} is early enough: name that one, or `latest`.")
    return SafeholdError(str(last), "There is no older base.")


def _with_note(plan: Plan, newest: Base) -> Plan:
    note = f"The newest base, {newest.id[:8]}, was finished after the target: this one is older."
    return msgspec.structs.replace(plan, notes=[note, *plan.notes])


def _from(base: Base, archive: Archive, target: Target) -> Plan:
    timeline = _timeline(base, archive, target)
    found = archive.reach(base, timeline)
    to_end = target.kind == "time" and _ends_before(base, found, target.value)
    count = len(found.pieces) if to_end else _needed(base, found, target)
    notes = []
    if to_end:
        notes.append("No transaction ended between the end of the log and the target: all of the log is recovered.")
    if target.kind == "latest" and found.gap:
        notes.append(f"The log has a gap: {found.missing} is missing. What came after it cannot be recovered from this base.")
    return Plan(
        base=base,
        target=target,
        timeline=timeline,
        way=[s.timeline for s in archive.way(timeline) if s.timeline >= base.timeline],
        pieces=found.pieces[:count],
        earliest_ns=base.stop_ns,
        earliest=base.stop,
        latest_ns=max(found.last_ns, base.stop_ns),
        latest=found.end,
        missing=found.missing,
        gap=found.gap,
        notes=notes,
        to_end=to_end,
    )


def _ends_before(base: Base, found: Reach, value: int) -> bool:
    """Whether all transactions of the log ended by then, and a checkpoint that began later proves that there were no others."""
    if base.stop_ns > value or found.last_ns > value:
        return False
    return any(checkpoint_ns(piece.log) > value for piece in found.pieces if piece.log.end > base.stop)


def _timeline(base: Base, archive: Archive, target: Target) -> int:
    if target.timeline == CURRENT or target.kind == "immediate":
        return base.timeline
    if target.timeline == NEWEST:
        return archive.newest_timeline(base)
    if not archive.leads_to(base, target.timeline):
        known = ", ".join(map(str, sorted({base.timeline, *archive.histories})))
        raise UsageError(
            f"Timeline {target.timeline} cannot be got to from base {base.id[:8]}, which is on timeline {base.timeline}.",
            f"Timelines that are known: {known}. An older base may lie before the branch.",
        )
    return target.timeline


def _needed(base: Base, found: Reach, target: Target) -> int:
    """How many of the files are read.  Raises if they do not lead to the target."""
    check = {"time": _to_time, "lsn": _to_lsn, "xid": _to_xid, "name": _to_name}.get(target.kind)
    if check is not None:
        return check(base, found, target)
    if target.kind == "immediate":
        return sum(piece.log.start < base.stop for piece in found.pieces)
    return len(found.pieces)


def _to_time(base: Base, found: Reach, target: Target) -> int:
    """The server stops before the first transaction that ended later: such a one must be there."""
    if base.stop_ns > target.value:
        raise _TooLate(f"Base {base.id[:8]} was finished after {target.text[:1].lower()}{target.text[1:]}.")
    for number, piece in enumerate(found.pieces):
        if piece.log.last_ns > target.value:
            return number + 1
    raise _short(found, target)


def _to_lsn(base: Base, found: Reach, target: Target) -> int:
    if base.stop > target.value:
        raise _TooLate(f"Base {base.id[:8]} is consistent from {format_lsn(base.stop)} on, which is after {target.text}.")
    for number, piece in enumerate(found.pieces):
        if reach(piece.log) > target.value:
            return number + 1
    raise _short(found, target)


def _to_xid(base: Base, found: Reach, target: Target) -> int:
    """The last segment in which that transaction may have ended; numbers come round again, positions do not."""
    fitting = [n for n, piece in enumerate(found.pieces) if (span := xids(piece.log)) and span[0] <= target.value <= span[1]]
    after = [number for number in fitting if found.pieces[number].log.end > base.stop]
    if after:
        return after[-1] + 1
    if fitting or any(target.value < span[0] for piece in found.pieces[:1] if (span := xids(piece.log))):
        raise _TooLate(f"Transaction {target.value} ended before base {base.id[:8]} was finished.")
    raise _short(found, target)


def _to_name(base: Base, found: Reach, target: Target) -> int:
    seen = [
        (number, point) for number, piece in enumerate(found.pieces) for point in points(piece.log) if point.name == target.name
    ]
    for number, point in seen:
        if point.position > base.stop:
            return number + 1
    if seen or not found.gap:
        raise _TooLate(f"After base {base.id[:8]} the log has no restore point {target.name!r}.")
    raise _short(found, target)


def _short(found: Reach, target: Target) -> SafeholdError:
    """The log ends before the target: by a gap, or because the rest has not been archived."""
    if found.gap:
        return LogGap(
            f"{target.text} cannot be reached: the WAL segment {found.missing} is missing, and later ones are there.",
            f"Before the gap, {format_lsn(found.end)} can be reached; after it, only from a newer base.",
        )
    return LogGap(
        f"{target.text} is not in the archive: it ends at {format_lsn(found.end)}, and {found.missing} would be next.",
        "If the server still runs, let it archive (CHECKPOINT; SELECT pg_switch_wal()); "
        "without a target, the latest state is restored.",
    )
