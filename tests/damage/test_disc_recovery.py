"""A set of discs known again from its volumes alone, fetched in any order, and its lost and damaged volumes written anew."""

from __future__ import annotations

import shutil
from itertools import permutations
from pathlib import Path
from random import Random
from typing import Any

import pytest
from disc_sets import images, make_set, open_set
from test_disc_damage import burst, fill, made, read_all, wipe

from safehold.core.errors import DamageError, StoreUnreachable
from safehold.core.events import Event, silent
from safehold.storage.volumes.catalogue import Catalogue
from safehold.storage.volumes.discs import record, recovering
from safehold.storage.volumes.discs.opening import Reach
from safehold.storage.volumes.discs.planning import plan
from safehold.storage.volumes.discs.renewing import renew, verify
from safehold.storage.volumes.discs.staging import Gathering, Stage

MIB = 1 << 20


def grown(root: Path, rounds: int = 5) -> dict[str, bytes]:
    """A set written in several runs, with deletions, whose last session was cut short."""
    make_set(root, 5 * MIB, parity="3+2").close()
    stored: dict[str, bytes] = {}
    for round_ in range(rounds):
        store = open_set(root)
        stored |= fill(store, 3, MIB, seed=round_)
        stored[f"snapshots/{round_:064x}"] = b"snapshot %d" % round_
        store.put(f"snapshots/{round_:064x}", stored[f"snapshots/{round_:064x}"])
        for key in sorted(key for key in stored if key.startswith("packs/"))[:1]:
            store.delete(key)
            del stored[key]
        store.close()
    store = open_set(root)
    stored |= fill(store, 1, MIB, seed=99)
    return stored  # and the process is killed


def known_again(root: Path, places: list[Path], **reach: object) -> Path:
    """Forget the machine's state, and recover from what lies at some places."""
    shutil.rmtree(root / "state", ignore_errors=True)
    shown = recovering.look(places, silent)
    catalogue, _ = recovering.recover(root / "state" / "home", shown, silent, 1)
    recovering.fill_mirrors(catalogue, Reach(places=tuple(places), **reach), silent, shown)  # type: ignore[arg-type]
    catalogue.close()
    return root


def compare(root: Path, stored: dict[str, bytes], reach: Reach | None = None) -> None:
    store = open_set(root, reach)
    assert {each.key for each in store.list("")} == set(stored)
    for key, data in stored.items():
        assert store.get(key) == data
    store.close()


def test_a_machine_that_never_saw_it_recovers_a_set_with_its_deletions_and_its_open_end(tmp_path: Path) -> None:
    stored = grown(tmp_path)
    root = known_again(tmp_path, [tmp_path / "images"])
    compare(root, stored)
    store = open_set(root)
    stored |= fill(store, 4, MIB, seed=50)  # and it goes on
    store.close()
    compare(known_again(tmp_path, [tmp_path / "images"]), stored)


def test_without_any_catalogue_every_frame_tells_what_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stored = made(tmp_path)
    for path in images(tmp_path):
        wipe(path, 0, (1 << 20) + 3 * 8192)
        burst(path, 0.05, 0.4)
    monkeypatch.setattr(recovering, "last_catalogue", lambda *_: None)
    shutil.rmtree(tmp_path / "state")
    catalogue, found = recovering.recover(tmp_path / "state/home", recovering.look([tmp_path / "images"], silent), silent, 1)
    catalogue.close()
    assert found is None
    compare(tmp_path, stored)


