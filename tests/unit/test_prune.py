"""Prune on whole repositories: what goes, what stays, and when it refuses."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from prune_fixtures import DAY, EVERYTHING, Farm

from safehold.core.errors import DamageError, DeletionRefused, NotPermitted, SafeholdError, SessionExpired, SnapshotMissing
from safehold.ops import forget
from safehold.repo import condemned, prune, sessions, shards, snapshots
from safehold.repo.condemned import Condemned
from safehold.repo.packs import open_tables, read_tail
from safehold.repo.prune import Options, compaction, planning
from safehold.repo.prune.model import PackUse
from safehold.repo.prune.repacking import Repacker
from safehold.storage.local import LocalStore
from safehold.testing.stores import Fault, FaultyStore, MemoryStore


@pytest.fixture
def farm(tmp_path: Path) -> Farm:
    return Farm(tmp_path)


def filled(farm: Farm) -> tuple[str, str]:
    """Two snapshots: the second one lacks what makes up most of the first."""
    for n in range(20):
        farm.write(f"old/{n}", 30_000)
    farm.write("both/kept", 20_000)
    first = farm.back_up()
    for n in range(20):
        (farm.source / f"old/{n}").unlink()
    farm.write("new", 30_000)
    return first, farm.back_up()


@pytest.mark.parametrize("local", [False, True])
def test_bytes_are_freed_and_the_rest_stays(tmp_path: Path, local: bool) -> None:
    farm = Farm(tmp_path, LocalStore(tmp_path / "store", create=True) if local else None)
    first, second = filled(farm)
    before = farm.packed()
    farm.forget(first)
    result = farm.prune()
    assert result.snapshots == [first]
    assert result.complete
    assert before - farm.packed() == result.freed
    assert farm.packed() < before / 4
    assert snapshots.names(farm.store) == [second]
    farm.check_all()
    farm.check_clean()


def test_paged_files_keep_every_page_they_need(farm: Farm) -> None:
    ids = []
    image = farm.source / "disk.img"
    farm.write("disk.img", 5_000_000)
    for n in range(4):
        with image.open("r+b") as file:
            for at in (n * 400_000, 2_500_000, 4_900_000):
                file.seek(at)
                file.write(bytes([n + 1]) * 20_000)
        ids.append(farm.back_up())
    farm.forget(*ids[:3])
    before = farm.packed()
    farm.prune()
    assert farm.packed() < before
    assert snapshots.names(farm.store) == ids[3:]
    farm.check_all()
    farm.check_clean()


def test_a_plan_changes_nothing_and_tells_the_truth(farm: Farm) -> None:
    first, _ = filled(farm)
    farm.forget(first)
    before = dict(farm.store.objects)
    plan = prune.plan(farm.open(), EVERYTHING)
    assert farm.store.objects == before
    assert plan.snapshots == [first]
    result = prune.execute(farm.open(), plan)
    assert abs(result.freed - plan.freed) < 4000


def test_what_is_tolerated_is_not_packed_again(farm: Farm) -> None:
    farm.write("a", 200_000)
    farm.write("b", 4_000)
    first = farm.back_up()
    (farm.source / "b").unlink()
    farm.back_up()
    farm.forget(first)
    assert not any(pack.kind == 1 for pack in prune.plan(farm.open(), Options(empty_trash=True)).repack)
    assert any(pack.kind == 1 for pack in prune.plan(farm.open(), EVERYTHING).repack)


def test_the_trash_period(farm: Farm) -> None:
    first, _ = filled(farm)
    farm.forget(first)
    farm.clock.advance(13 * DAY)
    assert prune.plan(farm.open()).empty
    farm.clock.advance(2 * DAY)
    assert prune.plan(farm.open()).snapshots == [first]


def test_undelete_within_the_period_also_after_a_prune(farm: Farm) -> None:
    first, second = filled(farm)
    farm.forget(first, second)
    assert {trashed.id for trashed in forget.list_trash(farm.open())} == {first, second}
    farm.prune(Options())
    forget.undelete(farm.open(), first)
    assert farm.trash() == {second}
    assert farm.open().snapshot_names() == [first]
    farm.prune()
    assert snapshots.names(farm.store) == [first]
    farm.check_all()
    with pytest.raises(SnapshotMissing):
        forget.undelete(farm.open(), second)
    with pytest.raises(SnapshotMissing):
        forget.forget(farm.open(), [second])


def test_prune_waits_for_a_session_and_finishes_after_it(farm: Farm) -> None:
    first, _ = filled(farm)
    farm.forget(first)
    with farm.open().session("backup"):
        result = farm.prune()
        assert result.waiting > 0
        assert result.deleted == result.repacked == 0
        assert len(result.sessions) == 1
        assert first in snapshots.names(farm.store)
        farm.check_all()
    assert farm.prune().snapshots == [first]
    farm.check_all()
    farm.check_clean()


def test_sessions_that_began_later_delay_nothing(farm: Farm) -> None:
    first, _ = filled(farm)
    farm.forget(first)
    with farm.open().session("backup") as early:
        farm.prune()
        late = farm.open().session("backup")
        late.__enter__()
        assert farm.prune().waiting > 0
    assert early.id
    result = farm.prune()
    assert result.snapshots == [first]
    late.__exit__(None, None, None)
    farm.check_all()
    farm.prune()
    farm.check_clean()


@pytest.mark.parametrize("operation", ["prune", "repair", "something new"])
def test_nothing_is_deleted_beside_what_does_not_know_the_rules(farm: Farm, operation: str) -> None:
    first, _ = filled(farm)
    farm.forget(first)
    farm_session = farm.open().session("backup")
    with farm_session:
        farm.prune()
    with farm.open().session(operation):
        assert farm.prune().snapshots == []
        if operation == "prune":
            with pytest.raises(SafeholdError, match="at work"):
                forget.undelete(farm.open(), first)
    assert farm.prune().snapshots == [first]


def test_a_condemned_pack_that_a_snapshot_needs_again_is_rescued(farm: Farm) -> None:
    first, _ = filled(farm)
    farm.forget(first)
    with farm.open().session("backup"):
        farm.prune()
    forget.undelete(farm.open(), first)
    result = farm.prune(Options())
    assert result.rescued > 0
    assert result.deleted == 0
    farm.check_all()
    farm.check_clean()


def test_taken_back_and_forgotten_again_has_its_time_anew(farm: Farm) -> None:
    first, _ = filled(farm)
    farm.forget(first)
    with farm.open().session("backup"):
        farm.prune()
    forget.undelete(farm.open(), first)
    farm.clock.advance(60)
    farm.forget(first)
    assert farm.prune(Options()).snapshots == []
    assert first in snapshots.names(farm.store)
    farm.check_all()


def test_a_backup_does_not_build_on_the_trash(farm: Farm) -> None:
    first, second = filled(farm)
    farm.forget(first, second)
    with farm.open().session("backup"):
        farm.prune()  # condemns everything
    third = farm.back_up()
    farm.prune()
    assert snapshots.names(farm.store) == [third]
    farm.check_all()


def test_a_long_opened_repository_does_not_build_on_packs_that_are_gone(farm: Farm) -> None:
    first, _ = filled(farm)
    opened = farm.open()
    assert opened.index.shards  # loaded before the prune
    farm.forget(first)
    farm.prune()
    for n in range(20):
        farm.write(f"old/{n}", 30_000)
    back = farm.house.back_up(farm.source, repository=opened).id
    farm.expected[back] = {
        str(p.relative_to(farm.source)).encode(): p.read_bytes() for p in farm.source.rglob("*") if p.is_file()
    }
    farm.check_all()


def test_a_reader_that_began_before_reads_on(farm: Farm) -> None:
    first, _ = filled(farm)
    opened = farm.house.open(cache=farm.base / "other")
    assert opened.index.shards
    farm.forget(first)
    farm.prune()
    farm.check_all(base=opened)


def test_unindexed_packs_go(farm: Farm) -> None:
    filled(farm)
    repository = farm.open()
    writer = repository.writer()
    writer.add(1, b"never indexed" * 1000)
    for kind, group in list(writer._gathering):
        writer._submit(kind, group)
    writer._pool.shutdown()
    for builder in writer._open.values():
        builder.finish()
    assert len(prune.plan(farm.open(), EVERYTHING).unindexed) == 1
    farm.prune()
    farm.check_clean()
    farm.check_all()


def test_a_listing_that_lacks_packs_stops_it(farm: Farm) -> None:
    first, _ = filled(farm)
    farm.forget(first)
    lost = next(key for key in farm.store.objects if key.startswith("packs/"))
    data = farm.store.objects.pop(lost)
    with pytest.raises(DeletionRefused, match="packs that the index lists"):
        farm.prune()
    farm.store.objects[lost] = data
    farm.prune()
    farm.check_all()


def test_a_listing_that_lacks_snapshots_stops_it(farm: Farm) -> None:
    first, second = filled(farm)
    prune.plan(farm.open())
    data = farm.store.objects.pop(snapshots.PREFIX + first)
    with pytest.raises(DeletionRefused, match="nobody removed"):
        prune.plan(farm.open())
    farm.store.objects[snapshots.PREFIX + first] = data
    stored = {key: data for key, data in farm.store.objects.items() if not key.startswith("snapshots/")}
    farm.store.objects = stored
    fresh = farm.house.open(cache=farm.base / "elsewhere")
    with pytest.raises(DeletionRefused, match="not one snapshot"):
        prune.plan(fresh)
    assert second


@pytest.mark.parametrize("prefix", ["packs/", "index/", "snapshots/", "condemned/", "sessions/"])
@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_listing_that_fails_deletes_nothing(farm: Farm, prefix: str, moment: str) -> None:
    first, _ = filled(farm)
    farm.forget(first)
    plan = prune.plan(farm.open(), EVERYTHING)
    before = set(farm.store.objects)
    error = SafeholdError("The listing broke off.")
    faulty = FaultyStore(farm.store, Fault("list", 1, error, moment, prefix, times=100))
    with pytest.raises(SafeholdError, match="broke off"):
        prune.execute(farm.open(store=faulty), plan)
    assert before <= set(farm.store.objects)
    farm.check_all()


def test_the_budget(farm: Farm) -> None:
    first, _ = filled(farm)
    for n in range(20):
        farm.write(f"orphan{n}", 3000)
        repository = farm.open()
        writer = repository.writer()
        writer.add(1, farm.write(f"orphan{n}", 3000))
        writer.finish()
    with pytest.raises(DeletionRefused, match="no removed snapshot accounts"):
        farm.prune(Options())
    farm.forget(first)
    with pytest.raises(DeletionRefused, match="no removed snapshot accounts"):
        farm.prune(Options(empty_trash=True))
    assert farm.prune(Options(confirm_large=True)).deleted == 20
    farm.check_all()


def test_everything_may_go_when_every_snapshot_was_forgotten(farm: Farm) -> None:
    farm.forget(*filled(farm))
    farm.prune(Options(empty_trash=True))
    assert farm.packed() == 0
    assert prune.plan(farm.open()).empty
    assert farm.open().snapshot_names() == []
    assert condemned.removed(farm.open().condemned()) == frozenset(farm.expected)
    farm.back_up()
    farm.check_all()
    farm.check_clean()


def test_a_tree_that_cannot_be_read_stops_it(farm: Farm) -> None:
    first, second = filled(farm)
    farm.forget(first)
    repository = farm.open()
    tree = snapshots.load(repository.seals, farm.store, second).snapshot.tree
    place = repository.index.find(tree)
    assert place is not None
    name = place.segment.pack.hex()
    key = f"packs/{name[:2]}/{name}"
    data = bytearray(farm.store.objects[key])
    data[place.segment.offset + 3] ^= 1
    farm.store.objects[key] = bytes(data)
    before = set(farm.store.objects)
    with pytest.raises(DamageError, match="cannot be followed"):
        prune.plan(farm.house.open(cache=farm.base / "new"), EVERYTHING)
    assert set(farm.store.objects) == before


def test_a_damaged_index_shard_stops_it(farm: Farm) -> None:
    filled(farm)
    key = next(key for key in farm.store.objects if key.startswith("index/"))
    data = bytearray(farm.store.objects[key])
    data[-70] ^= 1
    farm.store.objects[key] = bytes(data)
    with pytest.raises(DamageError, match="cannot be read"):
        prune.plan(farm.house.open(cache=farm.base / "new"), EVERYTHING)


def test_a_damaged_pack_is_not_packed_again(farm: Farm) -> None:
    first, _ = filled(farm)
    farm.forget(first)
    plan = prune.plan(farm.open(), EVERYTHING)
    pack = next(pack for pack in plan.repack if pack.kind == 1)
    key = f"packs/{pack.id.hex()[:2]}/{pack.id.hex()}"
    data = bytearray(farm.store.objects[key])
    data[100] ^= 1
    farm.store.objects[key] = bytes(data)
    before = {key for key in farm.store.objects if key.startswith(("packs/", "snapshots/", "index/"))}
    with pytest.raises(DamageError, match="cannot be packed again"):
        prune.execute(farm.open(), plan)
    assert before <= set(farm.store.objects)


def test_only_owners_prune_and_forget(farm: Farm) -> None:
    first, _ = filled(farm)
    for role in ("reader", "writer"):
        key = farm.house.add_key(role, role)
        other = farm.house.open(key, cache=farm.base / role)
        with pytest.raises(NotPermitted):
            forget.forget(other, [first])
        with pytest.raises(NotPermitted):
            prune.execute(other, prune.plan(farm.open(), EVERYTHING))


def test_a_writers_condemnation_is_not_obeyed(farm: Farm) -> None:
    first, second = filled(farm)
    key = farm.house.add_key("writer", "stolen")
    thief = farm.house.open(key, cache=farm.base / "thief")
    packs = [bytes.fromhex(name.rpartition("/")[2]) for name in farm.store.objects if name.startswith("packs/")]
    condemned.write(thief.seals, farm.store, Condemned(time_ns=1, trash=[first, second], packs=packs, snapshots=[first]))
    assert set(farm.open().snapshot_names()) == {first, second}
    assert farm.open().index.avoid == frozenset()
    farm.prune()
    farm.check_all()
    assert {first, second} <= set(snapshots.names(farm.store))


def test_a_writers_index_replaces_nothing_and_displaces_nothing(farm: Farm) -> None:
    """A hijacked machine lists everybody's chunks as its own, and says that its shard replaces all others."""
    filled(farm)
    thief = farm.house.open(farm.house.add_key("writer", "stolen"), cache=farm.base / "thief")
    names = [name for shard in thief.index.shards for name in shard.names()]
    writer = thief.writer()
    writer.add(1, b"rubbish" * 500)
    writer.finish()
    mine = next(shard for shard in thief.index.shards if shard.trusted)
    pack, size, kind = mine.packs()[0]
    segment = next(iter(mine.all_segments()))
    rows = [name + shards.PLACE.pack(0, 0, 10) for name in names]
    tail = shards.Tail([segment.session], [shard.name for shard in thief.index.shards])
    body = shards.assemble(
        rows,
        [shards.SEGMENT.pack(segment.id, 0, 0, segment.offset, segment.length)],
        [shards.PACK.pack(pack, size, kind)],
        msgspec.msgpack.encode(tail),
    )
    data = compaction.envelopes.wrap(thief.seals, "index", body)
    farm.store.put("index/" + compaction.envelopes.name_of(data), data)
    farm.prune()
    farm.check_all()


