"""What is stored just now, and whether the listings can be believed.  Nothing is deleted on incomplete knowledge."""

from __future__ import annotations

import msgspec

from safehold.core.errors import DamageError, DeletionRefused
from safehold.repo import condemned, index, seen, snapshots
from safehold.repo.packs import id_of
from safehold.repo.prune.columns import Columns
from safehold.repo.prune.model import Options
from safehold.repo.repository import Repository
from safehold.repo.shares import records

PACKS = "packs/"


class Survey(msgspec.Struct, frozen=True):
    """The state of a repository at one time."""

    condemned: list[condemned.Stored]
    snapshots: frozenset[str]
    packs: dict[bytes, int]
    """Id -> size, as listed."""
    columns: list[Columns]
    superseded: frozenset[str]
    """Index shards that are stored, and replaced by others."""
    shared: frozenset[bytes] = frozenset()
    """Ids of the segments that living shares open."""


def take(repository: Repository, options: Options) -> Survey:
    """List everything.  Raises ``DeletionRefused`` where the listings do not add up, ``DamageError`` for an unreadable index.

    Order counts: packs before the index, so that a pack stored and indexed meanwhile does not look unindexed; snapshots
    before condemnations, so that one that another prune removed meanwhile is known as removed.
    """
    stored = frozenset(snapshots.names(repository.store))
    marks = repository.condemned()
    packs = _list_packs(repository)
    columns = _load_index(repository)
    shared = records.live_segments(
        records.load_all(repository.seals, repository.store, repository.report).values(), repository.clock.now_ns()
    )
    survey = Survey(marks, stored, packs, columns, repository.index.superseded, shared)
    _check_packs(repository, survey)
    if not options.confirm_large:
        _check_snapshots(repository, survey)
    seen.remember(repository.cache, stored, seen.vanished(repository.cache, stored, ()))
    return survey


def _list_packs(repository: Repository) -> dict[bytes, int]:
    found = {}
    for info in repository.store.list(PACKS):
        pack_id = id_of(info.key)
        if pack_id:
            found[pack_id] = info.size
    return found


def _load_index(repository: Repository) -> list[Columns]:
    """Every shard.  One that cannot be read would make packs look unindexed."""
    repository.index.refresh()
    listed = {info.key.removeprefix(index.PREFIX) for info in repository.store.list(index.PREFIX)}
    if listed - {shard.name for shard in repository.index.shards} - repository.index.superseded:
        repository.index.refresh()
    loaded = {shard.name for shard in repository.index.shards} | repository.index.superseded
    if listed - loaded:
        name = min(listed - loaded)
        raise DamageError(
            f"Index shard {name[:8]} cannot be read; nothing was deleted.", "Run `safehold repair`, then prune again."
        )
    return [Columns(shard) for shard in repository.index.shards]


def _check_packs(repository: Repository, survey: Survey) -> None:
    """Raise ``DeletionRefused`` if the index knows packs that the listing lacks; one more look, for those just stored."""
    known = {pack for columns in survey.columns for pack in columns.pack_ids()} - condemned.packs(survey.condemned)
    if known - survey.packs.keys():
        survey.packs.update(_list_packs(repository))
    missing = known - survey.packs.keys()
    if missing:
        raise DeletionRefused(
            f"{len(missing)} of {len(known)} packs that the index lists are not in the store's listing, {min(missing).hex()[:8]} "
            "for one; nothing was deleted.",
            "If the store is whole, try again; else run `safehold check`, then `safehold repair`.",
        )


def _check_snapshots(repository: Repository, survey: Survey) -> None:
    """Raise ``DeletionRefused`` if snapshots are missing that nobody removed (restic #4612: a failed listing)."""
    removed = condemned.removed(survey.condemned)
    missing = condemned.trash(survey.condemned).keys() - survey.snapshots - removed
    missing.update(seen.vanished(repository.cache, survey.snapshots, removed))
    if missing:
        raise DeletionRefused(
            f"{len(missing)} snapshots are not in the store's listing though nobody removed them, {min(missing)[:8]} for one; "
            "nothing was deleted.",
            "If the store is whole, try again.  If they are lost for good, prune with --confirm-large.",
        )
    if not survey.snapshots and survey.packs and not removed:
        raise DeletionRefused(
            f"The store lists {len(survey.packs)} packs and not one snapshot; nothing was deleted.",
            "If no backup has ever been finished here, prune with --confirm-large.",
        )
