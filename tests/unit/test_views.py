"""Snapshots as file trees, without a mount."""

from __future__ import annotations

import errno
import os
import random
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safehold.core.clock import ManualClock
from safehold.core.entries import FILE, Entry, More, Totals
from safehold.core.errors import DamageError, FormatError, MountError, NotPermitted, PathMissing
from safehold.core.events import Event, Warn
from safehold.repo.repository import Repository
from safehold.repo.seals import DATA
from safehold.repo.snapshots import Snapshot, Source, Stored
from safehold.storage.local import LocalStore
from safehold.testing.builders import Household
from safehold.views import attributes, fuse
from safehold.views.catalog import Catalog, arrange, as_name
from safehold.views.content import Stretches
from safehold.views.operations import Operations
from safehold.views.reading import CachedReader
from safehold.views.tree import Node, SnapshotView

SPARSE = 7_000_000
RANGES = [(500_000, 1_200_000), (3_000_000, 3_000_001), (6_900_000, 6_999_999)]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("views")


@pytest.fixture(scope="module")
def source(base: Path) -> Path:
    top = base / "source"
    (top / "a" / "b").mkdir(parents=True)
    (top / "empty").touch()
    (top / "small").write_bytes(b"small")
    (top / "big").write_bytes(random.Random(1).randbytes(3_000_000))
    with (top / "long").open("wb") as file:  # of more chunks than an entry lists itself
        for seed in range(100):
            file.write(random.Random(seed).randbytes(1_000_000))
    with (top / "sparse").open("wb") as file:
        for start, end in RANGES:
            file.seek(start)
            file.write(random.Random(start).randbytes(end - start))
        file.truncate(SPARSE)
    os.link(top / "small", top / "a" / "one")
    os.link(top / "small", top / "a" / "b" / "two")
    (top / "link").symlink_to("a/b")
    return top


@pytest.fixture(scope="module")
def household(base: Path, source: Path) -> Household:
    made = Household(LocalStore(base / "store", create=True), base / "cache")
    made.back_up(source)
    return made


@pytest.fixture(scope="module")
def repository(household: Household) -> Repository:
    return household.open()


@pytest.fixture(scope="module")
def view(repository: Repository) -> Iterator[SnapshotView]:
    (stored,) = repository.visible_snapshots()
    made = SnapshotView(repository, stored)
    yield made
    made.library.close()


def _path(source: Path, *names: str) -> bytes:
    return os.fsencode(source.joinpath(*names))


def test_looking_up_and_listing(view: SnapshotView, source: Path) -> None:
    top = view.lookup(_path(source))
    assert [node.entry.name for node in view.children(top)] == sorted(os.fsencode(name) for name in os.listdir(source))
    assert view.lookup(b"/") is view.root
    assert view.lookup(_path(source, "a")).inode == view.child(top, b"a").inode
    for missing in (b"/missing", _path(source, "small", "x"), _path(source, "a", "b", "three")):
        with pytest.raises(PathMissing):
            view.lookup(missing)
    with pytest.raises(PathMissing):
        view.children(view.lookup(_path(source, "small")))
    with pytest.raises(PathMissing):
        view.open(top)


def test_names_of_one_file(view: SnapshotView, source: Path) -> None:
    nodes = [view.lookup(_path(source, *names)) for names in (("small",), ("a", "one"), ("a", "b", "two"))]
    assert len({node.inode for node in nodes}) == 1
    assert [view.links(node) for node in nodes] == [3, 3, 3]
    assert view.links(view.lookup(_path(source, "big"))) == 1


def test_inodes_are_the_same_in_another_view(view: SnapshotView, household: Household, source: Path) -> None:
    other = SnapshotView(household.open(), view.stored)
    for name in ("small", "big", "a"):
        assert other.lookup(_path(source, name)).inode == view.lookup(_path(source, name)).inode
    other.library.close()


@pytest.mark.parametrize("name", ["empty", "small", "big", "sparse", "long"])
def test_reading_from_start_to_end(view: SnapshotView, source: Path, name: str) -> None:
    expected = (source / name).read_bytes()
    file = view.open(view.lookup(_path(source, name)))
    step = 131_072
    assert b"".join(file.read(at, step) for at in range(0, file.size + 1, step)) == expected


