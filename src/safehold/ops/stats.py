"""How much is stored, and how much it would be without deduplication and compression.

Cheap: snapshots carry the totals of their trees, the index knows the length of every chunk, and one listing of the store
gives the rest.  No tree is read.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from safehold.repo.repository import Repository
from safehold.repo.seals import KIND_NAMES
from safehold.repo.shards import PLACE, Shard
from safehold.repo.snapshots import Stored


class Objects(msgspec.Struct, frozen=True):
    """Objects of one kind in the store."""

    objects: int
    bytes: int


class Stats(msgspec.Struct, frozen=True, kw_only=True):
    """All sizes in bytes."""

    snapshots: int
    files: int
    """Of all snapshots together, each counted with all its files."""
    logical: int
    """What all snapshots would take as plain copies."""
    unique: int
    """What is left of it after deduplication, with trees, before compression."""
    chunks: int
    stored: int
    """What the store holds, all in all."""
    objects: dict[str, Objects]
    """By kind: ``packs (data)``, ``packs (tree)``, ``index``, ``snapshots`` ..."""

    @property
    def deduplication(self) -> float:
        """How many times smaller deduplication makes it; 1.0 where there is nothing."""
        return self.logical / self.unique if self.unique else 1.0

    @property
    def compression(self) -> float:
        """How many times smaller compression makes it; 1.0 where there is nothing."""
        packs = sum(kind.bytes for name, kind in self.objects.items() if name.startswith("packs"))
        return self.unique / packs if packs else 1.0


def stats(repository: Repository, snapshots: Sequence[Stored]) -> Stats:
    """The sizes of a repository with these snapshots.  Raises ``StoreError``, ``DamageError``."""
    shards = repository.index.shards
    objects = _objects(repository)
    return Stats(
        snapshots=len(snapshots),
        files=sum(stored.snapshot.totals.files for stored in snapshots),
        logical=sum(stored.snapshot.totals.bytes for stored in snapshots),
        unique=sum(map(_raw_bytes, shards)),
        chunks=sum(shard.chunks for shard in shards),
        stored=sum(kind.bytes for kind in objects.values()),
        objects=objects,
    )


def _raw_bytes(shard: Shard) -> int:
    """The lengths of all chunks of a shard: the last four bytes of each place."""
    import numpy

    places = numpy.frombuffer(shard.places, dtype="<u4").reshape(-1, PLACE.size // 4)
    return int(places[:, -1].sum(dtype="u8"))


def _objects(repository: Repository) -> dict[str, Objects]:
    kinds = {pack.hex(): KIND_NAMES.get(kind, "other") for pack, (_, kind) in repository.index.packs().items()}
    found: dict[str, list[int]] = {}
    for info in repository.store.list(""):
        top, _, rest = info.key.partition("/")
        if top == "packs":
            top = f"packs ({kinds.get(rest.rpartition('/')[2], 'not indexed')})"
        found.setdefault(top, []).append(info.size)
    return {kind: Objects(len(sizes), sum(sizes)) for kind, sizes in sorted(found.items())}
