"""A moment in a PostgreSQL database's history, from the options of ``safehold restore``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safehold.core.errors import UsageError

if TYPE_CHECKING:
    from safehold.cli.call import Call
    from safehold.ops.databases.postgresql.plan import Target

_OTHERS = ("to_position", "to_gtid")
_POINTS = ("to_time", "to_lsn", "to_name", "to_xid", "immediate")


def target_of(call: Call) -> Target:
    """The target that the options name.  Raises ``UsageError``."""
    from safehold.ops.databases.postgresql.plan import Target

    values = call.values
    wrong = next((name for name in _OTHERS if getattr(values, name)), None)
    if wrong:
        raise UsageError(
            f"--{wrong.replace('_', '-')} is not for PostgreSQL.", "There are --to-time, --to-lsn, --to-name, --to-xid."
        )
    given = [name for name in _POINTS if getattr(values, name)]
    if len(given) > 1:
        names = " and ".join("--" + name.replace("_", "-") for name in given)
        raise UsageError(f"{names} do not go together.", "Name one moment.")
    timeline = _timeline(values.timeline)
    if not given:
        if values.exclusive or values.action:
            raise UsageError("--exclusive and --action are for a moment that is named.", "Add --to-time, for instance.")
        return Target(kind="latest", text="the latest state", timeline=timeline)
    if given == ["immediate"]:
        return Target(kind="immediate", text="the end of the base", timeline=timeline)
    return _named(call, given[0], timeline)


def _named(call: Call, option: str, timeline: int) -> Target:
    from safehold.ops.databases.postgresql.plan import Target
    from safehold.sources.postgresql.positions import parse_lsn

    text = str(getattr(call.values, option))
    inclusive = not call.values.exclusive
    if option == "to_name":
        return Target(kind="name", name=text, text=f"The restore point {text!r}", timeline=timeline)
    if option == "to_time":
        value = _time(call, text)
        return Target(kind="time", value=value, text=f"The time {text}", inclusive=inclusive, timeline=timeline)
    if option == "to_xid":
        if not text.isdecimal():
            raise UsageError(f"--to-xid {text} is no transaction's number.", "pg_current_xact_id() gives one.")
        value = int(text) & 0xFFFFFFFF
        return Target(kind="xid", value=value, text=f"Transaction {text}", inclusive=inclusive, timeline=timeline)
    try:
        value = parse_lsn(text)
    except ValueError as error:
        raise UsageError(
            f"--to-lsn {text} is no position in PostgreSQL's log.", "pg_current_wal_lsn() gives one: 0/3000028."
        ) from error
    return Target(kind="lsn", value=value, text=f"Position {text}", inclusive=inclusive, timeline=timeline)


def _time(call: Call, text: str) -> int:
    """To the microsecond, and a day means its beginning: after a day's end nothing of it is left to undo."""
    from safehold.ops.resolve import moment_ns

    return moment_ns(text, call.clock.now_ns(), day_ends=False)


def _timeline(text: str) -> int:
    from safehold.ops.databases.postgresql.plan import CURRENT, NEWEST

    if text in {"", "latest"}:
        return NEWEST
    if text == "current":
        return CURRENT
    if not text.isdecimal() or not int(text):
        raise UsageError(f"--timeline {text} is no timeline.", "It is a number, `latest` or `current`.")
    return int(text)