@pytest.mark.parametrize("name", ["big", "sparse", "long"])
def test_reading_anywhere(view: SnapshotView, source: Path, name: str) -> None:
    expected = (source / name).read_bytes()
    file = view.open(view.lookup(_path(source, name)))

    @settings(max_examples=60, deadline=None, database=None)
    @given(st.integers(0, len(expected) + 10), st.one_of(st.integers(0, 10), st.integers(0, 3_000_000)))
    def check(offset: int, length: int) -> None:
        assert file.read(offset, length) == expected[offset : offset + length]

    check()


@settings(deadline=None, database=None)
@given(st.lists(st.tuples(st.integers(0, 20), st.integers(1, 20)), max_size=6), st.integers(0, 30))
def test_holes_against_a_map_of_bytes(gaps: list[tuple[int, int]], tail: int) -> None:
    holes: list[int] = []
    shape = ""
    for data, hole in gaps:
        if data or not shape:
            shape += "d" * data
            holes += (len(shape), hole)
            shape += "h" * hole
    shape += "d" * tail
    found = Stretches(Entry(b"x", FILE, 0, 0, 0, 0, 0, len(shape), 0, b"", More(holes=holes)))
    assert found.stored == shape.count("d")
    for at in range(len(shape)):
        data, hole = shape.find("d", at), shape.find("h", at)
        assert found.data_from(at) == (None if data < 0 else data)
        assert found.hole_from(at) == (len(shape) if hole < 0 else hole)
        for start, end, before in found.between(at, at + 7):
            assert shape[start:end] == "d" * (end - start)
            assert shape[:start].count("d") == before
        assert sum(end - start for start, end, _ in found.between(at, at + 7)) == shape[at : at + 7].count("d")


@pytest.mark.parametrize(("size", "holes"), [(10, [2, 3, 4, 1]), (10, [5, 6]), (10, [0]), (10, [2, 0]), (10, [2, -1]), (-1, [])])
def test_holes_that_cannot_be(size: int, holes: list[int]) -> None:
    with pytest.raises(FormatError):
        Stretches(Entry(b"x", FILE, 0, 0, 0, 0, 0, size, 0, b"", More(holes=holes)))


def test_content_that_does_not_fit_its_size(view: SnapshotView, source: Path) -> None:
    for name in ("big", "long", "sparse"):
        node = view.lookup(_path(source, name))
        wrong = msgspec.structs.replace(node, entry=msgspec.structs.replace(node.entry, size=node.entry.size + 1))
        with pytest.raises(DamageError):
            view.open(wrong).read(
                0, wrong.entry.size
            )  # a file of one chunk, as some seeds make of "big", shows it when it is read
    small = view.lookup(_path(source, "small"))
    wrong = msgspec.structs.replace(small, entry=msgspec.structs.replace(small.entry, size=9))
    with pytest.raises(DamageError):
        view.open(wrong).read(0, 9)


class Counting:
    """Counts how often each object's bytes were asked for."""

    def __init__(self, store: LocalStore) -> None:
        self._store = store
        self.asked: list[tuple[str, int]] = []

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    def get_range(self, key: str, offset: int, length: int) -> bytes:
        self.asked.append((key, offset))
        return self._store.get_range(key, offset, length)


def test_a_chunk_is_fetched_once_however_many_ask(household: Household, view: SnapshotView, source: Path) -> None:
    store = Counting(household.store)  # type: ignore[arg-type]
    reader = CachedReader(household.open(store=store))  # type: ignore[arg-type]
    name = view.lookup(_path(source, "big")).entry.content[:24]
    start = threading.Barrier(8)
    found = []

    def ask() -> None:
        start.wait()
        found.append(reader.read(DATA, name))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [found[0]] * 8
    assert len(store.asked) == 1
    reader.close()


def test_memory_is_bounded_and_failures_are_not_remembered(repository: Repository, view: SnapshotView, source: Path) -> None:
    reader = CachedReader(repository, cache_bytes=2_000_000)
    file = SnapshotView(repository, view.stored, view.library).open(view.lookup(_path(source, "long")))
    names = [name for part in range(len(file._content._parts)) for name in file._content._run(part).names]  # type: ignore[attr-defined]
    for name in names:
        reader.read(DATA, name)
    held = sum(len(future.result()) for future in reader._chunks.values())
    assert held == reader._held <= 2_000_000
    for _ in range(2):
        with pytest.raises(DamageError):
            reader.read(DATA, bytes(24))
    reader.close()


