"""The damage matrix: each kind of object, each way of damage; check says exactly what it costs, the rest comes back whole."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from safehold.core.clock import ManualClock
from safehold.core.entries import DIRECTORY, FILE
from safehold.core.errors import DamageError, RolledBack, SafeholdError
from safehold.ops.backup.run import Result
from safehold.repo import check, condemned, contents, packs, repair, trees
from safehold.repo.check import CheckOptions
from safehold.repo.repository import Repository
from safehold.repo.seals import DATA, TREE
from safehold.testing.builders import Household
from safehold.testing.stores import CHANGES, CrashPoint, Fault, FaultyStore, MemoryStore

KINDS = ["data", "tree", "index", "snapshot", "session", "condemned", "key"]
Files = dict[bytes, bytes]


class World:
    """Two snapshots of a small tree, on a store whose bytes a test may change."""

    def __init__(self, folder: Path) -> None:
        self.clock = ManualClock()
        self.store = MemoryStore(self.clock)
        self.folder = folder
        self.house = Household(self.store, folder / "cache", clock=self.clock)
        self.source = folder / "source"
        randomness = random.Random(7)
        for name, size in {"one": 300, "sub/two": 9000, "sub/deep/three": 700_000, "sub/deep/four": 400_000}.items():
            path = self.source / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(randomness.randbytes(size))
        self.clock.advance(10)
        self.first = self.back_up()
        (self.source / "later").write_bytes(randomness.randbytes(5000))
        (self.source / "sub/two").write_bytes(randomness.randbytes(9100))
        self.clock.advance(10)
        self.second = self.back_up()
        # A mark of a session that died, a condemnation of nothing much.
        session = self.house.open().session("backup")
        session.__enter__()
        session._stop.set()
        owner = self.house.open()
        condemned.write(owner.seals, self.store, condemned.Condemned(time_ns=1, removed=["00" * 32]))
        condemned.write(owner.seals, self.store, condemned.Condemned(time_ns=2, removed=["11" * 32]))
        self.reader_key = self.house.add_key("reader", "reader")
        self.good = dict(self.store.objects)
        shutil.copytree(folder / "cache", folder / "good-cache")
        self.whole = {each.id: self.read(each.id) for each in (self.first, self.second)}

    def back_up(self) -> Result:
        return self.house.back_up(self.source)

    def reset(self) -> None:
        self.store.objects = dict(self.good)
        shutil.rmtree(self.folder / "cache")
        shutil.copytree(self.folder / "good-cache", self.folder / "cache")

    def fresh(self) -> Repository:
        """Opened as on a machine that has no cache."""
        self.folder.joinpath("caches").mkdir(exist_ok=True)
        return self.house.open(cache=self.folder / "caches" / os.urandom(4).hex())

    def read(self, name: str, repository: Repository | None = None) -> Files:
        """Every file of a snapshot that can be read."""
        repository = repository or self.fresh()
        found = [s for s in repository.load_snapshots([name]) if s.id == name]
        return dict(files(repository, found[0].snapshot.tree)) if found else {}

    def keys(self, kind: str) -> list[str]:
        prefix = {"index": "index/", "snapshot": "snapshots/", "session": "sessions/", "condemned": "condemned/", "key": "keys/"}
        if kind in prefix:
            return sorted(key for key in self.good if key.startswith(prefix[kind]))
        wanted = {"data": DATA, "tree": TREE}[kind]
        return sorted(k for k, data in self.good.items() if k.startswith("packs/") and data[8] == wanted)


def files(repository: Repository, tree: bytes, path: bytes = b"/") -> Iterator[tuple[bytes, bytes]]:
    """Path and content of what can be read; only ``DamageError`` may come in between."""
    try:
        entries = trees.read_node(repository.reader, tree).entries
    except DamageError:
        return
    for entry in entries:
        if entry.kind == DIRECTORY:
            yield from files(repository, entry.content, path + entry.name + b"/")
        elif entry.kind == FILE:
            try:
                yield path + entry.name, b"".join(contents.read(repository.reader, entry))
            except DamageError:
                continue


def flip(place: float) -> Callable[[World, str, str], None]:
    def damage(world: World, kind: str, key: str) -> None:
        data = bytearray(world.good[key])
        data[min(len(data) - 1, int(len(data) * place))] ^= 0x10
        world.store.objects[key] = bytes(data)

    return damage


def truncate(world: World, kind: str, key: str) -> None:
    world.store.objects[key] = world.good[key][: len(world.good[key]) * 2 // 3]


def empty(world: World, kind: str, key: str) -> None:
    world.store.objects[key] = b""


def delete(world: World, kind: str, key: str) -> None:
    del world.store.objects[key]


def swap(world: World, kind: str, key: str) -> None:
    other = next((k for k in world.keys(kind) if k != key), "config")
    world.store.objects[key] = world.good[other]


DAMAGES = {
    "flip-start": flip(0),
    "flip-header": flip(0.02),
    "flip-middle": flip(0.5),
    "flip-footer": flip(0.98),
    "flip-end": flip(1),
    "truncate": truncate,
    "empty": empty,
    "delete": delete,
    "swap": swap,
}


def lost_by_check(report: check.Report) -> set[tuple[str, bytes]]:
    return {(lost.snapshot, lost.path) for finding in report.findings for lost in finding.files}


def really_lost(world: World, name: str, now: Files) -> set[bytes]:
    return {path for path, data in world.whole[name].items() if now.get(path) != data}


def covers(told: set[bytes], path: bytes) -> bool:
    return path in told or any(each.endswith(b"/") and path.startswith(each) for each in told)


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("kind", KINDS)
def test_damage_is_reported_exactly_and_costs_no_more(world: World, kind: str, damage: str) -> None:
    key = world.keys(kind)[0]
    if kind == "key":  # not the one that this test opens the repository with
        key = next(k for k in world.keys(kind) if world.reader_key.slot_id.hex() in k)
    DAMAGES[damage](world, kind, key)
    repository = world.fresh()
    report = check.check(repository, CheckOptions(read_data=100))
    # Nothing tells a new machine of the last snapshot that it was there; the one before is named by it.
    quiet = damage == "delete" and (kind in ("session", "condemned", "key") or key == f"snapshots/{world.second.id}")
    assert report.clean == quiet, report.findings
    if not quiet and damage != "delete":
        assert key in {finding.key for finding in report.damage}
    told = lost_by_check(report)
    for snapshot in {f"snapshots/{name}" for name in world.whole} & set(world.store.objects):
        name = snapshot.removeprefix("snapshots/")
        if kind == "snapshot" and snapshot == key:
            continue
        paths = {path for where, path in told if where == name}
        lost = really_lost(world, name, world.read(name))
        assert all(covers(paths, path) for path in lost)
        assert all(path in lost or path.endswith(b"/") for path in paths)
        state = next(state for state in report.snapshots if state.id == name)
        assert state.whole == (not lost)


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("kind", KINDS)
def test_repair_loses_nothing_more_and_is_done_after_one_time(world: World, kind: str, damage: str) -> None:
    key = world.keys(kind)[0]
    if kind == "key":
        key = next(k for k in world.keys(kind) if world.reader_key.slot_id.hex() in k)
    DAMAGES[damage](world, kind, key)
    before = {name: world.read(name) for name in world.whole}
    bytes_before = {data for key, data in world.store.objects.items()}
    repository = world.fresh()
    repair.execute(repository, repair.plan(repository))
    assert bytes_before - set(world.store.objects.values()) <= {world.good[k] for k in world.keys("session")}
    after = world.fresh()
    again = repair.plan(after)
    assert again.empty, (again.report.findings, again.quarantine, again.twins)
    # All that is still told is what the original snapshots have lost.
    assert {finding.code for finding in again.report.damage} <= {"chunk-missing"}
    for name in world.whole:
        if f"snapshots/{name}" in world.store.objects:
            assert world.read(name) == (world.whole[name] if kind == "index" else before[name])
    if kind == "index":
        assert again.report.clean
        assert {state.id for state in again.report.snapshots} == set(world.whole)
    hurt = {state.id for state in again.report.snapshots if not state.whole}
    stored = {s.id: s.snapshot for s in after.load_snapshots([state.id for state in again.report.snapshots])}
    for name in hurt:
        twin = next(i for i, snapshot in stored.items() if snapshot.original == name and i not in hurt)
        assert world.read(twin) == before[name]
        assert stored[twin].incomplete
        assert stored[twin].tags == ["repaired"]
        lost = really_lost(world, name, before[name])
        assert all(covers(set(stored[twin].lost), path) for path in lost)


@pytest.mark.parametrize("damage", ["flip-middle", "truncate", "delete", "empty"])
@pytest.mark.parametrize("kind", ["data", "tree", "index"])
def test_a_backup_after_a_repair_makes_old_snapshots_whole(world: World, kind: str, damage: str, tmp_path: Path) -> None:
    for key in world.keys(kind):
        DAMAGES[damage](world, kind, key)
    repository = world.house.open()
    repair.execute(repository, repair.plan(repository))
    result = world.house.back_up(world.source)  # with the memory that the machine had
    report = check.check(world.fresh(), CheckOptions(read_data=100))
    assert next(state for state in report.snapshots if state.id == result.id).whole
    assert world.read(result.id) == world.whole[world.second.id]
    if kind != "tree":
        # What the second snapshot needs is all there again; the first one's own version of sub/two is not.
        assert next(state for state in report.snapshots if state.id == world.second.id).whole
        assert lost_by_check(report) <= {(world.first.id, os.fsencode(world.source) + b"/sub/two")}


def damage_much(world: World) -> None:
    flip(0.5)(world, "data", world.keys("data")[0])
    delete(world, "index", world.keys("index")[1])
    truncate(world, "tree", world.keys("tree")[0])


def test_a_repair_that_dies_anywhere_is_finished_by_the_next(world: World) -> None:
    damage_much(world)
    repository = world.fresh()
    repair.execute(repository, repair.plan(repository))
    goal = {name: world.read(name) for name in world.whole}
    world.reset()
    damage_much(world)
    counting = FaultyStore(world.store)
    repository = world.house.open(store=counting, cache=world.folder / "counting")
    repair.execute(repository, repair.plan(repository))
    steps = sum(operation in CHANGES for operation, _ in counting.log)
    assert steps > 6  # how many depends on which ids come first
    for step in range(1, steps + 1):
        for moment in ("before", "after"):
            world.reset()
            damage_much(world)
            faulty = FaultyStore(world.store, Fault("change", nth=step, moment=moment))
            repository = world.house.open(store=faulty, cache=world.folder / "dying" / os.urandom(4).hex())
            with pytest.raises(CrashPoint):
                repair.execute(repository, repair.plan(repository))
            repository = world.fresh()
            repair.execute(repository, repair.plan(repository))
            again = repair.plan(world.fresh())
            assert again.empty, (step, moment, again.report.findings)
            assert {name: world.read(name) for name in world.whole} == goal


def test_another_slot_opens_when_one_is_damaged(world: World) -> None:
    key = f"keys/{world.reader_key.slot_id.hex()}.slot"
    flip(0.5)(world, "key", key)
    with pytest.raises(SafeholdError):
        world.house.open(world.reader_key)
    assert world.read(world.second.id) == world.whole[world.second.id]
    assert key in {f.key for f in check.check(world.fresh()).damage}


def test_a_lost_slot_costs_no_backup_that_was_made_with_it(world: World) -> None:
    key = f"keys/{world.house.owner_key.slot_id.hex()}.slot"
    world.store.objects[key] = b"gone"
    warned: list[object] = []
    reader = world.house.open(world.reader_key, cache=world.folder / "caches" / "orphan")
    reader.report = warned.append
    assert world.read(world.second.id, reader) == world.whole[world.second.id]
    assert "signer-unknown" in {w.code for w in warned}
    report = check.check(reader, CheckOptions(read_data=100))
    assert {f.code for f in report.damage} == {"key-damaged", "signer-unknown"}
    assert all(state.whole for state in report.snapshots)
    assert not any(shard.trusted for shard in reader.index.shards)  # read from, and not built upon


def test_a_snapshot_that_this_machine_has_seen_cannot_vanish(world: World) -> None:
    check.check(world.house.open())
    del world.store.objects[f"snapshots/{world.second.id}"]
    warned: list[object] = []
    repository = world.house.open()
    repository.report = warned.append
    repository.visible_snapshots()
    assert [w.code for w in warned] == [RolledBack.code]
    report = check.check(world.house.open())
    assert [(f.code, f.key) for f in report.damage] == [("rolled-back", f"snapshots/{world.second.id}")]
    # One that an owner removed may go.
    condemned.write(repository.seals, world.store, condemned.Condemned(time_ns=3, removed=[world.second.id]))
    assert check.check(world.house.open()).clean


def test_a_snapshot_that_another_names_as_the_one_before_cannot_vanish(world: World) -> None:
    del world.store.objects[f"snapshots/{world.first.id}"]
    report = check.check(world.fresh())
    assert [(f.code, f.key) for f in report.damage] == [("rolled-back", f"snapshots/{world.first.id}")]


def test_a_writer_checks_what_it_can(world: World) -> None:
    writer = world.house.add_key("writer", "laptop")
    repository = world.house.open(writer, cache=world.folder / "writer")
    clean = check.check(repository, CheckOptions(read_data=100))
    assert clean.clean
    assert len(clean.unchecked) == 3
    flip(0.5)(world, "data", world.keys("data")[0])
    report = check.check(world.house.open(writer, cache=world.folder / "writer2"), CheckOptions(read_data=100))
    assert [f.key for f in report.damage] == [world.keys("data")[0]]


def test_part_of_the_data(world: World) -> None:
    chosen: list[bytes] = []

    def keep_order(pack_ids: list[bytes]) -> None:
        chosen.extend(pack_ids)

    report = check.check(world.fresh(), CheckOptions(read_data=34), shuffle=keep_order)
    assert report.packs == len(chosen) == 4
    assert report.read_packs == 2


def test_an_old_index_shard_put_back_is_harmless(world: World) -> None:
    """A replay: the shard that a repair replaced comes back; it is still replaced."""
    flip(0.5)(world, "data", world.keys("data")[0])
    repository = world.fresh()
    repair.execute(repository, repair.plan(repository))
    before = check.check(world.fresh(), CheckOptions(read_data=100))
    for key in world.keys("index"):
        world.store.objects[key] = world.good[key]
    after = check.check(world.fresh(), CheckOptions(read_data=100))
    assert lost_by_check(after) == lost_by_check(before)
    assert [f.code for f in after.damage] == [f.code for f in before.damage]


def test_a_pack_key_is_only_what_a_pack_is_named(world: World) -> None:
    world.store.objects["packs/zz/strange"] = b"x"
    report = check.check(world.fresh())
    assert report.clean
    assert [f.code for f in report.findings] == ["unknown-object"]
    assert packs.id_of(packs.key_of(bytes(32))) == bytes(32)
    assert packs.id_of("packs/11/" + "00" * 32) is None
