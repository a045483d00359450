"""One look at a whole repository: small objects, index, packs, trees.  What ``check`` reports and ``repair`` plans by."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from safehold.core.errors import DamageError
from safehold.core.events import Progress
from safehold.core.pools import Pool
from safehold.repo import condemned, packs, snapshots
from safehold.repo.catalog import Catalog
from safehold.repo.checking import objects
from safehold.repo.checking.findings import NOTE, Findings
from safehold.repo.checking.segments import Claim, Verdict, Verifier, footer_problems, read_tail
from safehold.repo.checking.walk import TreeWalk
from safehold.repo.repository import Repository

_T = TypeVar("_T")

THREADS = 4
"""Requests under way: enough to keep two cores busy and to hide a store's round trips; each holds one pack in memory."""


class Inspection:
    """What is known of a repository after looking at it."""

    def __init__(self, repository: Repository, most_files: int, *, digests: bool = False) -> None:
        """``digests``: as of ``TreeWalk``."""
        self.repository = repository
        self.digests = digests
        self.findings = Findings(most_files)
        self.snapshots: list[snapshots.Stored] = []
        self.condemned: list[condemned.Stored] = []
        self.stored: dict[bytes, int] = {}
        """Packs in the store: id -> size."""
        self.missing: set[bytes] = set()
        """Packs that the index lists and the store has not."""
        self.unindexed: list[bytes] = []
        self.verdicts: dict[bytes, Verdict] = {}
        """Of packs that were read."""
        self.walk: TreeWalk | None = None
        self.verifier = Verifier(repository.seals, repository.store)

    def look(self, choose: Callable[[list[bytes]], Iterable[bytes]]) -> None:
        """Everything; the bytes of those packs are read that ``choose`` takes from all that are stored."""
        repository, findings = self.repository, self.findings
        objects.check_config(repository, findings)
        objects.check_keys(repository, findings)
        objects.check_sessions(repository, findings)
        self.snapshots = objects.check_snapshots(repository, findings)
        self.condemned = objects.check_condemned(repository, findings)
        objects.check_history(repository, self.snapshots, condemned.removed(self.condemned), findings)
        self.load_index()
        self._look_at_packs(choose)
        self._walk_trees()

    def load_index(self) -> None:
        """The catalogue of every shard that is well in the store, whatever the local cache has of others."""
        good = set(objects.check_shards(self.repository, self.findings))
        self.repository.index.refresh()
        self.catalog = Catalog([shard for shard in self.repository.index.shards if shard.name in good])
        for name in sorted(self.catalog.implausible):
            self.findings.add("index-wrong", f"index/{name}", "This index shard points where nothing can be, or is not sorted.")

    def claims(self, pack_id: bytes) -> list[Claim]:
        """What the index lists in a pack."""
        catalog = self.catalog
        return [
            Claim(s.number, s.id, s.kind, s.offset, s.length, s.session, catalog.chunks(s.number))
            for s in catalog.segments(pack_id)
        ]

    def own_claims(self, pack_id: bytes) -> list[Claim]:
        """What a pack says of itself; nothing, if its footer cannot be read."""
        try:
            return self.verifier.claims_of(pack_id, read_tail(self.repository.store, pack_id))
        except DamageError:
            return []

    def verify(self, pack_ids: list[bytes]) -> None:
        """Read these packs to the last byte, several at a time."""
        total = sum(self.stored[pack] for pack in pack_ids)
        done = 0
        for verdict in self._parallel(self._verify, pack_ids):
            self._take(verdict)
            done += verdict.bytes
            self.repository.report(Progress(phase="read-data", bytes=done, total_bytes=total))

    def _take(self, verdict: Verdict) -> None:
        self.verdicts[verdict.pack] = verdict
        if not self.is_unindexed(verdict.pack):
            self.catalog.bad_segments[list(verdict.bad)] = True
            self.catalog.bad_rows[list(verdict.bad_rows)] = True
        key = packs.key_of(verdict.pack)
        if verdict.problems:
            self.findings.add("index-wrong" if verdict.intact else "pack-damaged", key, " ".join(verdict.problems[:4]))
        if verdict.bad_rows:
            message = f"{len(verdict.bad_rows)} chunks are not what their names say: whoever stored them said so wrongly."
            self.findings.add("chunk-forged", key, message)
        if verdict.unopened:
            self.findings.unseen("Segments were held against their digests only: this key does not open them.")

    def is_unindexed(self, pack_id: bytes) -> bool:
        """Whether no index lists a pack."""
        return not self.catalog.numbers(pack_id)

    def _verify(self, pack_id: bytes) -> Verdict:
        claims = self.claims(pack_id) or self.own_claims(pack_id)
        return self.verifier.verify(pack_id, self.stored[pack_id], claims)

    def _look_at_packs(self, choose: Callable[[list[bytes]], Iterable[bytes]]) -> None:
        self.stored = objects.list_packs(self.repository, self.findings)
        doomed = condemned.packs(self.condemned)
        indexed: dict[bytes, int] = {}
        for pack_id, size, _ in self.catalog.packs:
            indexed[pack_id] = size
        for pack_id, size in indexed.items():
            self._look_at_size(pack_id, size, doomed)
        self.unindexed = sorted(self.stored.keys() - indexed.keys())
        for pack_id in self.unindexed:
            message = "No index lists this pack: an interrupted backup left it, or an index shard is lost."
            self.findings.add("pack-unindexed", packs.key_of(pack_id), message, NOTE)
        suspects = {pack for pack in self.stored if self.findings.is_blamed(packs.key_of(pack))}
        chosen = set(choose(sorted(self.stored)))
        suspects.update(self._footers(sorted(indexed.keys() & self.stored.keys() - chosen - suspects)))
        self.verify(sorted(suspects | chosen))

    def _look_at_size(self, pack_id: bytes, size: int, doomed: frozenset[bytes]) -> None:
        key = packs.key_of(pack_id)
        if pack_id not in self.stored:
            self.missing.add(pack_id)
            self.catalog.bad_segments[self.catalog.numbers(pack_id)] = True
            if pack_id not in doomed:
                self.findings.add("pack-missing", key, "This pack is in the index and not in the store.")
        elif self.stored[pack_id] != size:
            self.findings.add("pack-damaged", key, f"This pack has {self.stored[pack_id]} bytes, and the index says {size}.")

    def _footers(self, pack_ids: list[bytes]) -> Iterator[bytes]:
        """Read footers and hold them against the index; the packs whose footer is not right."""
        for pack_id, problems in self._parallel(self._footer, pack_ids):
            if problems:
                self.findings.add("pack-damaged", packs.key_of(pack_id), " ".join(problems))
                yield pack_id

    def _footer(self, pack_id: bytes) -> tuple[bytes, list[str]]:
        try:
            tail = read_tail(self.repository.store, pack_id)
        except DamageError as error:
            return pack_id, [str(error)]
        claims = [Claim(s.number, s.id, s.kind, s.offset, s.length, s.session, []) for s in self.catalog.segments(pack_id)]
        return pack_id, footer_problems(self.repository.seals, pack_id, tail, claims)

    def _walk_trees(self) -> None:
        if not self.repository.seals.can_read:
            self.findings.unseen("Trees, and whether all they refer to is stored, were not checked: this key does not open them.")
            return
        self.walk = TreeWalk(self.repository.reader, self.catalog, self.findings, digests=self.digests)
        for number, each in enumerate(self.snapshots, 1):
            self.repository.report(Progress(phase="trees", files=number, total_files=len(self.snapshots)))
            self.walk.examine(each.snapshot.tree)

    def _parallel(self, work: Callable[[bytes], _T], items: list[bytes]) -> Iterator[_T]:
        """Results in order; no more than a few are under way or waiting."""
        with Pool(THREADS, "check") as pool:
            for start in range(0, len(items), 2 * THREADS):
                yield from pool.map(work, items[start : start + 2 * THREADS])