def test_a_writer_cannot_look(household: Household) -> None:
    writer = household.open(household.add_key("writer", "machine"))
    with pytest.raises(NotPermitted):
        Catalog(writer)
    with pytest.raises(NotPermitted):
        fuse.mount(writer, "anywhere")


def _stored(name: str, **fields: object) -> Stored:
    given = {"time_ns": 0, "host": "h", "source": Source(), "tree": b"", "totals": Totals()} | fields
    return Stored(name, Snapshot(**given), b"")  # type: ignore[arg-type]


def test_hostile_snapshots_get_harmless_names(view: SnapshotView, repository: Repository) -> None:
    labels = ["", ".", "..", "../../etc", "a\0b", "x" * 1000, "\udcff"]
    assert [as_name(label) for label in labels] == [b"_", b"_", b"_", b".._.._etc", b"a_b", b"x" * 255, b"\xff"]
    stored = [
        _stored("aa" * 32, time_ns=2**63 - 1, host="..", tags=["/"]),
        _stored("aa" * 31 + "bb", time_ns=-(2**63)),
        _stored("cc" * 32, time_ns=-(2**62), host="/"),
    ]
    top = arrange([SnapshotView(repository, one, view.library) for one in stored])
    assert set(top[b"by-id"]) == {b"aa" * 32, b"aa" * 31 + b"bb", b"cccccccc"}
    assert len(top[b"by-time"]) == 3
    assert set(top[b"hosts"]) == {b"_", b"h"}


@pytest.fixture
def events() -> list[Event]:
    return []


@pytest.fixture
def operations(repository: Repository, events: list[Event]) -> Iterator[Operations]:
    catalog = Catalog(repository)
    yield Operations(catalog, events.append)
    catalog.close()


def test_a_listing_goes_on_from_where_it_was(operations: Operations, source: Path) -> None:
    handle = operations.open_folder(b"/by-id/" + _only(operations, b"/by-id") + _path(source))
    whole = list(operations.list(handle, 0))
    names = [name for name, _, _ in whole]
    assert names[:2] == [b".", b".."]
    assert sorted(names[2:]) == sorted(os.fsencode(name) for name in os.listdir(source))
    for _, _, after in whole:
        assert [name for name, _, _ in operations.list(handle, after)] == names[after:]
    operations.close(handle)


def _only(operations: Operations, path: bytes) -> bytes:
    handle = operations.open_folder(path)
    names = [name for name, _, _ in operations.list(handle, 2)]
    operations.close(handle)
    (name,) = names
    return name


def _fails(number: int, call: object, *arguments: object) -> None:
    with pytest.raises(OSError, match=os.strerror(number)) as caught:
        call(*arguments)  # type: ignore[operator]
    assert caught.value.errno == number


def test_errors_have_numbers(operations: Operations, source: Path, events: list[Event]) -> None:
    root = b"/by-id/" + _only(operations, b"/by-id")
    _fails(errno.ENOENT, operations.attributes, b"/nothing")
    _fails(errno.ENOENT, operations.attributes, root + b"/nothing")
    _fails(errno.ENOENT, operations.attributes, b"/latest/below")
    _fails(errno.EISDIR, operations.open_file, b"/by-id")
    _fails(errno.ENOTDIR, operations.open_folder, b"/latest")
    _fails(errno.EINVAL, operations.target, root)
    _fails(errno.EBADF, operations.read, 12345, 0, 1)
    assert operations.target(root + _path(source, "link")) == b"a/b"
    assert stat.S_ISLNK(operations.attributes(b"/latest")["st_mode"])
    assert events == []


