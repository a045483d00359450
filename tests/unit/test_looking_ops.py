"""Listings read only what they must, and dry runs leave nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from safehold.core.errors import ObjectExists, ObjectMissing, StoreError
from safehold.ops.diff import diff
from safehold.ops.find import Wanted, find
from safehold.ops.listing import walk
from safehold.repo import trees
from safehold.repo.reader import ChunkReader
from safehold.storage.wrappers.discarding import Discarding
from safehold.testing.builders import Household
from safehold.testing.stores import MemoryStore


@pytest.fixture
def nodes_read(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    read: list[bytes] = []
    real = trees.read_node

    def counted(reader: ChunkReader, tree: bytes) -> object:
        read.append(tree)
        return real(reader, tree)

    monkeypatch.setattr(trees, "read_node", counted)
    return read


@pytest.fixture
def household(tmp_path: Path) -> Household:
    return Household(MemoryStore(), tmp_path / "cache")


def test_equal_folders_and_barren_folders_are_read_once(household: Household, tmp_path: Path, nodes_read: list[bytes]) -> None:
    source = tmp_path / "source"
    for number in range(20):
        (source / f"d{number}").mkdir(parents=True)
        (source / f"d{number}" / "file").write_bytes(b"%d" % number)
    first = household.back_up(source)
    (source / "d7" / "file").write_bytes(b"changed")
    second = household.back_up(source)
    repository = household.open()
    depth = len(source.parts) - 1
    nodes_read.clear()
    changes = list(diff(repository.reader, first.snapshot.tree, second.snapshot.tree))
    assert [(change.mark, Path(change.path.decode()).name) for change in changes] == [("M", "file")]
    assert len(nodes_read) == 2 * (depth + 1 + 1), "both roots, all above, the source, and d7"
    nodes_read.clear()
    assert list(find(repository.reader, repository.visible_snapshots(), Wanted(pattern="nothing"))) == []
    assert len(nodes_read) == depth + 1 + 20 + depth + 1 + 1


def test_trees_of_any_depth(household: Household, deep_folder: Path) -> None:
    deep = here = deep_folder
    for _ in range(1200):
        here.mkdir()
        here = here / "d"
    result = household.back_up(deep)
    reader = household.open().reader
    assert sum(1 for _ in walk(reader, result.snapshot.tree, b"")) == len(here.parts) - 2


def test_what_a_dry_run_stores_is_only_counted() -> None:
    store = Discarding()
    store.put("sessions/a/0", b"mark")
    upload = store.upload()
    upload.write(b"x" * 1000)
    upload.commit("packs/aa/b")
    assert store.get("sessions/a/0") == b"mark" and store.get_range("sessions/a/0", -2, 2) == b"rk"
    assert sorted((info.key, info.size) for info in store.list("")) == [("packs/aa/b", 1000), ("sessions/a/0", 4)]
    with pytest.raises(StoreError, match="dry run"):
        store.get("packs/aa/b")
    with pytest.raises(ObjectExists):
        store.put("packs/aa/b", b"")
    store.delete("sessions/a/0")
    with pytest.raises(ObjectMissing):
        store.size("sessions/a/0")