def test_what_a_writer_vouches_for_stays_its_word(farm: Farm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "SMALL_SHARDS", 2)
    key = farm.house.add_key("writer", "laptop")
    for n in range(4):
        farm.write(f"w{n}", 9000)
        laptop = farm.house.open(key, cache=farm.base / "laptop")
        made = farm.house.back_up(farm.source, repository=laptop).id
        farm.expected[made] = {
            str(p.relative_to(farm.source)).encode(): p.read_bytes() for p in farm.source.rglob("*") if p.is_file()
        }
        farm.clock.advance(60)
    farm.prune()
    owner = farm.open()
    assert len(owner.index.shards) == 1
    assert not owner.index.shards[0].trusted
    laptop = farm.house.open(key, cache=farm.base / "laptop")
    assert laptop.index.shards[0].trusted
    farm.check_all()


def test_an_expired_session_cannot_commit(farm: Farm) -> None:
    filled(farm)
    sleeper = farm.open().session("backup")
    sleeper.__enter__()
    farm.clock.advance(25 * 3600)
    farm.prune()
    with pytest.raises(SessionExpired):
        sleeper.require_alive()
    with pytest.raises(SessionExpired):
        sleeper.renew()
    sleeper.__exit__(None, None, None)
    farm.check_clean()


def test_a_session_given_up_while_it_renews_stays_dead(farm: Farm) -> None:
    repository = farm.open()

    class Hasty(FaultyStore):
        def put(self, key: str, data: object) -> None:
            if key.startswith("sessions/") and key.endswith("/1"):
                farm.store.delete(key[:-1] + "0")  # a prune, between the look and the new mark
            super().put(key, data)  # type: ignore[arg-type]

    session = sessions.Session(repository.seals, Hasty(farm.store), farm.clock, "backup")
    with session:
        with pytest.raises(SessionExpired):
            session.renew()
        with pytest.raises(SessionExpired):
            session.require_alive()
    assert not list(farm.store.list("sessions/"))


