"""Bases and log of a cluster, read from the repository."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from safehold.core.errors import FormatError
from safehold.core.events import Warn
from safehold.ops.databases import logs
from safehold.ops.databases.logs import Catalogue, StoredLog
from safehold.ops.databases.postgresql.archive import Archive, Base, archive_of
from safehold.ops.databases.postgresql.terms import ENGINE
from safehold.repo import files
from safehold.repo.repository import Repository
from safehold.repo.snapshots import Stored
from safehold.sources.postgresql import timelines
from safehold.sources.postgresql.timelines import History


class Cluster(msgspec.Struct, frozen=True, kw_only=True):
    """What the repository has of one database cluster."""

    system: str
    name: str
    """What people call it, as the newest base does."""
    bases: list[Base]
    """Oldest first.  Those that are marked incomplete are not among them."""
    archive: Archive
    conflicts: list[str]
    """Log files that are stored with different contents."""


def base_of(stored: Stored) -> Base:
    """A base, from its snapshot."""
    database = stored.snapshot.source.database
    assert database is not None
    return Base(
        id=stored.id,
        timeline=database.timeline,
        start=database.start,
        stop=database.stop,
        stop_ns=database.stop_ns,
        standby=database.facts.get("standby") == "yes",
    )


def load(repository: Repository, system: str, snapshots: Iterable[Stored] | None = None) -> Cluster:
    """Everything about a cluster.  ``snapshots``: where these are known, all of the repository's visible ones.

    Raises ``NotPermitted`` for a writer, ``DamageError``.
    """
    every = repository.visible_snapshots() if snapshots is None else list(snapshots)
    catalogue = logs.catalogue(repository, ENGINE, system, every)
    bases = [stored for stored in every if is_base(stored, system)]
    segment = next((size for stored in bases if (size := _segment(stored))), 0)
    newest = bases[-1].snapshot.source.database if bases else None
    archive = archive_of(catalogue.logs, _histories(repository, catalogue), segment)
    return Cluster(
        system=system,
        name=newest.name if newest else f"postgresql system {system}",
        bases=[base_of(stored) for stored in bases if not stored.snapshot.incomplete],
        archive=archive,
        conflicts=catalogue.conflicts,
    )


def is_base(stored: Stored, system: str = "") -> bool:
    """Whether a snapshot is a base of a cluster, or of this one."""
    database = stored.snapshot.source.database
    return (
        database is not None
        and (database.engine, database.role) == (ENGINE, "base")
        and (not system or database.system == system)
    )


def content(repository: Repository, stored: StoredLog) -> bytes:
    """A log file, whole.  Raises ``DamageError``."""
    return b"".join(files.stream(files.open_file(repository.reader, stored.entry)))


def _segment(stored: Stored) -> int:
    database = stored.snapshot.source.database
    return int(database.facts.get("wal_segment_size", "0")) if database else 0


def _histories(repository: Repository, catalogue: Catalogue) -> dict[int, History]:
    found = {}
    for stored in catalogue.logs:
        if stored.log.name.endswith(".history"):
            try:
                text = content(repository, stored).decode("utf-8", "replace")
                found[stored.log.timeline] = timelines.parse_history(text, stored.log.name)
            except FormatError as error:
                repository.report(Warn(code="wal-history", message=str(error), path=stored.log.name, hint=error.hint))
    return found
