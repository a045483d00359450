"""Which moments of SQLite and MariaDB databases can be restored, for listings.  PostgreSQL's are in ``ranges``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby

import msgspec

from safehold.cli.render import words
from safehold.repo.repository import Repository
from safehold.repo.snapshots import Stored

MOMENTS = 3
"""So many bases without a log are named."""
Window = tuple[int, int]
"""From when until when, in ns."""


class Spans(msgspec.Struct, frozen=True):
    """What can be restored of one database."""

    engine: str
    system: str
    name: str
    bases: list[Stored]
    windows: list[Window]
    """Ascending, apart from each other."""
    gap: str = ""
    """What is missing after the newest base, in words."""


def found(repository: Repository, snapshots: Iterable[Stored]) -> list[Spans]:
    """Every SQLite and MariaDB database that these snapshots have a base of, by engine and name."""
    every = list(snapshots)
    bases = [stored for stored in every if _engine(stored) in ("sqlite", "mariadb", "mysql")]
    bases.sort(key=lambda stored: (*_key(stored), stored.snapshot.time_ns))
    made = []
    for (engine, system), group in groupby(bases, key=_key):
        members = list(group)
        windows, gap = (_sqlite if engine == "sqlite" else _mariadb)(repository, members, every)
        name = members[-1].snapshot.source.paths[0].decode(errors="surrogateescape")
        made.append(Spans(engine, system, name, members, _joined(windows), gap))
    return sorted(made, key=lambda each: (each.engine, each.name))


def _engine(stored: Stored) -> str:
    database = stored.snapshot.source.database
    return database.engine if database is not None and database.role == "base" else ""


def _key(stored: Stored) -> tuple[str, str]:
    database = stored.snapshot.source.database
    return (database.engine, database.system) if database is not None else ("", "")


def _sqlite(repository: Repository, members: list[Stored], every: list[Stored]) -> tuple[list[Window], str]:
    from safehold.ops.databases.sqlite.recovery import reaches

    del every
    ids = {stored.id for stored in members}
    return [(reach.from_ns, reach.until_ns) for reach in reaches(repository, members[-1]) if reach.base.id in ids], ""


def _mariadb(repository: Repository, members: list[Stored], every: list[Stored]) -> tuple[list[Window], str]:
    from safehold.ops.databases import logs
    from safehold.ops.databases.mariadb.history import History

    engine, system = _key(members[-1])
    catalogue = logs.catalogue(repository, engine, system, every)
    histories = [History(d, catalogue) for stored in members if (d := stored.snapshot.source.database) is not None]
    windows = [(h.base.stop_ns, h.last_ns if h.reaches_base else h.base.stop_ns) for h in histories]
    return windows, histories[-1].gap


def _joined(windows: list[Window]) -> list[Window]:
    """Windows that overlap as one."""
    joined: list[Window] = []
    for start, end in sorted(windows):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], end))
        else:
            joined.append((start, end))
    return joined


def lines(spans: Spans) -> Iterator[str]:
    """For people."""
    name = words.printable(spans.name)
    long = [window for window in spans.windows if window[1] > window[0]]
    for number, (start, end) in enumerate(long):
        yield f"{name}: {'-- gap -- ' if number else ''}any moment from {words.moment(start)} to {words.moment(end)}"
    single = [start for start, end in spans.windows if end == start]
    if single:
        last = ", ".join(map(words.moment, single[-MOMENTS:]))
        more = "no log leads on from them" if long else "no log is stored, so no moment in between"
        yield f"{name}: {words.count(len(single), 'single moment')} (last {last}); {more}"
    if spans.gap:
        yield f"{name}: the log is missing from {spans.gap}"


def value(spans: Spans) -> dict[str, object]:
    """For JSON."""
    newest = spans.bases[-1]
    database = newest.snapshot.source.database
    return {
        "engine": spans.engine,
        "system": spans.system,
        "name": spans.name,
        "bases": len(spans.bases),
        "last_base": newest.id,
        "last_base_time": words.iso(database.stop_ns) if database is not None else None,
        "reachable": [{"earliest_time": words.iso(start), "latest_time": words.iso(end)} for start, end in spans.windows],
        "gaps": [spans.gap] if spans.gap else [],
    }