def test_what_is_left_is_recovered_without_the_first_volume_and_without_parity(tmp_path: Path) -> None:
    make_set(tmp_path, parity="").close()
    store = open_set(tmp_path)
    stored = {"config": b"the config", "keys/00.slot": b"a key"}
    for key, data in stored.items():
        store.put(key, data)
    packs = fill(store, 14, MIB)
    store.close()
    images(tmp_path)[0].unlink()
    warned: list[Event] = []
    shutil.rmtree(tmp_path / "state")
    shown = recovering.look([tmp_path / "images"], silent)
    catalogue, _ = recovering.recover(tmp_path / "state" / "home", shown, silent, 1)
    recovering.fill_mirrors(catalogue, Reach(lost=(1,)), warned.append, shown)
    assert next(each.state for each in catalogue.volumes() if each.number == 1) == "lost"
    catalogue.close()
    store = open_set(tmp_path)
    assert {key: store.get(key) for key in stored} == stored
    left = 0
    for key, data in packs.items():
        try:
            assert store.get(key) == data
            left += 1
        except DamageError:
            continue
    store.close()
    assert left > len(packs) / 2


def test_private_things_are_sealed_and_come_back(tmp_path: Path) -> None:
    catalogue = make_set(tmp_path)
    catalogue.close()
    store = open_set(tmp_path)
    store.seal_with(lambda data: bytes(255 - each for each in data))
    fill(store, 3, MIB)
    uuid = store.ledger.catalogue.volumes()[0].uuid
    store.ledger.catalogue.change(uuid, place="mother's house", label="BLUE")
    store.finish()
    store.close()
    assert all(b"mother" not in path.read_bytes() for path in images(tmp_path))
    shutil.rmtree(tmp_path / "state")
    catalogue, found = recovering.recover(tmp_path / "state/home", recovering.look([tmp_path / "images"], silent), silent, 1)
    assert found is not None
    recovering.take_private(catalogue, found, lambda data: bytes(255 - each for each in data))
    assert next((each.place, each.label) for each in catalogue.volumes()) == ("mother's house", "BLUE")
    catalogue.close()


@pytest.mark.parametrize(("number", "how"), [(1, "lost"), (6, "lost"), (3, "damaged"), (5, "damaged")])
def test_a_volume_is_written_anew_frame_by_frame(tmp_path: Path, number: int, how: str) -> None:
    stored = made(tmp_path)
    path = images(tmp_path)[number - 1]
    before = path.read_bytes()
    if how == "lost":
        path.unlink()
    else:
        burst(path, 0.5, 0.3)
    store = open_set(tmp_path, Reach(lost=(number,) if how == "lost" else ()))
    volume = store.ledger.catalogue.named(str(number))
    if how == "damaged":
        medium = store.reader.shelf.get(number)
        verdict = verify(store.reader, number, medium)
        assert verdict.damaged >= verdict.beyond > 0
    renew(store.reader, store.ledger, volume, path, store.recorder.finisher, 5)
    store.close()
    session = store.ledger.sessions(number)[0]  # but for the catalogue that no other volume has, and for what is no frame
    same = session.across if session.across else session.frames + store.reader.layout.rows(session).parity
    assert path.read_bytes()[128 * 8192 :][: same * 8192] == before[128 * 8192 :][: same * 8192]
    assert read_all(tmp_path, stored) == 0
    for other in images(tmp_path)[:2]:
        other.unlink()
    read_all(tmp_path, stored, Reach(lost=(1, 2)))


def test_small_damage_is_seen_and_within_the_parity(tmp_path: Path) -> None:
    made(tmp_path)
    burst(images(tmp_path)[0], 0.05, 0.5)
    store = open_set(tmp_path)
    verdicts = [verify(store.reader, number, store.reader.shelf.get(number)) for number in (1, 2)]
    store.close()
    assert verdicts[0].damaged > 30
    assert [each.beyond for each in verdicts] == [0, 0]
    assert verdicts[1].damaged == 0