def test_a_session_that_renews_between_listing_and_reading_is_seen(farm: Farm) -> None:
    repository = farm.open()
    with repository.session("backup") as session:

        class Late(FaultyStore):
            def get(self, key: str) -> bytes:
                if key.endswith("/0"):
                    session.renew()
                return super().get(key)

        found = sessions.seen(repository.seals, Late(farm.store))
        assert [mark.session for mark in found] == [session.id.hex()]


def test_a_snapshot_written_while_its_session_is_given_up_is_taken_back(farm: Farm) -> None:
    filled(farm)
    repository = farm.open()
    before = set(snapshots.names(farm.store))

    class Reaping(FaultyStore):
        def put(self, key: str, data: object) -> None:
            super().put(key, data)  # type: ignore[arg-type]
            if key.startswith("snapshots/"):
                for info in list(farm.store.list("sessions/")):
                    farm.store.delete(info.key)

    source = snapshots.load(repository.seals, farm.store, min(before)).snapshot
    with repository.session("backup") as session, pytest.raises(SessionExpired):
        snapshots.commit(session, repository.seals, Reaping(farm.store), repository.seals.new_session(), source)
    assert set(snapshots.names(farm.store)) == before


def test_many_small_shards_and_packs_become_few(farm: Farm) -> None:
    for n in range(20):
        farm.write(f"f{n}", 6000)
        farm.back_up()
    assert len(farm.open().index.shards) == 20
    farm.prune(Options())
    assert len(farm.open().index.shards) == 1
    assert sum(1 for key in farm.store.objects if key.startswith("packs/")) <= 3
    farm.check_all()
    farm.check_clean()


