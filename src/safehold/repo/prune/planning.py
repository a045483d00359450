"""Planning a prune: what goes, what is packed again.  Reads only; ``docs/prune.md`` tells why."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

import msgspec

from safehold.core.errors import DamageError, DeletionRefused, ObjectMissing
from safehold.repo import condemned, snapshots
from safehold.repo.packs import TARGET
from safehold.repo.prune import survey, usage
from safehold.repo.prune.columns import Columns, Flags
from safehold.repo.prune.marking import Marks, TreeWalk
from safehold.repo.prune.model import Options, PackUse, PrunePlan
from safehold.repo.prune.survey import Survey
from safehold.repo.repository import Repository
from safehold.repo.seals import Seals
from safehold.repo.shards import MOST_CHUNKS

ALWAYS = 0.5
"""A pack that is unused for more than this part is always packed again."""
SMALL = TARGET // 2
SMALL_PACKS = 16
"""So many packs below ``SMALL`` bytes of one kind are merged, or fewer that fill a pack."""
SMALL_SHARDS = 16
"""More index shards than this below half of the most they may hold are merged."""


class Analysis(msgspec.Struct, frozen=True):
    """Everything that is known of a repository when some snapshots are taken as gone."""

    survey: Survey
    live: list[Flags]
    uses: dict[bytes, PackUse]
    """Every indexed pack."""
    delete: list[PackUse]
    repack: list[PackUse]
    unindexed: list[PackUse]

    def going(self) -> list[PackUse]:
        return [*self.delete, *self.repack, *self.unindexed]


def plan(repository: Repository, options: Options | None = None) -> PrunePlan:
    """What a prune would do now.  Raises ``DeletionRefused`` or ``DamageError`` where nothing can be deleted safely."""
    options = options or Options()
    found = survey.take(repository, options)
    due = due_snapshots(repository, options, found.condemned) & found.snapshots
    marks = Marks(found.columns)
    walk = TreeWalk(repository.reader, marks)
    _mark(repository, walk, found.snapshots - due)
    analysis = _analyse(repository, options, found, [flags.copy() for flags in marks.live])
    if not options.confirm_large:
        _check_budget(repository, options, analysis, lambda: _mark(repository, walk, due), marks)
    going = {pack.id for pack in analysis.going()}
    replaced = affected(repository.seals, found.columns, going)
    return PrunePlan(
        options=options,
        snapshots=sorted(due),
        delete=analysis.delete,
        repack=analysis.repack,
        unindexed=analysis.unindexed,
        shards=sorted(found.superseded | {part.shard.name for part in replaced}),
        packs=len(found.packs),
        bytes_before=sum(found.packs.values()),
        unused=sum(use.unused for use in analysis.uses.values() if use.live),
    )


def analyse(repository: Repository, options: Options, going: Collection[str]) -> Analysis:
    """The repository as it is when the snapshots ``going`` are gone.  Raises like ``plan``."""
    found = survey.take(repository, options)
    marks = Marks(found.columns)
    _mark(repository, TreeWalk(repository.reader, marks), found.snapshots - set(going))
    return _analyse(repository, options, found, marks.live)


def due_snapshots(repository: Repository, options: Options, marks: list[condemned.Stored]) -> set[str]:
    """The snapshots in the trash that are to go: their time is over, or an earlier prune began to remove them."""
    before = repository.clock.now_ns() - options.trash_ns
    begun: dict[str, int] = {}
    for item in marks:
        begun.update({name: max(begun.get(name, 0), condemned.forgotten_ns(item)) for name in item.condemned.snapshots})
    return {
        name
        for name, mark in condemned.trash(marks).items()
        # One that was taken back, and forgotten again after it had been condemned, has its time anew.
        if options.empty_trash or condemned.forgotten_ns(mark) <= max(before, begun.get(name, 0))
    }


def affected(seals: Seals, columns: Iterable[Columns], going: Collection[bytes]) -> list[Columns]:
    """The shards that are replaced: they list a pack that goes, or are of many small ones."""
    gone = frozenset(going)
    chosen: dict[str, Columns] = {}
    small: dict[bytes, list[Columns]] = {}
    for part in columns:
        if not gone.isdisjoint(part.pack_ids()):
            chosen[part.shard.name] = part
        if part.rows < MOST_CHUNKS // 2:
            small.setdefault(usage.voucher_of(seals, part.shard), []).append(part)
    for group in small.values():
        if len(group) > SMALL_SHARDS:
            chosen.update({part.shard.name: part for part in group})
    return list(chosen.values())


def _mark(repository: Repository, walk: TreeWalk, names: Collection[str]) -> None:
    for name in sorted(names):
        try:
            walk.walk(snapshots.load(repository.seals, repository.store, name).snapshot.tree)
        except ObjectMissing as error:
            raise DeletionRefused(
                f"Snapshot {name[:8]} went away while the prune was looking; nothing was deleted.", "Run it again."
            ) from error
        except DamageError as error:
            raise DamageError(
                f"Snapshot {name[:8]} cannot be followed to its end, so nothing was deleted: {error}",
                "Run `safehold check`, then `safehold repair`, then prune again.",
            ) from error


def _analyse(repository: Repository, options: Options, found: Survey, live: list[Flags]) -> Analysis:
    seals = repository.seals
    unproven = [usage.voucher_of(seals, part.shard) != b"" for part in found.columns]
    usage.drop_copies(found.columns, live, condemned.packs(found.condemned), unproven)
    usage.keep_segments(found.columns, live, found.shared)
    uses = usage.measure(seals, found.columns, live)
    unindexed = [PackUse(id, size, 0, 0, size, False) for id, size in sorted(found.packs.items()) if id not in uses]
    delete = [use for use in uses.values() if not use.live]
    return Analysis(found, live, uses, delete, _sparse([use for use in uses.values() if use.live], options), unindexed)


def _sparse(uses: list[PackUse], options: Options) -> list[PackUse]:
    """Packs worth packing again: the emptiest first, until what is left unused is tolerable; then many small ones."""
    emptiest = sorted(uses, key=lambda use: use.unused / max(use.size, 1), reverse=True)
    tolerated = options.max_unused * sum(use.used for use in uses)
    unused = sum(use.unused for use in uses)
    chosen = []
    for use in emptiest:
        if use.unused == 0 or (use.unused <= ALWAYS * use.size and unused <= tolerated):
            break
        chosen.append(use)
        unused -= use.unused
    done = {use.id for use in chosen}
    return chosen + _small([use for use in uses if use.id not in done])


def _small(uses: list[PackUse]) -> list[PackUse]:
    chosen = []
    groups: dict[tuple[int, bytes], list[PackUse]] = {}
    for use in uses:
        if use.size < SMALL:
            groups.setdefault((use.kind, use.voucher), []).append(use)
    for group in groups.values():
        if len(group) >= SMALL_PACKS or (len(group) > 1 and sum(use.size for use in group) >= TARGET):
            chosen += group
    return chosen


def _check_budget(
    repository: Repository, options: Options, analysis: Analysis, mark_due: Callable[[], None], marks: Marks
) -> None:
    """Raise ``DeletionRefused`` if too many packs go that no removed snapshot accounts for.

    Packs that are condemned already have passed this before.
    """
    before = condemned.packs(analysis.survey.condemned)
    total = len(analysis.survey.packs)
    if _unexplained(analysis, before) <= options.budget * total:
        return
    mark_due()
    even_so = _analyse(repository, options, analysis.survey, marks.live)
    count = _unexplained(even_so, before)
    if count > options.budget * total:
        raise DeletionRefused(
            f"{count} of {total} packs would go, and no removed snapshot accounts for them; nothing was deleted.",
            "If that is meant (after interrupted backups, say), prune with --confirm-large.",
        )


def _unexplained(analysis: Analysis, before: Collection[bytes]) -> int:
    return sum(1 for pack in analysis.delete + analysis.unindexed if pack.id not in before)
