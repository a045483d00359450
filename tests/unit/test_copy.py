"""Copies of snapshots in another repository."""

from __future__ import annotations

from pathlib import Path

import pytest
from prune_fixtures import EVERYTHING, Farm, content_of

from safehold.core.errors import NotPermitted, SnapshotMissing, UsageError
from safehold.ops import copy, forget
from safehold.ops.copy import copy_snapshots
from safehold.repo import prune, snapshots, trees
from safehold.repo.paged import PageMap
from safehold.repo.repository import Repository
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