def test_damage_is_reported_once(household: Household, source: Path, base: Path) -> None:
    class Spoiled(Counting):
        def get_range(self, key: str, offset: int, length: int) -> bytes:
            data = super().get_range(key, offset, length)
            return data[:100] + bytes(50) + data[150:] if spoil and length > 200 else data

    events: list[Event] = []
    spoil = False
    repository = household.open(store=Spoiled(household.store))  # type: ignore[arg-type]
    catalog = Catalog(repository)
    operations = Operations(catalog, events.append)
    root = b"/by-id/" + _only(operations, b"/by-id") + _path(source)
    handle = operations.open_file(root + b"/big")
    spoil = True
    for _ in range(3):
        _fails(errno.EIO, operations.read, handle, 0, 10)
    assert [(event.code, event.path) for event in events if isinstance(event, Warn)] == [("damaged", os.fsdecode(root + b"/big"))]
    spoil = False
    assert operations.read(handle, 0, 10) == (source / "big").read_bytes()[:10]
    catalog.close()


def test_a_damaged_folder(household: Household, source: Path) -> None:
    class Spoiled(Counting):
        def get_range(self, key: str, offset: int, length: int) -> bytes:
            return bytes(length)

    events: list[Event] = []
    catalog = Catalog(household.open(store=Spoiled(household.store)))  # type: ignore[arg-type]
    operations = Operations(catalog, events.append)
    root = b"/by-id/" + _only(operations, b"/by-id")
    assert stat.S_ISDIR(operations.attributes(root)["st_mode"])
    _fails(errno.EIO, operations.open_folder, root)
    _fails(errno.EIO, operations.attributes, root + _path(source))
    assert {event.code for event in events if isinstance(event, Warn)} == {"damaged"}
    catalog.close()


def test_odd_entries_do_not_spoil_their_folder(view: SnapshotView, source: Path) -> None:
    entry = view.lookup(_path(source, "small")).entry
    devices = [(2**70, 1), (-1, 5), (1, 3)]
    odd = [msgspec.structs.replace(entry, size=2**64 - 1, more=More(device=device)) for device in devices]
    for one in odd:
        found = attributes.of_node(Node(one, 5), 1)
        assert found["st_size"] == 2**63 - 1
        assert found["st_rdev"] in (0, os.makedev(1, 3))


def test_snapshots_are_listed_again_after_some_seconds(tmp_path: Path) -> None:
    clock = ManualClock()
    household = Household(LocalStore(tmp_path / "store", create=True), tmp_path / "cache", clock=clock)
    (tmp_path / "file").touch()
    first = household.back_up(tmp_path / "file").id
    catalog = Catalog(household.open(), fresh_seconds=5)
    clock.advance(2)
    second = household.back_up(tmp_path / "file").id
    assert set(catalog.fresh()[b"by-id"]) == {first[:8].encode()}
    clock.advance(4)
    assert set(catalog.fresh()[b"by-id"]) == {first[:8].encode(), second[:8].encode()}
    assert catalog.newest() is not None
    assert catalog.newest().stored.id == second  # type: ignore[union-attr]
    household.store.delete(f"snapshots/{second}")
    clock.advance(6)
    assert set(catalog.fresh()[b"by-id"]) == {first[:8].encode()}
    catalog.close()


def test_a_store_that_is_gone_leaves_the_listing_as_it_was(tmp_path: Path) -> None:
    clock, events = ManualClock(), []
    household = Household(LocalStore(tmp_path / "store", create=True), tmp_path / "cache", clock=clock, report=events.append)
    (tmp_path / "file").touch()
    household.back_up(tmp_path / "file")
    catalog = Catalog(household.open(), fresh_seconds=5)
    before = catalog.top()
    (tmp_path / "store").rename(tmp_path / "away")
    clock.advance(6)
    assert catalog.fresh() == before
    assert [event.code for event in events if isinstance(event, Warn)] == ["mount-refresh"]
    catalog.close()


def test_no_fuse_on_the_machine(repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuse, "DEVICE", tmp_path / "none")
    with pytest.raises(MountError, match="has no"):
        fuse.mount(repository, str(tmp_path / "mount"))
    monkeypatch.setattr(fuse, "DEVICE", tmp_path)

    def missing(name: str) -> object:
        raise OSError("Unable to find libfuse")

    monkeypatch.setattr(fuse, "import_module", missing)
    with pytest.raises(MountError, match="libfuse") as caught:
        fuse.mount(repository, str(tmp_path / "mount"))
    assert "fuse3" in caught.value.hint
    assert not (tmp_path / "mount").exists()
