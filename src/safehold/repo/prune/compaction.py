"""New index shards in the place of old ones.

Entries keep the word they rest on: what only a writer vouches for stays apart, and is trusted no more than before.  Only the
last new shard says that the old ones are replaced, so they count until all the new ones are stored; and before it is stored,
the new ones are read back and must hold, pack by pack, as many entries as the old ones did (Kopia #5371).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from safehold.core.errors import DamageError
from safehold.repo import envelopes, shards
from safehold.repo.index import PREFIX
from safehold.repo.packs import PackRecord
from safehold.repo.prune.columns import SEGMENT, Columns, Numbers
from safehold.repo.prune.repacking import Moved
from safehold.repo.prune.usage import voucher_of
from safehold.repo.repository import Repository
from safehold.repo.seals import SessionRef
from safehold.repo.shards import MOST_CHUNKS, Shard, Tail

Part = tuple[Columns, list[int]]
"""Some packs of a shard, by their numbers there."""


class _Bin(msgspec.Struct, frozen=True):
    """What becomes one new shard."""

    voucher: bytes
    parts: list[Part]


def replace(
    repository: Repository, old: Sequence[Columns], superseded: Collection[str], gone: Collection[bytes], moved: list[Moved]
) -> None:
    """Store shards of everything in ``old`` but the packs ``gone``, and of what was ``moved``.  Raises ``DamageError``.

    The old ones stay stored; ``superseded`` ones, which others replace already, stay replaced.
    """
    bins = list(_bins(repository, old, frozenset(gone), moved))
    if not bins and old:
        bins = [_Bin(b"", [])]  # nothing is left; somebody must say so
    replaced = sorted({part.shard.name for part in old} | set(superseded))
    written: list[Columns] = []
    for number, each in enumerate(bins):
        last = number == len(bins) - 1
        body = _encode(each, replaced if last else [])
        if last:
            _check_cover(old, gone, moved, [*written, Columns(Shard("new", body, trusted=True))])
        written.append(_store(repository, body))


def _store(repository: Repository, body: bytes) -> Columns:
    """Store a shard, and read it back."""
    data = envelopes.wrap(repository.seals, "index", body)
    name = envelopes.name_of(data)
    repository.store.put(PREFIX + name, data)
    back = envelopes.unwrap(repository.seals, "index", name, repository.store.get(PREFIX + name))
    return Columns(Shard(name, back.body, trusted=True))


def _bins(repository: Repository, old: Sequence[Columns], gone: frozenset[bytes], moved: list[Moved]) -> Iterator[_Bin]:
    groups: dict[bytes, list[Columns]] = {}
    for part in old:
        groups.setdefault(voucher_of(repository.seals, part.shard), []).append(part)
    for voucher, records in _records(moved).items():
        groups.setdefault(voucher, []).append(Columns(Shard("moved", shards.encode(records), trusted=True)))
    for voucher, members in sorted(groups.items()):
        for parts in _fill(_wanted(members, gone)):
            yield _Bin(voucher, parts)


def _records(moved: list[Moved]) -> dict[bytes, list[PackRecord]]:
    records: dict[bytes, list[PackRecord]] = {}
    for each in moved:
        records.setdefault(each.voucher, []).append(each.record)
    return records


def _wanted(members: Sequence[Columns], gone: frozenset[bytes]) -> Iterator[tuple[Columns, int, int]]:
    """Shard, number and rows of each pack that stays; of one that is listed twice, the fuller list."""
    best: dict[bytes, tuple[Columns, int, int]] = {}
    for part in members:
        counts = np.bincount(part.row_packs, minlength=len(part.packs)).tolist()
        for number, (pack, count) in enumerate(zip(part.pack_ids(), counts, strict=True)):
            if pack not in gone and (pack not in best or best[pack][2] < count):
                best[pack] = (part, number, count)
    return iter(best.values())


def _fill(packs: Iterable[tuple[Columns, int, int]]) -> Iterator[list[Part]]:
    """Distribute packs to shards of at most ``MOST_CHUNKS`` rows."""
    parts: dict[int, Part] = {}
    rows = 0
    for part, number, count in packs:
        if parts and rows + count > MOST_CHUNKS:
            yield list(parts.values())
            parts, rows = {}, 0
        parts.setdefault(id(part), (part, []))[1].append(number)
        rows += count
    if parts:
        yield list(parts.values())


class _Tables(msgspec.Struct):
    """What a new shard is put together from."""

    sessions: dict[SessionRef, int]
    packs: list[NDArray[Any]]
    segments: list[NDArray[Any]]
    keys: list[NDArray[np.uint64]]
    places: list[NDArray[np.uint32]]
    pack_count: int = 0
    segment_count: int = 0


def _encode(wanted: _Bin, replaces: list[str]) -> bytes:
    tables = _Tables({}, [], [], [], [])
    for part, numbers in wanted.parts:
        _take(tables, part, np.array(sorted(numbers)))
    tail = msgspec.msgpack.encode(Tail(list(tables.sessions), replaces, voucher=wanted.voucher))
    keys = np.concatenate(tables.keys or [np.empty((0, 3), np.uint64)])
    order = np.lexsort(keys.T[::-1])
    keys = keys[order]
    places = np.concatenate(tables.places or [np.empty((0, 3), np.uint32)])[order]
    return b"".join(
        [
            shards.HEADER.pack(shards.MAGIC, len(keys), tables.segment_count, tables.pack_count, len(tail)),
            keys[:, 0].astype("<u8").tobytes(),
            keys[:, 1:].astype(">u8").tobytes(),
            places.astype("<u4").tobytes(),
            *(segments.tobytes() for segments in tables.segments),
            *(packs.tobytes() for packs in tables.packs),
            tail,
        ]
    )


def _take(tables: _Tables, part: Columns, numbers: Numbers) -> None:
    """Add some packs of a shard, with everything renumbered."""
    packs = np.zeros(len(part.packs), np.int64) - 1
    packs[numbers] = np.arange(len(numbers)) + tables.pack_count
    kept = packs[part.segments["pack"]] >= 0
    new_segments = np.cumsum(kept) - 1 + tables.segment_count
    segments = part.segments[kept].copy()
    sessions = [tables.sessions.setdefault(session, len(tables.sessions)) for session in part.shard.tail.sessions]
    segments["pack"] = packs[segments["pack"]]
    segments["session"] = np.array(sessions, np.uint32)[segments["session"]] if sessions else 0
    rows = np.flatnonzero(kept[part.places[:, 0]])
    places = part.places[rows].copy()
    places[:, 0] = new_segments[places[:, 0]]
    keys = np.empty((len(rows), 3), np.uint64)
    keys[:, 0] = part.prefixes[rows]
    keys[:, 1:] = part.rests[rows]
    tables.packs.append(part.packs[numbers])
    tables.segments.append(segments.astype(SEGMENT))
    tables.keys.append(keys)
    tables.places.append(places)
    tables.pack_count += len(numbers)
    tables.segment_count += len(segments)


def _check_cover(old: Sequence[Columns], gone: Collection[bytes], moved: list[Moved], new: Sequence[Columns]) -> None:
    """Raise ``DamageError`` unless each living pack has as many entries as before, and each new pack all of its own."""
    expected: dict[bytes, int] = {each.record.id: sum(map(len, each.record.chunks)) for each in moved}
    for part in old:
        for pack, count in _entries(part).items():
            if pack not in gone:
                expected[pack] = max(expected.get(pack, 0), count)
    found: Counter[bytes] = Counter()
    for part in new:
        found.update(_entries(part))
    short = [pack for pack, count in expected.items() if found[pack] < count]
    if short:
        raise DamageError(
            f"The new index would lack entries of pack {min(short).hex()[:8]}; the old one stays.", "Run `safehold check`."
        )


def _entries(part: Columns) -> dict[bytes, int]:
    counts = np.bincount(part.row_packs, minlength=len(part.packs)).tolist()
    return dict(zip(part.pack_ids(), counts, strict=True))
