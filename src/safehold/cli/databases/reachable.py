"""Which moments of each database of a repository can be restored, for listings; and what is wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import groupby

import msgspec

from safehold.cli.render import words
from safehold.core.events import Warn
from safehold.repo.repository import Repository
from safehold.repo.snapshots import Stored

MOMENTS = 3
"""So many bases without a log are named."""
_Key = tuple[str, str]
"""Engine and system."""


class Window(msgspec.Struct, frozen=True, order=True):
    """A stretch of time, every moment of which can be restored."""

    from_ns: int
    until_ns: int
    facts: dict[str, str] = {}
    """What else there is to say of it, for JSON."""


class Reachable(msgspec.Struct, frozen=True, kw_only=True):
    """What can be restored of one database."""

    engine: str
    system: str
    name: str
    bases: int
    newest: str
    """The id of the newest base; empty if there is none."""
    newest_ns: int
    windows: list[Window]
    """Ascending, apart from each other."""
    gaps: list[str]
    """What is missing of the log, in words."""
    parted: list[dict[str, str]] = []
    """The same gaps for JSON, where they have a first and a last."""
    warnings: list[Warn] = []
    followed: bool = False
    """The log is stored up to the newest base, at least."""


def found(repository: Repository, snapshots: Iterable[Stored]) -> list[Reachable]:
    """Every database that these snapshots are of, PostgreSQL's first, then by engine and name."""
    every = list(snapshots)
    members = sorted((stored for stored in every if _key(stored)[0] in _ENGINES), key=_key)
    made = [_ENGINES[key[0]](repository, key, list(group), every) for key, group in groupby(members, key=_key)]
    some = [each for each in made if each is not None]
    return sorted(some, key=lambda each: (each.engine != "postgresql", each.engine, each.name, each.system))


def _key(stored: Stored) -> _Key:
    database = stored.snapshot.source.database
    return (database.engine, database.system) if database is not None and database.role in ("base", "logs") else ("", "")


def _postgresql(repository: Repository, key: _Key, members: list[Stored], every: list[Stored]) -> Reachable:
    from safehold.ops.databases.postgresql.reading import load
    from safehold.ops.databases.postgresql.status import cluster_warnings, gaps, ranges
    from safehold.sources.postgresql.positions import format_lsn

    del members
    engine, system = key
    cluster = load(repository, system, every)
    newest = max(cluster.bases, key=lambda base: base.stop_ns, default=None)
    missing = gaps(cluster)
    windows = [
        Window(
            each.earliest_ns,
            each.latest_ns,
            {"earliest_lsn": format_lsn(each.earliest), "latest_lsn": format_lsn(each.latest), "base": each.base},
        )
        for each in ranges(cluster)
    ]
    return Reachable(
        engine=engine,
        system=system,
        name=cluster.name,
        bases=len(cluster.bases),
        newest=newest.id if newest else "",
        newest_ns=newest.stop_ns if newest else 0,
        windows=windows,
        gaps=[f"{first} to {last}" for first, last in missing],
        parted=[{"first": first, "last": last} for first, last in missing],
        warnings=cluster_warnings(cluster),
    )


def _sqlite(repository: Repository, key: _Key, members: list[Stored], every: list[Stored]) -> Reachable | None:
    from safehold.ops.databases.sqlite.recovery import reaches

    bases = _bases(members)
    if not bases:
        return None
    ids = {stored.id for stored in bases}
    windows = [(reach.from_ns, reach.until_ns) for reach in reaches(repository, bases[-1], every) if reach.base.id in ids]
    return _plain(key, bases, windows, "")


def _mariadb(repository: Repository, key: _Key, members: list[Stored], every: list[Stored]) -> Reachable | None:
    from safehold.ops.databases import logs
    from safehold.ops.databases.mariadb.history import History

    bases = _bases(members)
    if not bases:
        return None
    catalogue = logs.catalogue(repository, *key, every)
    histories = [History(d, catalogue) for stored in bases if (d := stored.snapshot.source.database) is not None]
    windows = [(h.base.stop_ns, h.last_ns if h.reaches_base else h.base.stop_ns) for h in histories]
    return _plain(key, bases, windows, histories[-1].gap, followed=histories[-1].reaches_base)


_ENGINES: dict[str, Callable[[Repository, _Key, list[Stored], list[Stored]], Reachable | None]] = {
    "postgresql": _postgresql,
    "sqlite": _sqlite,
    "mariadb": _mariadb,
    "mysql": _mariadb,
}


def _bases(members: list[Stored]) -> list[Stored]:
    """Oldest first."""
    return sorted((each for each in members if not each.snapshot.is_logs), key=lambda each: each.snapshot.time_ns)


def _plain(key: _Key, bases: list[Stored], windows: list[tuple[int, int]], gap: str, *, followed: bool = False) -> Reachable:
    """Of an engine that has a base, whose positions nobody asks for."""
    newest = bases[-1]
    name = newest.snapshot.source.paths[0].decode(errors="surrogateescape")
    database = newest.snapshot.source.database
    assert database is not None
    return Reachable(
        engine=key[0],
        system=key[1],
        name=name,
        bases=len(bases),
        newest=newest.id,
        newest_ns=database.stop_ns,
        windows=_joined(windows),
        gaps=[gap] if gap else [],
        warnings=[_gap_warning(name, gap)] if gap else [],
        followed=followed,
    )


def _gap_warning(name: str, gap: str) -> Warn:
    message = f"The log of {name} is missing from {gap}: moments beyond it cannot be restored."
    return Warn(code="log-gap", message=message, hint="Take a new base now: `safehold backup`.")


def _joined(windows: list[tuple[int, int]]) -> list[Window]:
    """Windows that overlap as one."""
    joined: list[Window] = []
    for start, end in sorted(windows):
        if joined and start <= joined[-1].until_ns:
            joined[-1] = Window(joined[-1].from_ns, max(joined[-1].until_ns, end))
        else:
            joined.append(Window(start, end))
    return joined


def lines(each: Reachable) -> Iterator[str]:
    """For people: one line, or one for each stretch where there are gaps."""
    name = words.printable(each.name)
    if not each.windows:
        yield f"{name}: no base, so nothing can be recovered"
    long = [window for window in each.windows if window.until_ns > window.from_ns]
    for number, window in enumerate(long):
        after = "-- gap -- " if number else ""
        yield f"{name}: {after}any moment from {words.moment(window.from_ns)} to {words.moment(window.until_ns)}"
    single = [window for window in each.windows if window.until_ns <= window.from_ns]
    if single:
        last = ", ".join(words.moment(window.from_ns) for window in single[-MOMENTS:])
        none = (
            "nothing was committed since, as far as the log is stored"
            if each.followed
            else "no log is stored, so no moment in between"
        )
        more = "no log leads on from them" if long else none
        yield f"{name}: {words.count(len(single), 'single moment')} (last {last}); {more}"
    for gap in each.gaps:
        yield f"{name}: the log is missing from {gap}"


def value(each: Reachable) -> dict[str, object]:
    """For JSON."""
    windows = [
        {"earliest_time": words.iso(window.from_ns), "latest_time": words.iso(window.until_ns), **window.facts}
        for window in each.windows
    ]
    return {
        "engine": each.engine,
        "system": each.system,
        "name": each.name,
        "bases": each.bases,
        "last_base": each.newest or None,
        "last_base_time": words.iso(each.newest_ns) if each.newest else None,
        "reachable": windows,
        "gaps": each.parted or each.gaps,
    }
