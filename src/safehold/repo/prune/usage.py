"""How much of each pack is in use."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

import numpy as np

from safehold.repo.prune.columns import Columns, Flags, Numbers
from safehold.repo.prune.model import PackUse
from safehold.repo.seals import Seals
from safehold.repo.shards import Shard


def voucher_of(seals: Seals, shard: Shard) -> bytes:
    """The device whose word a shard's entries rest on; empty for readers and owners, who are all believed alike."""
    proven = seals.is_proven(shard.signer)
    slot = shard.tail.voucher if proven and shard.tail.voucher else shard.signer
    return b"" if seals.is_proven(slot) else slot


def drop_copies(columns: Sequence[Columns], live: Sequence[Flags], last: Collection[bytes], unproven: Iterable[bool]) -> None:
    """Of a chunk that lies in several packs, leave one marked as live.  Packs in ``last`` are not chosen if others can be.

    Only a place that a reader or owner vouches for (shards that are not ``unproven``) displaces others.  Where there are
    only writers' words, all are kept: one of them may be a lie.
    """
    rows = [np.flatnonzero(flags) for flags in live]
    prefixes = np.concatenate([c.prefixes[r] for c, r in zip(columns, rows, strict=True)] or [np.empty(0, np.uint64)])
    twins = _equal_neighbours(prefixes)
    shards = np.concatenate([np.full(len(r), n) for n, r in enumerate(rows)] or [np.empty(0, np.int64)])[twins]
    chosen = np.concatenate(rows or [np.empty(0, np.int64)])[twins]
    if not len(twins):
        return
    keys = _describe(columns, shards, chosen, last, list(unproven))
    keys[:, 0] = prefixes[twins]
    lost = _losers(keys)
    for number, flags in enumerate(live):
        flags[chosen[lost & (shards == number)]] = False


def keep_segments(columns: Sequence[Columns], live: Sequence[Flags], kept: Collection[bytes]) -> None:
    """Mark everything in some segments as live: what a living share opens is neither dropped nor sealed anew."""
    for part, flags in zip(columns, live, strict=True) if kept else ():
        wanted = np.array([row.tobytes() in kept for row in part.segments["id"]], np.bool_)
        if wanted.any():
            flags |= wanted[part.places[:, 0]]


def _equal_neighbours(prefixes: np.ndarray[tuple[int], np.dtype[np.uint64]]) -> Numbers:
    """Positions of the values that occur more than once."""
    order = np.argsort(prefixes, kind="stable")
    same = prefixes[order][1:] == prefixes[order][:-1]
    twin = np.zeros(len(order), np.bool_)
    twin[1:] |= same
    twin[:-1] |= same
    return order[twin]


def _describe(
    columns: Sequence[Columns], shards: Numbers, rows: Numbers, last: Collection[bytes], unproven: list[bool]
) -> np.ndarray[tuple[int, int], np.dtype[np.uint64]]:
    """(k, 6): prefix (left open), both halves of the rest, whether unproven, whether in ``last``, pack number."""
    numbers: dict[bytes, int] = {}
    keys = np.zeros((len(rows), 6), np.uint64)
    for shard, part in enumerate(columns):
        here = shards == shard
        ids = part.pack_ids()
        pack = part.row_packs[rows[here]]
        keys[here, 1:3] = part.rests[rows[here]]
        keys[here, 3] = unproven[shard]
        keys[here, 4] = np.array([pack_id in last for pack_id in ids], np.uint64)[pack]
        keys[here, 5] = np.array([numbers.setdefault(pack_id, len(numbers)) for pack_id in ids], np.uint64)[pack]
    return keys


def _losers(keys: np.ndarray[tuple[int, int], np.dtype[np.uint64]]) -> Flags:
    """Which rows give way: those of a chunk whose best place is proven and in another pack."""
    order = np.lexsort(keys.T[::-1])
    ordered = keys[order]
    begins = np.ones(len(order), np.bool_)
    begins[1:] = (ordered[1:, :3] != ordered[:-1, :3]).any(axis=1)
    best = ordered[np.flatnonzero(begins)][np.cumsum(begins) - 1]
    lost = np.zeros(len(order), np.bool_)
    lost[order] = (best[:, 3] == 0) & (best[:, 5] != ordered[:, 5])
    return lost


def measure(seals: Seals, columns: Sequence[Columns], live: Sequence[Flags]) -> dict[bytes, PackUse]:
    """Every indexed pack.  One that several shards list counts as the fullest of them says."""
    found: dict[bytes, PackUse] = {}
    for part, flags in zip(columns, live, strict=True):
        voucher = voucher_of(seals, part.shard)
        for use in _measure_shard(part, flags, voucher):
            other = found.get(use.id)
            if other is None or (not use.voucher, use.used) > (not other.voucher, other.used):
                live_somewhere = use.live or (other is not None and other.live)
                found[use.id] = PackUse(use.id, use.size, use.kind, use.used, use.unused, live_somewhere, use.voucher)
            elif use.live and not other.live:
                found[use.id] = PackUse(other.id, other.size, other.kind, other.used, other.unused, True, other.voucher)
    return found


def _measure_shard(part: Columns, flags: Flags, voucher: bytes) -> list[PackUse]:
    segments, lengths = part.places[:, 0], part.places[:, 2].astype(np.float64)
    count = len(part.segments)
    raw = np.bincount(segments, lengths, count)
    raw_live = np.bincount(segments[flags], lengths[flags], count)
    stored = part.segments["length"].astype(np.float64)
    used = stored * raw_live / np.maximum(raw, 1)
    packs = part.segments["pack"]
    size = len(part.packs)
    pack_used = np.bincount(packs, used, size)
    pack_unused = np.bincount(packs, stored - used, size)
    pack_live = np.bincount(part.row_packs[flags], minlength=size) > 0
    rows = zip(part.shard.packs(), pack_used, pack_unused, pack_live, strict=True)
    return [PackUse(id, size, kind, int(u), int(d), bool(alive), voucher) for (id, size, kind), u, d, alive in rows]


def live_names(columns: Sequence[Columns], live: Sequence[Flags], wanted: Collection[bytes]) -> dict[bytes, set[bytes]]:
    """For each of some packs, the ids of its chunks that are in use."""
    names: dict[bytes, set[bytes]] = {pack: set() for pack in wanted}
    for part, flags in zip(columns, live, strict=True):
        ids = part.pack_ids()
        picked = np.array([pack in names for pack in ids], np.bool_)
        if picked.any():
            rows = np.flatnonzero(flags & picked[part.row_packs])
            for pack, name in zip(part.row_packs[rows].tolist(), part.names(rows), strict=True):
                names[ids[pack]].add(name)
    return names