def test_of_a_chunk_in_two_packs_one_stays(farm: Farm) -> None:
    data = farm.write("same", 60_000)
    one, two = farm.open(), farm.house.open(cache=farm.base / "second")
    writers = [one.writer(), two.writer()]
    assert one.index.shards == two.index.shards == []
    for writer in writers:
        writer.add(1, data)
    for writer in writers:
        writer.finish()
    farm.back_up()
    before = farm.packed()
    farm.prune()
    assert farm.packed() < before
    farm.check_all()
    farm.check_clean()


def test_an_interrupted_prune_is_said_by_its_mark_until_it_expires(farm: Farm) -> None:
    first, _ = filled(farm)
    farm.forget(first)
    faulty = FaultyStore(farm.store, Fault("delete", 1, SafeholdError("No."), prefix="snapshots/"))
    with pytest.raises(SafeholdError, match="No"):
        farm.prune(store=faulty)
    farm.check_all()
    assert farm.prune().snapshots == [first]
    farm.check_clean()


def test_the_store_must_delete(tmp_path: Path) -> None:
    from safehold.storage.store import Capabilities

    farm = Farm(tmp_path)
    farm.back_up()
    fixed = MemoryStore(farm.clock, capabilities=Capabilities(can_delete=False))
    fixed.objects = farm.store.objects
    repository = farm.open(store=fixed)
    with pytest.raises(DeletionRefused):
        prune.execute(repository, prune.plan(repository))


def test_a_pack_that_is_moved_whole_is_not_the_old_one(tmp_path: Path) -> None:
    """It would be deleted as the old one."""
    farm = Farm(tmp_path / "farm")
    farm.write("a", 100_000)
    farm.back_up()
    repository = farm.open()
    for key in [info.key for info in farm.store.list("packs/")]:
        held = open_tables(repository.seals, farm.store, key, read_tail(farm.store, key))
        repacker = Repacker(repository)
        names = {name for chunks in held.chunks for name, _ in chunks}
        repacker.move(PackUse(held.id, held.size, held.kind, held.size, 0, True), names)
        (moved,) = repacker.finish()
        assert moved.record.id != held.id and moved.record.chunks == held.chunks
