"""Repair: a plan, then its execution.  It only adds and quarantines; nothing is ever deleted.  ``docs/check.md``.

In this order, so that a crash at any point leaves no less than there was: undamaged segments of damaged packs are copied, still
sealed, into new packs; the index is written anew where it was lost or lists what is lost; snapshots that lost something get a
repaired twin; what hurt snapshots prove is declared void; and only then are damaged objects moved into quarantine.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

import msgspec

from safehold.core.errors import ObjectExists, ObjectMissing
from safehold.core.events import Warn
from safehold.repo import check, condemned, config, packs, segments, snapshots, twins
from safehold.repo.checking.findings import Findings
from safehold.repo.checking.inspection import Inspection
from safehold.repo.checking.segments import Claim
from safehold.repo.checking.walk import TreeWalk
from safehold.repo.packs import TARGET, PackBuilder, PackRecord
from safehold.repo.redraft import ShardDraft
from safehold.repo.repository import Repository
from safehold.repo.segments import SealedSegment
from safehold.repo.shards import Shard

_OWN_OBJECT = frozenset({"key-damaged", "session-damaged", "condemnation-damaged", "index-damaged", "snapshot-damaged"})
"""Findings whose object is itself what is damaged, and is of use to nobody."""


class Salvage(msgspec.Struct, frozen=True):
    """A damaged pack, and what can be taken out of it."""

    pack: bytes
    size: int
    kept: list[Claim]
    lost: int
    """Segments."""


class RepairPlan(msgspec.Struct, frozen=True):
    """What a repair is going to do."""

    inspection: Inspection
    walk: TreeWalk | None
    """What the trees will be like once the index is whole again."""
    report: check.Report
    salvage: list[Salvage]
    index: list[Salvage]
    """Undamaged packs whose listing is missing or wrong; ``kept`` is what they hold."""
    replace: list[str]
    """Index shards that list what is lost, or what is salvaged."""
    twins: list[str]
    """Snapshots that lose something and get a repaired twin."""
    hurt: list[str]
    """All snapshots that lose something."""
    gone: list[str]
    """Snapshots that the store has lost, or that are damaged themselves."""
    quarantine: list[str]
    """Objects to be moved away, by key."""
    configs: list[str]
    """Copies of the config that are written again from the other one, by key."""

    @property
    def empty(self) -> bool:
        """There is nothing to do."""
        return not (self.salvage or self.index or self.replace or self.twins or self.gone or self.quarantine or self.configs)


class RepairResult(msgspec.Struct, frozen=True):
    """What a repair did."""

    new_packs: int
    new_shards: int
    twins: list[str]
    """Ids of the repaired snapshots."""
    quarantined: list[str]


def plan(repository: Repository, options: check.CheckOptions | None = None) -> RepairPlan:
    """Check, and decide what to do.  Reads every byte unless ``options`` say otherwise.  Raises ``NotPermitted``."""
    repository.require_owner("repair a repository")
    options = options or check.CheckOptions(read_data=100)
    inspection = check.inspect(repository, options)
    return _Planner(inspection).plan()


class _Planner:
    def __init__(self, inspection: Inspection) -> None:
        self._inspection = inspection
        self._catalog = inspection.catalog
        findings = inspection.findings
        self._blamed = [pack for pack in sorted(inspection.stored) if findings.is_blamed(packs.key_of(pack))]

    def plan(self) -> RepairPlan:
        inspection, findings = self._inspection, self._inspection.findings
        self._read(self._blamed + inspection.unindexed)
        replace = self._shards_to_replace()
        for shard in inspection.catalog.shards:
            if shard.name in replace and not shard.trusted:
                # What the owner is about to vouch for was only a writer's word so far.
                self._read([pack for pack, _, _ in shard.packs()])
        salvage = [self._salvage(pack) for pack in self._damaged()]
        index = [self._own_listing(pack) for pack in self._mislisted()]
        walk = self._walk_again([*salvage, *index])
        hurt = list(dict.fromkeys(name for name, _, _ in check.lost_paths(inspection.snapshots, walk)))
        quarantine = [f.key for f in findings.all if f.code in _OWN_OBJECT]
        quarantine += [f"index/{name}" for name in replace] + [packs.key_of(each.pack) for each in salvage]
        configs = [f.key for f in findings.all if f.code == "config-damaged"]
        stored = inspection.repository.store
        quarantine += [key for key in configs if config.is_stored(stored, key)]
        gone = [f.key.removeprefix(snapshots.PREFIX) for f in findings.all if f.code in ("rolled-back", "snapshot-damaged")]
        return RepairPlan(
            inspection,
            walk,
            check.report(inspection),
            salvage,
            index,
            replace,
            self._need_twins(hurt),
            hurt,
            gone,
            quarantine,
            configs,
        )

    def _read(self, pack_ids: list[bytes]) -> None:
        inspection = self._inspection
        inspection.verify([p for p in dict.fromkeys(pack_ids) if p in inspection.stored and p not in inspection.verdicts])

    def _walk_again(self, found: list[Salvage]) -> TreeWalk | None:
        """The trees once more, if packs that no index lists turn out to hold what seemed lost."""
        inspection = self._inspection
        draft = ShardDraft()
        for each in found:
            if each.kept and (inspection.verdicts[each.pack].intact or inspection.is_unindexed(each.pack)):
                draft.add(each.pack, each.size, each.kept[0].kind, each.kept)
        if not draft.packs:
            return inspection.walk
        shard = Shard("draft", draft.encode(), trusted=True)
        repository = inspection.repository
        with repository.index.supposing(shard):
            walk = TreeWalk(repository.reader, self._catalog.extended(shard), Findings(0), digests=inspection.digests)
            for stored in inspection.snapshots:
                walk.examine(stored.snapshot.tree)
        return walk

    def _damaged(self) -> list[bytes]:
        verdicts = self._inspection.verdicts
        return [pack for pack, verdict in sorted(verdicts.items()) if verdict.problems and not verdict.intact]

    def _mislisted(self) -> list[bytes]:
        """Packs that are as they were stored, and that the index does not list, or lists wrongly."""
        inspection = self._inspection
        wrong = [p for p, v in inspection.verdicts.items() if v.intact and (v.problems or p in inspection.unindexed)]
        doomed = condemned.packs(inspection.condemned)
        return sorted(set(wrong) - doomed)

    def _shards_to_replace(self) -> list[str]:
        inspection = self._inspection
        bad = set(inspection.missing) | {p for p, v in inspection.verdicts.items() if v.problems or v.bad_rows}
        names = set(self._catalog.implausible)
        names.update(shard.name for shard in self._catalog.shards if any(pack in bad for pack, _, _ in shard.packs()))
        return sorted(names)

    def _salvage(self, pack: bytes) -> Salvage:
        inspection = self._inspection
        claims = inspection.claims(pack) or inspection.own_claims(pack)
        verdict = inspection.verdicts[pack]
        kept = [claim for claim in claims if claim.number not in verdict.bad and claim.table() is not None]
        kept = [claim for claim in kept if not any(row in verdict.bad_rows for _, _, _, row in claim.chunks)]
        return Salvage(pack, inspection.stored[pack], kept, len(claims) - len(kept))

    def _own_listing(self, pack: bytes) -> Salvage:
        inspection = self._inspection
        claims = inspection.own_claims(pack)
        verdict = inspection.verifier.verify(pack, inspection.stored[pack], claims)
        kept = [] if verdict.bad_rows else [claim for claim in claims if claim.number not in verdict.bad]
        return Salvage(pack, inspection.stored[pack], kept, len(claims) - len(kept))

    def _need_twins(self, hurt: list[str]) -> list[str]:
        """Hurt snapshots without a twin that is whole; a twin that is hurt again gets one of its own."""
        hurt_ids = set(hurt)
        have = {s.snapshot.original for s in self._inspection.snapshots if s.snapshot.lost and s.id not in hurt_ids}
        return [name for name in hurt if name not in have]


def execute(repository: Repository, plan: RepairPlan) -> RepairResult:
    """Carry out a plan.  May be interrupted and planned anew at any point.  Raises ``NotPermitted`` and store errors."""
    repository.require_owner("repair a repository")
    with repository.session("repair") as session:
        records = list(_salvaged(repository, plan))
        shards = _index(repository, plan, records)
        session.require_alive()
        made = twins.make(repository, session, plan.inspection.snapshots, plan.walk, plan.twins)
        _declare(repository, plan)
        moved = list(_quarantine(repository, plan))
        _write_configs(repository, plan)
        repository.index.refresh()
    return RepairResult(len(records), shards, made, moved)


def _declare(repository: Repository, plan: RepairPlan) -> None:
    """Tell every machine what is hurt, and what is gone: apart, since a prune gathers the records of what is gone."""
    now_ns = repository.clock.now_ns()
    if plan.hurt:
        condemned.write(repository.seals, repository.store, condemned.Condemned(time_ns=now_ns, distrust=plan.hurt))
    if plan.gone:
        condemned.write(repository.seals, repository.store, condemned.Condemned(time_ns=now_ns, removed=plan.gone))


def _salvaged(repository: Repository, plan: RepairPlan) -> Iterator[PackRecord]:
    """Copy undamaged segments, still sealed, into new packs.

    A pack of all the segments of a damaged one would have its name, and so find it in its place; hence a session of its own.
    """
    seals, builders = repository.seals, dict[int, PackBuilder]()
    mark = seals.new_session().ref
    try:
        for each in plan.salvage:
            for claim in each.kept:
                builder = builders.get(claim.kind)
                if builder is None:
                    builder = builders[claim.kind] = PackBuilder(seals, repository.store.upload(), claim.kind, mark)
                builder.append(_sealed(repository, plan, each.pack, claim))
                if builder.size >= TARGET:
                    yield builders.pop(claim.kind).finish()
        while builders:
            yield builders.popitem()[1].finish()
    except BaseException:
        for builder in builders.values():
            builder.abort()
        raise


def _sealed(repository: Repository, plan: RepairPlan, pack: bytes, claim: Claim) -> SealedSegment:
    """A segment as it was.  Its table is sealed again from the same rows, and so comes out the same, byte for byte."""
    seals = repository.seals
    body = plan.inspection.verifier.body(pack, claim)
    segments.open_body(seals, seals.session_secret(claim.session), claim.kind, claim.id, body)
    table = claim.table() or []
    return SealedSegment(
        claim.id, claim.kind, claim.session, body, segments.seal_table(seals, claim.kind, claim.id, table), table
    )


def _index(repository: Repository, plan: RepairPlan, records: list[PackRecord]) -> int:
    """Write new shards; how many."""
    bodies = list(_listings(plan, records))
    bodies += [_replacement(plan, name) for name in plan.replace]
    for body in bodies:
        repository.index.publish(body)
    repository.index.refresh()
    return len(bodies)


def _listings(plan: RepairPlan, records: list[PackRecord]) -> Iterator[bytes]:
    draft = ShardDraft()
    for pack, size, kind, claims in [*_of_records(records), *_of_packs(plan)]:
        draft.add(pack, size, kind, claims)
        if draft.is_full:
            yield draft.encode()
            draft = ShardDraft()
    if draft.packs:
        yield draft.encode()


def _of_records(records: list[PackRecord]) -> Iterator[tuple[bytes, int, int, list[Claim]]]:
    for record in records:
        claims = []
        for number, (ref, chunks) in enumerate(zip(record.footer.segments, record.chunks, strict=True)):
            session = record.footer.sessions[ref.session]
            claims.append(Claim.placed(number, ref.id, record.kind, ref.offset, ref.length, session, chunks))
        yield record.id, record.size, record.kind, claims


def _of_packs(plan: RepairPlan) -> Iterator[tuple[bytes, int, int, list[Claim]]]:
    for each in plan.index:
        if each.kept:
            yield each.pack, each.size, each.kept[0].kind, each.kept


def _replacement(plan: RepairPlan, name: str) -> bytes:
    """A shard without what is lost, or is listed anew."""
    inspection = plan.inspection
    catalog = inspection.catalog
    anew = {each.pack for each in plan.salvage} | {each.pack for each in plan.index} | inspection.missing
    draft = ShardDraft()
    shard = next(shard for shard in catalog.shards if shard.name == name)
    for pack, size, kind in shard.packs():
        if pack not in anew:
            claims = [c for c in inspection.claims(pack) if catalog.shard_of(c.number) is shard]
            draft.add(pack, size, kind, [_sound(inspection, c) for c in claims if not catalog.bad_segments[c.number]])
    return draft.encode([name])


def _sound(inspection: Inspection, claim: Claim) -> Claim:
    """A segment without the chunks that are not what their name says."""
    bad = inspection.catalog.bad_rows
    return msgspec.structs.replace(claim, chunks=[chunk for chunk in claim.chunks if not bad[chunk[3]]])


def _quarantine(repository: Repository, plan: RepairPlan) -> Iterator[str]:
    if plan.quarantine and not repository.store.capabilities.can_quarantine:
        message = f"The store cannot move objects; {len(plan.quarantine)} damaged ones stay where they are, and are passed over."
        repository.report(Warn(code="no-quarantine", message=message))
        return
    for key in dict.fromkeys(plan.quarantine):
        with suppress(ObjectMissing):
            repository.store.quarantine(key)
            yield key


def _write_configs(repository: Repository, plan: RepairPlan) -> None:
    """Put the good copy of the config where the other one was; one that could not be moved away stays."""
    good = [key for key in config.KEYS if key not in plan.configs]
    for key in plan.configs if good else []:
        with suppress(ObjectExists):
            repository.store.put(key, repository.store.get(good[0]))
