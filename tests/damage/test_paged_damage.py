"""Damage to what paged files consist of: check follows their maps to the last chunk, repair and the next backup heal them."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from safehold.core.clock import ManualClock
from safehold.core.entries import FILE, Entry, More, Node, Totals
from safehold.core.errors import DamageError
from safehold.repo import check, contents, files, packs, paged, repair, snapshots, trees
from safehold.repo.check import CheckOptions
from safehold.repo.paged import BLOCK, Block, Extent, PageMap
from safehold.repo.repository import Repository
from safehold.repo.seals import DATA, MAP
from safehold.repo.snapshots import Snapshot, Source
from safehold.repo.writer import PAGES
from safehold.testing.builders import Household
from safehold.testing.stores import MemoryStore

FULL = CheckOptions(read_data=100)


class Disk:
    """A paged file of two groups, each of its chunks in a pack of its own, beside a file that nothing happens to."""

    def __init__(self, folder: Path) -> None:
        self.store = MemoryStore()
        self.house = Household(self.store, folder / "cache")
        self.size = paged.GROUP * BLOCK + 4096
        self.data, self.late = self.chunk(DATA, b"d" * BLOCK), self.chunk(DATA, b"e" * 4096)
        digest = self.house.open().reader.name(DATA, b"d" * BLOCK)
        block = Block(digest, [Extent(0, self.data, 0, BLOCK)])
        self.group = self.chunk(MAP, paged.encode_group([block, *[Block()] * (paged.GROUP - 1)]))
        self.last = self.chunk(MAP, paged.encode_group([Block(b"", [Extent(0, self.late, 0, 4096)])]))
        self.top = self.map((self.group, paged.GROUP * BLOCK), (self.last, 4096))

    def chunk(self, kind: int, data: bytes) -> bytes:
        writer = self.house.open().writer()
        name = writer.add(kind, data, PAGES)
        writer.finish()
        return name

    def map(self, *groups: tuple[bytes, int]) -> bytes:
        return self.chunk(MAP, b"".join(contents.TOP_ROW.pack(name, length) for name, length in groups))

    def commit(self, top: bytes, page: int = 4096) -> str:
        repository = self.house.open()
        writer = repository.writer()
        disk = Entry(b"disk", FILE, 0o644, 0, 0, 0, 0, self.size, 0, b"", More(map=top, paged=page))
        content = self.data if top == self.top else b""
        plain = Entry(b"plain", FILE, 0o644, 0, 0, 0, 0, BLOCK if content else 0, 0, content, None)
        tree = trees.write_node(writer, Node([disk, plain]))
        writer.finish()
        made = Snapshot(time_ns=1, host="h", source=Source(), tree=tree, totals=Totals())
        return snapshots.write(repository.seals, self.store, writer.session, made)

    def pack_of(self, name: bytes) -> str:
        place = self.house.open().index.find(name)
        assert place is not None
        return packs.key_of(place.segment.pack)

    def check(self) -> check.Report:
        return check.check(self.house.open(), FULL)


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    return Disk(tmp_path)


def lost(report: check.Report) -> dict[str, list[bytes]]:
    return {found.key: [each.path for each in found.files] for found in report.damage}


def test_a_whole_one_is_whole(disk: Disk) -> None:
    disk.commit(disk.top)
    report = disk.check()
    assert report.clean and report.unchecked == []


@pytest.mark.parametrize("part", ["top", "group", "last", "late"])
def test_each_chunk_is_missed(disk: Disk, part: str) -> None:
    disk.commit(disk.top)
    key = disk.pack_of(getattr(disk, part))
    data = bytearray(disk.store.objects[key])
    data[len(data) // 20 + 16] ^= 1
    disk.store.objects[key] = bytes(data)
    assert lost(disk.check()) == {key: [b"/disk"]}
    del disk.store.objects[key]
    assert lost(disk.check()) == {key: [b"/disk"]}
    repository = disk.house.open()
    made = repair.execute(repository, repair.plan(repository)).twins
    twin = snapshots.load(repository.seals, repository.store, made[0]).snapshot
    assert [entry.name for entry in trees.read_node(repository.reader, twin.tree).entries] == [b"plain"]
    assert twin.lost == [b"/disk"] and repair.plan(disk.house.open()).empty


def test_data_of_several_files(disk: Disk) -> None:
    disk.commit(disk.top)
    key = disk.pack_of(disk.data)
    del disk.store.objects[key]
    assert lost(disk.check()) == {key: [b"/disk", b"/plain"]}


MADE_UP: dict[str, Callable[[Disk], bytes]] = {
    "no rows": lambda disk: disk.chunk(MAP, b"a page map, which is not made of rows"),
    "too short": lambda disk: disk.map((disk.last, 4096)),
    "no blocks": lambda disk: disk.map((disk.group, paged.GROUP * BLOCK), (disk.chunk(MAP, b"x"), 4096)),
    "beyond the end": lambda disk: disk.map(
        (disk.group, paged.GROUP * BLOCK),
        (disk.chunk(MAP, paged.encode_group([Block(b"", [Extent(0, disk.data, 0, 5000)])])), 4096),
    ),
    "longer than the chunk": lambda disk: disk.map(
        (disk.group, paged.GROUP * BLOCK),
        (
            disk.chunk(
                MAP, paged.encode_group([Block(b"", [Extent(0, disk.late, 1, 4096 - 1), Extent(4095, disk.late, 4096, 1)])])
            ),
            4096,
        ),
    ),
    "other bytes than the digest says": lambda disk: disk.map(
        (disk.group, paged.GROUP * BLOCK),
        (disk.chunk(MAP, paged.encode_group([Block(disk.late, [Extent(0, disk.data, 0, 4096)])])), 4096),
    ),
    "other blocks": lambda disk: disk.map((disk.last, paged.GROUP * BLOCK), (disk.last, 4096)),
}


@pytest.mark.parametrize("how", MADE_UP)
def test_maps_that_make_no_sense_are_refused(disk: Disk, how: str) -> None:
    disk.commit(MADE_UP[how](disk))
    report = disk.check()
    assert [(f.code, [each.path for each in f.files]) for f in report.damage] == [("tree-refused", [b"/disk"])]


def test_a_page_map_of_another_size_is_refused(disk: Disk) -> None:
    """Also where the same map was found to be whole for another file."""
    disk.commit(disk.top)
    disk.size += 1
    disk.commit(disk.top)
    assert sorted(state.lost for state in disk.check().snapshots) == [0, 1]


def test_digests_are_proven_where_all_is_read(disk: Disk) -> None:
    disk.commit(MADE_UP["other bytes than the digest says"](disk))
    assert check.check(disk.house.open()).clean
    assert not disk.check().clean
    repository = disk.house.open()
    made = repair.execute(repository, repair.plan(repository)).twins
    assert snapshots.load(repository.seals, repository.store, made[0]).snapshot.lost == [b"/disk"]
    assert repair.plan(disk.house.open()).empty


def listing(disk: Disk, *entries: Entry) -> None:
    repository = disk.house.open()
    writer = repository.writer()
    tree = trees.write_node(writer, Node(list(entries)))
    writer.finish()
    made = Snapshot(time_ns=1, host="h", source=Source(), tree=tree, totals=Totals())
    snapshots.write(repository.seals, disk.store, writer.session, made)


def test_files_whose_listing_disagrees_with_their_chunks_are_named(disk: Disk) -> None:
    def of(name: bytes, size: int, content: bytes = b"", more: More | None = None) -> Entry:
        return Entry(name, FILE, 0o644, 0, 0, 0, 0, size, 0, content, more)

    part = disk.chunk(MAP, contents.ROW.pack(disk.data, BLOCK) + contents.ROW.pack(disk.late, 4096))
    wrong = disk.chunk(MAP, contents.ROW.pack(disk.data, BLOCK - 1) + contents.ROW.pack(disk.late, 4097))
    good = disk.map((part, BLOCK + 4096))
    entries = [
        of(b"a whole", BLOCK + 4096, disk.data + disk.late),
        of(b"b with a hole", BLOCK + 4096 + 50, disk.data + disk.late, More(holes=[10, 50])),
        of(b"c empty", 0),
        of(b"d list", BLOCK + 4096, more=More(map=good)),
        of(b"e too long", BLOCK, disk.data + disk.late),
        of(b"f too short", BLOCK + 1, disk.data),
        of(b"g no content", 1),
        of(b"h no hole", BLOCK + 50, disk.data, More(holes=[10, 49])),
        of(b"i odd holes", BLOCK, disk.data, More(holes=[10])),
        of(b"j list of another size", BLOCK + 4097, more=More(map=good)),
        of(b"k list with other lengths", BLOCK + 4096, more=More(map=disk.map((wrong, BLOCK + 4096)))),
        of(b"l list that does not add up", BLOCK + 4097, more=More(map=disk.map((part, BLOCK + 4097)))),
    ]
    listing(disk, *entries)
    report = check.check(disk.house.open())
    assert {found.code for found in report.damage} == {"tree-refused"}
    named = sorted(each.path for found in report.damage for each in found.files)
    assert named == sorted(b"/" + entry.name for entry in entries[4:])
    reader = disk.house.open().reader
    for entry in entries:
        try:
            files.small_content(reader, entry) or b"".join(files.stream(files.open_file(reader, entry)))
            restored = True
        except DamageError:
            restored = False
        assert restored == (entry in entries[:4]), entry.name
    repository = disk.house.open()
    repair.execute(repository, repair.plan(repository))
    assert repair.plan(disk.house.open()).empty
    listing(disk, *entries[:4])
    assert any(state.whole for state in check.check(disk.house.open()).snapshots)


def test_unknown_page_sizes_and_odd_ids_are_refused(disk: Disk) -> None:
    disk.commit(disk.top, page=5000)
    odd = disk.chunk(MAP, paged.encode_group([Block(b"", [Extent(0, b"odd", 0, 4096)])]))
    disk.commit(disk.map((disk.group, paged.GROUP * BLOCK), (odd, 4096)))
    disk.commit(b"no id")
    report = disk.check()
    assert [state.lost for state in report.snapshots] == [1, 1, 1]


@pytest.mark.parametrize("kind", [DATA, MAP])
def test_a_backup_after_a_repair_makes_it_whole(tmp_path: Path, kind: int) -> None:
    clock = ManualClock()
    store = MemoryStore(clock)
    house = Household(store, tmp_path / "cache", clock=clock)
    source = tmp_path / "source"
    source.mkdir()
    image = source / "disk.img"
    image.write_bytes(random.Random(3).randbytes(5_000_000))
    clock.advance(10)
    first = house.back_up(source)
    before = set(store.objects)
    with image.open("r+b") as file:
        file.seek(2_000_000)
        file.write(b"changed" * 5000)
    clock.advance(10)
    second = house.back_up(source)
    changed = [key for key in store.objects if key not in before and key.startswith("packs/") and store.objects[key][8] == kind]
    assert len(changed) == 1
    del store.objects[changed[0]]
    report = check.check(house.open(cache=tmp_path / "other"), FULL)
    assert {state.id: state.lost for state in report.snapshots} == {first.id: 0, second.id: 1}
    repository = house.open()
    repair.execute(repository, repair.plan(repository))
    third = house.back_up(source)  # with the memory that the machine had
    report = check.check(house.open(cache=tmp_path / "third"), FULL)
    assert all(state.whole for state in report.snapshots if state.id in (first.id, third.id))
    assert content(house.open(), third.snapshot.tree, image) == image.read_bytes()


def content(repository: Repository, tree: bytes, path: Path) -> bytes:
    entry = trees.find(repository.reader, tree, str(path).encode())
    assert entry is not None and entry.more is not None and entry.more.paged
    assert PageMap(repository.reader, entry).groups
    return b"".join(files.stream(files.open_file(repository.reader, entry)))


def test_names_that_come_twice_in_a_split_folder_are_refused(disk: Disk) -> None:
    """Each part is well; together they are what no folder can be."""
    repository = disk.house.open()
    writer = repository.writer()
    entry = Entry(b"same", FILE, 0o644, 0, 0, 0, 0, 0, 0, b"", None)
    parts = [trees.write_node(writer, Node([entry], {number: "x"})) for number in range(2)]
    tree = trees.write_node(writer, Node([], parts=parts))
    writer.finish()
    made = Snapshot(time_ns=1, host="h", source=Source(), tree=tree, totals=Totals())
    snapshots.write(repository.seals, disk.store, writer.session, made)
    with pytest.raises(DamageError):
        trees.read_node(repository.reader, tree)
    assert [(f.code, [each.path for each in f.files]) for f in disk.check().damage] == [("tree-refused", [b"/"])]
    repository = disk.house.open()
    repair.execute(repository, repair.plan(repository))
    assert repair.plan(disk.house.open()).empty