@pytest.mark.parametrize("lost", [(), (1,), (2, 5)])
def test_volumes_are_fetched_in_any_order_each_once_and_gone_on_with(tmp_path: Path, lost: tuple[int, ...]) -> None:
    stored = made(tmp_path)
    shelf = tmp_path / "shelf"
    (tmp_path / "images").rename(shelf)
    every = {int(path.stem[-3:]): path for path in shelf.iterdir()}
    if not lost:
        burst(every[2], 0.4, 0.3)
    random, brought, stop = Random(len(lost)), [], [2]

    def ask(wanted: list[object], sentence: str) -> Path | None:
        stop[0] -= 1
        number = random.choice([each.number for each in wanted])  # type: ignore[attr-defined]
        assert number not in lost
        brought.append(number)
        return every[number] if stop[0] else None

    ranges = [(key, 0, len(data)) for key, data in stored.items() if key.startswith("packs/")]
    stage = Stage(tmp_path / "stage")
    for again in range(3):
        store = open_set(tmp_path, Reach(lost=lost))
        gathering = Gathering(store.ledger, store.reader, stage, ask, silent)
        gathered = plan(store.ledger, 1, ranges, store.reader.layout.frame)
        if again == 0:
            with pytest.raises(StoreUnreachable, match="Insert"):
                gathering.gather(gathered)
            del brought[-1]
            stop[0] = 99
        else:
            gathering.gather(gathered)
            store.reader.stage = stage
            assert all(store.get(key) == data for key, data in stored.items())
        store.close()
    assert len(brought) == len(set(brought)) or not lost
    assert set(brought) <= set(every) - set(lost)
    assert len(set(brought)) == (4 + (not lost) if len(lost) < 2 else 4)
    stage.clear()
    assert not (tmp_path / "stage").exists()


def test_every_order_of_insertion(tmp_path: Path) -> None:
    stored = made(tmp_path)
    (tmp_path / "images").rename(tmp_path / "shelf")
    every = {int(path.stem[-3:]): path for path in (tmp_path / "shelf").iterdir()}
    packs = {key: data for key, data in stored.items() if key.startswith("packs/")}
    for order in permutations((1, 2, 3, 4)):  # those with data; 5 and 6 are parity
        left = list(order)

        def ask(wanted: list[Any], sentence: str, left: list[int] = left) -> Path:
            left.remove(number := next(number for number in left if number in {each.number for each in wanted}))
            return every[number]

        store, stage = open_set(tmp_path), Stage(tmp_path / "stage")
        gathered = plan(store.ledger, 1, [(key, 0, len(data)) for key, data in packs.items()], store.reader.layout.frame)
        Gathering(store.ledger, store.reader, stage, ask, silent).gather(gathered)
        store.reader.stage = stage
        assert left == [] and all(store.get(key) == data for key, data in packs.items()), order
        store.close()
        stage.clear()


def test_one_small_range_asks_for_one_volume_and_reads_little(tmp_path: Path) -> None:
    stored = made(tmp_path, 40 * MIB, parity="8+2")
    key = sorted(stored)[5]
    store = open_set(tmp_path)
    assert len(store.ledger.catalogue.volumes()) >= 9
    gathered = plan(store.ledger, 1, [(key, 1000, 5000)], store.reader.layout.frame)
    assert len(gathered.wanted) == 1
    assert store.get_range(key, 1000, 5000) == stored[key][1000:6000]
    assert store.reader.frames_read <= 2
    store.close()


def test_the_catalogue_of_five_hundred_volumes_is_listed_at_once(tmp_path: Path) -> None:
    import time

    catalogue = make_set(tmp_path, 0, parity="8+2")
    store = open_set(tmp_path)
    with catalogue.transaction() as db:
        rows = [(number, 1, f"packs/{number % 256:02x}/{number:064x}", 32 * MIB, 1, 1, 0) for number in range(1, 32_001)]
        db.executemany("INSERT INTO objects VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
        db.executemany(
            "INSERT INTO pieces VALUES (?, ?, ?, ?, ?)",
            [(number, 0, 513, number % 500 + 1, number) for number in range(1, 32_001)],
        )
    before = time.process_time()
    assert sum(1 for _ in store.list("packs/")) == 32_000
    assert store.size(f"packs/01/{1:064x}") == 32 * MIB
    assert len(record.take(store.ledger, 1, 1, 1, None)) < 3 * MIB
    assert time.process_time() - before < 5
    store.close()
    Catalogue(tmp_path / "state" / "home").close()
