"""Which snapshot is meant: an id, ``latest``, ``latest:TAG`` or a time; and which path in it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from datetime import datetime, timedelta

from safehold.core.errors import SnapshotMissing
from safehold.repo import condemned, snapshots
from safehold.repo.repository import Repository
from safehold.repo.snapshots import Stored

_MOMENT = (
    r"\d{4}-\d\d-\d\d(?:[T ]\d\d?:\d\d(?::\d\d(?:\.\d{1,6})?)?(?:Z|[+-]\d\d:\d\d)?)?"
    r"|now|today|yesterday|\d+ ?(?:seconds?|minutes?|hours?|days?|weeks?|months?|years?) ago"
)
_SNAP = re.compile(rf"latest|{_MOMENT}|[0-9a-f]{{4,64}}", re.IGNORECASE)
_AGO = re.compile(r"(\d+) ?([a-z]+?)s? ago", re.IGNORECASE)
_DRIVE = re.compile(r"([A-Za-z]):(?=[\\/]|$)")
_SECONDS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400, "week": 7 * 86400}
_MONTHS = {"month": 1, "year": 12}
_SHOWN = 3


def resolve(repository: Repository, text: str) -> Stored:
    """The snapshot that ``text`` names.  Raises ``SnapshotMissing``, ``DamageError``, ``NotPermitted``."""
    repository.require_reader()
    text = text.strip()
    lower = text.lower()
    if lower == "latest" or lower.startswith("latest:"):
        return _latest(repository, text[7:])
    if re.fullmatch(_MOMENT, text, re.IGNORECASE):
        return _as_of(repository, text)
    if re.fullmatch(r"[0-9a-f]{4,64}", lower):
        return _by_id(repository, lower)
    hint = 'Give an id (4 digits or more), `latest`, `latest:TAG`, or a time such as 2026-11-20 or "3 days ago".'
    raise SnapshotMissing(f"`{text}` names no snapshot.", hint)


def resolve_path(repository: Repository, text: str) -> tuple[Stored, bytes]:
    """The snapshot and the path of ``SNAP[:PATH]``; the path as ``stored_path`` gives it, empty for the root.

    ``latest:X`` is the tag X if some snapshot has that tag, else the path X.
    """
    tags = _tags(repository) if text.lower().startswith("latest:") else set()
    snap, path = split(text, tags)
    return resolve(repository, snap), stored_path(path)


def split(text: str, tags: Iterable[str] = ()) -> tuple[str, str]:
    """``SNAP[:PATH]`` in its two parts; times and tags may hold colons themselves."""
    match = _SNAP.match(text)
    end = match.end() if match else -1
    if end < 0 or text[end : end + 1] not in ("", ":"):
        snap, _, path = text.partition(":")
        return snap, path
    snap, rest = text[:end], text[end + 1 :]
    if snap.lower() != "latest":
        return snap, rest
    for tag in sorted(tags, key=len, reverse=True):
        if rest == tag or rest.startswith(tag + ":"):
            return f"{snap}:{tag}", rest[len(tag) + 1 :]
    return snap, rest


def stored_path(path: str) -> bytes:
    """A path as snapshots hold it: without its first slash; of a Windows drive only the letter (``C:\\x`` is ``C/x``)."""
    if _DRIVE.match(path):
        path = _DRIVE.sub(r"\1", path).replace("\\", "/")
    return os.fsencode(path).strip(b"/")


def moment_ns(text: str, now_ns: int, *, day_ends: bool = True) -> int:
    """A time in words, local unless it says otherwise; a day means its end, or its start.  Raises ``SnapshotMissing``."""
    now = datetime.fromtimestamp(now_ns // 1_000_000_000).astimezone().replace(microsecond=now_ns // 1000 % 1_000_000)
    try:
        found, is_day = _moment(text.strip().lower(), now)
    except (ValueError, OverflowError) as error:
        raise SnapshotMissing(f"`{text}` is no time.", 'Write 2026-11-20, "2026-11-20 14:30" or "3 days ago".') from error
    if is_day:
        found = found.replace(hour=23, minute=59, second=59, microsecond=999_999) if day_ends else found
    return int(found.timestamp()) * 1_000_000_000 + found.microsecond * 1000


def _moment(text: str, now: datetime) -> tuple[datetime, bool]:
    """A time, and whether it stands for its whole day (then it is its start)."""
    ago = _AGO.fullmatch(text)
    if ago:
        return _ago(int(ago[1]), ago[2], now), False
    if text == "now":
        return now, False
    if text in ("today", "yesterday"):
        day = now - timedelta(days=text == "yesterday")
        return datetime(day.year, day.month, day.day), True
    return datetime.fromisoformat(re.sub(r"[t ](\d):", r" 0\1:", text).upper()), len(text) == 10


def _ago(number: int, unit: str, now: datetime) -> datetime:
    if unit in _SECONDS:
        return now - timedelta(seconds=number * _SECONDS[unit])
    months = now.year * 12 + now.month - 1 - number * _MONTHS[unit]
    year, month = divmod(months, 12)
    for day in (now.day, 30, 29, 28):  # a month may lack the 31st
        try:
            return now.replace(year=year, month=month + 1, day=day)
        except ValueError:
            continue
    raise ValueError("before the first year")


def _latest(repository: Repository, tag: str) -> Stored:
    found = _whole(repository)
    if not found:
        raise SnapshotMissing("The repository holds no snapshot yet.", "`safehold backup` makes one.")
    fitting = [stored for stored in found if not tag or tag in stored.snapshot.tags]
    if not fitting:
        tags = sorted({tag for stored in found for tag in stored.snapshot.tags})
        raise SnapshotMissing(f"No snapshot has the tag `{tag}`.", f"Tags are: {', '.join(tags)}." if tags else "None has a tag.")
    return fitting[-1]


def _whole(repository: Repository) -> list[Stored]:
    """The snapshots that can be restored by themselves: a database's logs are not meant by "the latest"."""
    return [stored for stored in repository.visible_snapshots() if not stored.snapshot.is_logs]


