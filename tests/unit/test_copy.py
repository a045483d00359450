"""Copies of snapshots in another repository."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from prune_fixtures import EVERYTHING, Farm, content_of

from safehold.core.errors import DamageError, NotPermitted, SnapshotMissing, UsageError
from safehold.ops import ahead, copy, forget
from safehold.ops.copy import copy_snapshots
from safehold.repo import check, prune, snapshots, trees
from safehold.repo.paged import PageMap
from safehold.repo.repository import Repository
from safehold.repo.seals import DATA
from safehold.testing.builders import Household
from safehold.testing.stores import FaultyStore, MemoryStore


class Pair:
    def __init__(self, base: Path) -> None:
        self.farm = Farm(base / "a")
        self.store = MemoryStore(self.farm.clock)
        self.house = Household(self.store, base / "b", clock=self.farm.clock)

    def copy(self, *ids: str) -> copy.CopyResult:
        return copy_snapshots(self.farm.open(), self.house.open(), ids)

    def check(self, old: str, new: str) -> None:
        target = self.house.open()
        assert content_of(target, new, self.farm.source) == self.farm.expected[old]


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return Pair(tmp_path)


def packed(store: MemoryStore) -> int:
    return sum(len(data) for key, data in store.objects.items() if key.startswith("packs/"))


def metadata(repository: Repository, name: str) -> snapshots.Snapshot:
    return snapshots.load(repository.seals, repository.store, name).snapshot


def test_a_copy_is_equal(pair: Pair) -> None:
    pair.farm.write("small", 10)
    pair.farm.write("d/large", 3_000_000)
    (pair.farm.source / "empty").mkdir()
    (pair.farm.source / "link").symlink_to("small")
    first = pair.farm.back_up()
    result = pair.copy(first)
    new = result.copied[first]
    pair.check(first, new)
    old, made = metadata(pair.farm.open(), first), metadata(pair.house.open(), new)
    assert made.original == f"{pair.farm.open().id.hex()}/{first}"
    assert (made.time_ns, made.host, made.totals, made.source, made.tags) == (
        old.time_ns,
        old.host,
        old.totals,
        old.source,
        old.tags,
    )
    assert made.tree != old.tree
    assert not set(pair.farm.open().index.packs()) & set(pair.house.open().index.packs())


def test_a_second_copy_is_nothing(pair: Pair) -> None:
    pair.farm.write("x", 50_000)
    first = pair.farm.back_up()
    pair.copy(first)
    before = dict(pair.store.objects)
    result = pair.copy(first)
    assert result.copied == {}
    assert result.skipped == [first]
    assert pair.store.objects == before


def test_only_what_is_new_is_read_and_stored(pair: Pair) -> None:
    pair.farm.write("d/big", 2_000_000)
    first = pair.farm.back_up()
    pair.copy(first)
    before = packed(pair.store)
    pair.farm.write("e/more", 30_000)
    second = pair.farm.back_up()
    result = pair.copy(first, second)
    assert result.read == 30_000
    assert packed(pair.store) - before < 40_000
    pair.check(second, result.copied[second])


def test_without_its_memory_nothing_is_stored_twice(pair: Pair, tmp_path: Path) -> None:
    pair.farm.write("d/big", 2_000_000)
    first = pair.farm.back_up()
    pair.copy(first)
    for path in (tmp_path / "b").rglob("copy-*.db"):
        path.write_bytes(b"not a database, but something else of some length" * 100)
    before = packed(pair.store)
    second = pair.farm.back_up()
    result = pair.copy(second)
    assert packed(pair.store) - before < 2000
    pair.check(second, result.copied[second])


def test_a_memory_of_what_the_target_has_lost_is_not_believed(pair: Pair) -> None:
    pair.farm.write("d/big", 500_000)
    first = pair.farm.back_up()
    copied = pair.copy(first).copied[first]
    forget.forget(pair.house.open(), [copied])
    again = pair.copy(first).copied[first]
    target = pair.house.open()
    prune.execute(target, prune.plan(target, EVERYTHING))
    pair.check(first, again)
    target = pair.house.open()
    forget.forget(target, [again])
    prune.execute(target, prune.plan(target, EVERYTHING))
    assert packed(pair.store) == 0
    last = pair.copy(first).copied[first]
    pair.check(first, last)


def test_long_chunk_lists(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("safehold.repo.contents.DIRECT", 2)
    monkeypatch.setattr("safehold.repo.contents.CUT_MOST", 3)
    pair.farm.write("large", 12_000_000)
    first = pair.farm.back_up()
    pair.farm.prune(EVERYTHING)
    pair.farm.check_all()
    pair.check(first, pair.copy(first).copied[first])


def test_paged_files(pair: Pair) -> None:
    pair.farm.write("disk.img", 5_000_000)
    first = pair.farm.back_up()
    pair.check(first, pair.copy(first).copied[first])
    with (pair.farm.source / "disk.img").open("r+b") as file:
        file.seek(2_000_000)
        file.write(b"changed" * 5000)
    second = pair.farm.back_up()
    before = packed(pair.store)
    result = pair.copy(second)
    assert result.read < 100_000
    assert packed(pair.store) - before < 100_000
    pair.check(second, result.copied[second])
    # The copy is a paged file in its own right: a backup of the same into the target finds its pages.
    target = pair.house.open()
    entry = trees.find(target.reader, metadata(target, result.copied[second]).tree, str(pair.farm.source / "disk.img").encode())
    assert entry is not None and entry.more is not None
    direct = pair.house.back_up(pair.farm.source)
    other = trees.find(target.reader, direct.snapshot.tree, str(pair.farm.source / "disk.img").encode())
    assert other is not None and other.more is not None
    digests = [[block.digest for _, block in PageMap(target.reader, e).blocks()] for e in (entry, other)]
    assert digests[0] == digests[1]


@pytest.mark.parametrize("most", [1, 2])
def test_little_is_fetched_ahead(pair: Pair, monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    """Chunks that lie in many segments, in another order than they are taken, and some more than once."""
    monkeypatch.setattr(ahead, "MOST_SEGMENTS", most)
    monkeypatch.setattr(copy, "LOOKUPS", 3)
    monkeypatch.setattr(copy, "MOST_LOADED", 4)
    ids = []
    for step in range(6):
        for n in range(5):
            pair.farm.write(f"d{n}/f{step}", 3000 + 700 * n)
        pair.farm.write("big", 1_500_000)
        (pair.farm.source / f"twice{step}").write_bytes((pair.farm.source / "d1/f0").read_bytes())
        ids.append(pair.farm.back_up())
    result = pair.copy(ids[5])
    assert result.read == 5 * 6 * (3000 + 1400) + 1_500_000
    pair.check(ids[5], result.copied[ids[5]])
    for old, new in pair.copy(*ids).copied.items():
        pair.check(old, new)


def test_damage_in_the_source_stops_a_copy_and_harms_no_other(pair: Pair) -> None:
    pair.farm.write("a", 9000)
    first = pair.farm.back_up()
    before = set(pair.farm.store.objects)  # type: ignore[attr-defined]
    pair.farm.write("b", 900_000)
    second = pair.farm.back_up()
    objects = pair.farm.store.objects  # type: ignore[attr-defined]
    for key in [key for key in objects if key not in before and key.startswith("packs/") and objects[key][8] == DATA]:
        del objects[key]
    with pytest.raises(DamageError):
        pair.copy(first, second)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith(("read", "seal"))]
    assert pair.house.open().snapshot_names() == []
    pair.check(first, pair.copy(first).copied[first])
    assert check.check(pair.house.open(), check.CheckOptions(read_data=100)).clean


def test_there_and_back_is_nothing(pair: Pair) -> None:
    pair.farm.write("x", 5000)
    first = pair.farm.back_up()
    copied = pair.copy(first).copied[first]
    result = copy_snapshots(pair.house.open(), pair.farm.open(), [copied])
    assert result.skipped == [copied]


def test_batches(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copy, "BATCH_BYTES", 1)
    ids = []
    for n in range(3):
        pair.farm.write(f"f{n}", 9000)
        ids.append(pair.farm.back_up())
    result = pair.copy(*ids)
    assert list(result.copied) == ids
    for old, new in result.copied.items():
        pair.check(old, new)


def test_a_copy_given_up_starts_over(pair: Pair) -> None:
    pair.farm.write("x", 5000)
    first = pair.farm.back_up()

    class ReapsOnce(FaultyStore):
        done = False

        def put(self, key: str, data: object) -> None:
            super().put(key, data)  # type: ignore[arg-type]
            if key.startswith("index/") and not self.done:
                self.done = True
                for info in list(pair.store.list("sessions/")):
                    pair.store.delete(info.key)

    target = pair.house.open(store=ReapsOnce(pair.store))
    result = copy_snapshots(pair.farm.open(), target, [first])
    pair.check(first, result.copied[first])
    assert len(pair.house.open().snapshot_names()) == 1


def test_refusals(pair: Pair) -> None:
    pair.farm.write("x", 5000)
    first = pair.farm.back_up()
    with pytest.raises(SnapshotMissing):
        pair.copy("0" * 64)
    with pytest.raises(UsageError):
        copy_snapshots(pair.farm.open(), pair.farm.open(), [first])
    writer = pair.house.open(pair.house.add_key("writer", "w"), cache=pair.farm.base / "w")
    with pytest.raises(NotPermitted):
        copy_snapshots(pair.farm.open(), writer, [first])
