"""A prune breaks no living share, and keeps nothing for one that is over."""

from __future__ import annotations

from pathlib import Path

import msgspec
from prune_fixtures import DAY, EVERYTHING, Farm
from shares_fixtures import Shelf, Told, contents, key_for

from safehold.ops import share
from safehold.ops.share import Made, Options
from safehold.repo.prune import Options as PruneOptions
from safehold.repo.shares import records
from safehold.repo.shares.opening import OpenShare


def shared(farm: Farm, folder: str, told: Told | None = None, **options: object) -> Made:
    repository = farm.open()
    path = str(farm.source / folder).strip("/").encode()
    stored = repository.visible_snapshots()[-1]
    return share.create(repository, stored, path, Options(name=folder, **options), told or Told())  # type: ignore[arg-type]


def got(farm: Farm, made: Made) -> dict[bytes, bytes]:
    return contents(OpenShare(key_for(made), Shelf(farm.store, made.record)))


def filled(farm: Farm) -> dict[bytes, bytes]:
    """A folder to share, whose segments are of its own and of others; two of its files are in a segment with a neighbour's."""
    expected = {}
    for number in range(4):
        expected[b"large%d" % number] = farm.write(f"photos/large{number}", 600_000)
        farm.write(f"mine/large{number}", 700_000)
    for number in range(20):
        expected[b"small%02d" % number] = farm.write(f"photos/small{number:02}", 3000)
        farm.write(f"mine/small{number:02}", 3000)
    return expected


def test_what_a_living_share_needs_outlives_its_snapshot(tmp_path: Path) -> None:
    farm = Farm(tmp_path)
    expected = filled(farm)
    first = farm.back_up()
    made = shared(farm, "photos")
    assert made.record.segments
    for path in (farm.source / "photos").iterdir():
        path.unlink()
    farm.back_up()
    farm.forget(first)
    before = {info.key for info in farm.store.list("packs/")}
    farm.prune()
    assert before - {info.key for info in farm.store.list("packs/")}, "it was packed again"
    assert got(farm, made) == expected
    farm.check_all()


def test_a_pack_that_only_a_share_needs_stays(tmp_path: Path) -> None:
    farm = Farm(tmp_path)
    expected = {b"large": farm.write("photos/large", 600_000)}
    first = farm.back_up()
    made = shared(farm, "photos")
    (farm.source / "photos" / "large").unlink()
    farm.write("mine/other", 600_000)
    farm.back_up()
    farm.forget(first)
    farm.prune()
    assert made.record.segments and got(farm, made) == expected
    share.revoke(farm.open(), made.record, Told())
    before = farm.packed()
    farm.prune()
    assert farm.packed() <= before - 600_000


def test_what_was_taken_back_is_kept_no_longer(tmp_path: Path) -> None:
    farm = Farm(tmp_path)
    filled(farm)
    first = farm.back_up()
    made = shared(farm, "photos")
    for path in (farm.source / "photos").iterdir():
        path.unlink()
    farm.back_up()
    farm.forget(first)
    farm.prune()
    kept = farm.packed()
    share.revoke(farm.open(), made.record, Told())
    farm.clock.advance(2 * DAY)
    farm.prune()
    assert farm.packed() <= kept - 4 * 600_000
    assert [info.key for info in farm.store.list("shares/")] == []
    assert share.shares(farm.open()) == []


def test_what_has_expired_is_kept_no_longer_and_not_for_a_day_less(tmp_path: Path) -> None:
    farm = Farm(tmp_path)
    expected = filled(farm)
    first = farm.back_up()
    made = shared(farm, "photos", expires_ns=farm.clock.now_ns() + int(10 * DAY * 1e9))
    farm.forget(first)
    farm.write("mine/other", 5000)
    farm.back_up()
    farm.clock.advance(10.5 * DAY)
    farm.prune()
    assert got(farm, made) == expected
    farm.clock.advance(1 * DAY)
    farm.prune()
    assert [info.key for info in farm.store.list("shares/")] == []


def test_older_states_of_a_share_of_the_latest_go(tmp_path: Path) -> None:
    farm = Farm(tmp_path)
    filled(farm)
    farm.back_up()
    told = Told()
    made = shared(farm, "photos", told, latest=True)
    for number in range(3):
        farm.write(f"photos/new{number}")
        farm.back_up()
        newer = share.refresh(farm.open(), share.chosen(farm.open(), made.record.share.hex()), told)
        assert newer is not None
    assert len([info for info in farm.store.list("shares/") if info.key.endswith(".manifest")]) == 4
    farm.clock.advance(2 * DAY)
    farm.prune()
    keys = [info.key for info in farm.store.list("shares/")]
    assert sorted({key.rpartition(".")[2] for key in keys}) == ["data", "manifest", "record"]
    assert len([key for key in keys if not key.endswith(".data")]) == 2
    record = told.published[made.record.share]
    opened = contents(OpenShare(key_for(made), Shelf(farm.store, record)))
    assert b"new2" in opened and len(opened) == 27


def test_objects_of_a_share_that_was_never_finished_go_after_a_day(tmp_path: Path) -> None:
    farm = Farm(tmp_path)
    filled(farm)
    farm.back_up()
    farm.store.put(f"shares/{'0' * 32}/{'1' * 64}.data", b"left behind")
    farm.prune()
    assert len(list(farm.store.list("shares/"))) == 1
    farm.clock.advance(1.1 * DAY)
    farm.prune()
    assert list(farm.store.list("shares/")) == []


def test_a_record_that_a_writer_made_is_not_believed(tmp_path: Path) -> None:
    farm = Farm(tmp_path)
    filled(farm)
    farm.back_up()
    made = shared(farm, "photos")
    writer = farm.house.open(farm.house.add_key("writer", "laptop"))
    forged = msgspec.structs.replace(made.record, generation=99, segments=[b"x" * 16], name="forged")
    records.write(writer.seals, farm.store, forged)
    (found,) = share.shares(farm.open())
    assert found == made.record


def test_a_share_of_what_a_prune_has_condemned_is_packed_again(tmp_path: Path) -> None:
    """Segments of packs that are about to go are not used where they lie."""
    farm = Farm(tmp_path)
    expected = filled(farm)
    farm.back_up()
    repository = farm.open()
    from safehold.repo import condemned
    from safehold.repo.condemned import Condemned
    from safehold.repo.packs import id_of

    packs = [pack for info in farm.store.list("packs/") if (pack := id_of(info.key))]
    act = condemned.write(repository.seals, farm.store, Condemned(time_ns=farm.clock.now_ns(), packs=packs))
    made = shared(farm, "photos")
    assert made.record.segments == []
    assert got(farm, made) == expected
    farm.store.delete(act)
    farm.prune(PruneOptions(max_unused=1.0))
    assert EVERYTHING.empty_trash