def _as_of(repository: Repository, text: str) -> Stored:
    latest = moment_ns(text, repository.clock.now_ns())
    found = _whole(repository)
    fitting = [stored for stored in found if stored.snapshot.time_ns <= latest]
    if not fitting:
        raise SnapshotMissing(f"No snapshot is from {text} or before.", _near(found[:_SHOWN], "The first ones are"))
    return fitting[-1]


def _by_id(repository: Repository, prefix: str) -> Stored:
    names = repository.snapshot_names()
    fitting = [name for name in names if name.startswith(prefix)]
    if len(fitting) == 1:
        return snapshots.load(repository.seals, repository.store, fitting[0])
    if fitting:
        near = _near(repository.load_snapshots(sorted(fitting)[:_SHOWN]), "They are")
        raise SnapshotMissing(f"{len(fitting)} snapshots begin with `{prefix}`.", f"Write more of the id. {near}")
    trash = condemned.trash(repository.condemned())
    if any(name.startswith(prefix) for name in trash):
        raise SnapshotMissing(f"Snapshot {prefix} is in the trash.", f"`safehold undelete {prefix}` brings it back.")
    raise SnapshotMissing(f"No snapshot begins with `{prefix}`.", _near(_whole(repository)[-_SHOWN:], "The last ones are"))


def _near(found: list[Stored], words: str) -> str:
    if not found:
        return "`safehold snapshots` lists them all."
    lines = [f"{s.id[:8]} ({datetime.fromtimestamp(s.snapshot.time_ns // 1_000_000_000):%Y-%m-%d %H:%M})" for s in found]
    return f"{words}: {', '.join(lines)}."


def _tags(repository: Repository) -> set[str]:
    return {tag for stored in repository.visible_snapshots() for tag in stored.snapshot.tags}
