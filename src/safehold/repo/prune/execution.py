"""Carrying out a prune.  The order of its steps, and what a crash after each leaves, is told in ``docs/prune.md``."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import msgspec

from safehold.core.errors import DeletionRefused
from safehold.core.events import Progress
from safehold.repo import condemned, index, seen, snapshots
from safehold.repo.condemned import Condemned
from safehold.repo.packs import key_of
from safehold.repo.prune import compaction, planning, usage
from safehold.repo.prune.barrier import Barrier, raise_barrier
from safehold.repo.prune.model import PackUse, PrunePlan, PruneResult
from safehold.repo.prune.planning import Analysis
from safehold.repo.prune.repacking import Moved, Repacker
from safehold.repo.repository import Repository
from safehold.repo.sessions import Session
from safehold.repo.shares import records as shares

STRIDE = 100
"""Deletions between two looks whether this session is still taken for alive."""


def execute(repository: Repository, plan: PrunePlan) -> PruneResult:
    """Condemn what ``plan`` says, and delete what is settled.  Owner only.

    What is deleted is decided again after the barrier: packs that a snapshot has come to need meanwhile are rescued.
    Raises like ``planning.plan``, and ``SessionExpired`` when another prune took this one for dead.
    """
    repository.require_owner("prune")
    if not repository.store.capabilities.can_delete:
        raise DeletionRefused(f"The store {repository.store.location} does not delete anything.", "Prune where it does.")
    with repository.session("prune") as session:
        barrier = raise_barrier(repository, session, plan)
        if not all(other.overlaps for other in barrier.others):
            return _with_waiting(PruneResult(), plan, barrier)
        return _Prune(repository, session, plan, barrier).run()


def _with_waiting(done: PruneResult, plan: PrunePlan, barrier: Barrier) -> PruneResult:
    """The result, with what is left for later."""
    names = [f"{other.mark.operation} on {other.mark.host}" if other.mark else "unknown" for other in barrier.others]
    freed = {pack.id: pack.unused if pack.live else pack.size for pack in plan.going}
    return msgspec.structs.replace(done, waiting=sum(freed.get(pack, 0) for pack in barrier.waiting), sessions=names)


class _Prune:
    """One run, after the barrier."""

    def __init__(self, repository: Repository, session: Session, plan: PrunePlan, barrier: Barrier) -> None:
        self._repository = repository
        self._session = session
        self._plan = plan
        self._barrier = barrier

    def run(self) -> PruneResult:
        if not self._barrier.settled and not self._plan.shards:
            self._tidy([])
            return _with_waiting(PruneResult(), self._plan, self._barrier)
        repository, barrier = self._repository, self._barrier
        due = planning.due_snapshots(repository, self._plan.options, repository.condemned())
        analysis = planning.analyse(repository, self._plan.options, barrier.snapshots & due)
        going = sorted(barrier.snapshots & due & analysis.survey.snapshots)
        moved, sparse = self._repack(analysis)
        emptied = [pack for pack in analysis.delete + analysis.unindexed if pack.id in barrier.packs]
        gone = emptied + sparse
        records = self._remove_snapshots(going)
        self._replace_index(analysis, gone, moved)
        self._delete((key_of(pack.id) for pack in gone), "packs")
        self._tidy(records)
        seen.remember(repository.cache, (), going)
        done = PruneResult(
            snapshots=going,
            deleted=len(emptied),
            repacked=len(sparse),
            rescued=len((barrier.packs & analysis.survey.packs.keys()) - {pack.id for pack in gone}),
            freed=sum(pack.size for pack in gone) - sum(each.record.size for each in moved),
        )
        return _with_waiting(done, self._plan, barrier)

    def _repack(self, analysis: Analysis) -> tuple[list[Moved], list[PackUse]]:
        """New packs, and the old ones that they replace.  Raises ``DamageError``; nothing has been deleted then."""
        wanted = [pack for pack in analysis.repack if pack.id in self._barrier.packs]
        if not wanted:
            return [], []
        live = usage.live_names(analysis.survey.columns, analysis.live, {pack.id for pack in wanted})
        repacker = Repacker(self._repository, analysis.survey.shared)
        try:
            for pack in self._counted(wanted):
                repacker.move(pack, live.pop(pack.id))
            return repacker.finish(), wanted
        except BaseException:
            repacker.abort()
            raise

    def _counted(self, packs: list[PackUse]) -> Iterable[PackUse]:
        total = sum(pack.used for pack in packs)
        done = 0
        for pack in packs:
            self._repository.report(Progress(phase="repack", bytes=done, total_bytes=total))
            yield pack
            done += pack.used

    def _remove_snapshots(self, going: Collection[str]) -> list[str]:
        """Record first that they are removed, then remove them; the keys of older records, if a new one covers them."""
        repository = self._repository
        records = [item for item in repository.condemned() if item.condemned.removed]
        names = condemned.removed(records)
        new = not names.issuperset(going) or len(records) > 1
        if new:
            record = Condemned(time_ns=repository.clock.now_ns(), removed=sorted(names.union(going)))
            condemned.write(repository.seals, repository.store, record)
        self._delete((snapshots.PREFIX + name for name in going), "snapshots")
        return [item.key for item in records] if new else []

    def _replace_index(self, analysis: Analysis, gone: list[PackUse], moved: list[Moved]) -> None:
        repository, found = self._repository, analysis.survey
        packs = {pack.id for pack in gone}
        old = planning.affected(repository.seals, found.columns, packs)
        if old or moved:
            compaction.replace(repository, old, found.superseded, packs, moved)
        replaced = [*found.superseded, *(part.shard.name for part in old)]
        self._delete((index.PREFIX + name for name in replaced), "index")
        if replaced:
            repository.index.refresh()

    def _tidy(self, records: list[str]) -> None:
        """Marks of snapshots that are gone, records that a newer one covers, and at last the condemnations carried out."""
        repository = self._repository
        marks = repository.condemned()
        stored = set(snapshots.names(repository.store))
        named = {item.key: item.condemned.trash + item.condemned.distrust for item in marks}
        over = [key for key, names in named.items() if names and stored.isdisjoint(names)]
        acts = {item.key for item in marks}
        orphans = [item.key for item in marks if item.condemned.act and item.condemned.act not in acts]
        self._delete([*over, *records, *orphans, *self._barrier.keys], "condemned")
        self._delete(self._ended_shares(), "shares")

    def _ended_shares(self) -> list[str]:
        """What is stored of shares that are over, and of earlier states of living ones."""
        repository = self._repository
        known = shares.load_all(repository.seals, repository.store, repository.report)
        return shares.leftovers(repository.store, known, repository.clock.now_ns())

    def _delete(self, keys: Iterable[str], phase: str) -> None:
        for number, key in enumerate(keys):
            if number % STRIDE == 0:
                self._session.require_alive()
                self._repository.report(Progress(phase=phase, files=number))
            self._repository.store.delete(key)
