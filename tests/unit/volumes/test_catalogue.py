"""The catalogue of a volume set, and the kinds of media."""

from __future__ import annotations

import os
import sqlite3
import threading

import pytest

from safehold.core.errors import FormatError, StoreError, UsageError
from safehold.storage.volumes import catalogue as catalogues
from safehold.storage.volumes.catalogue import Catalogue, Volume, VolumeSet
from safehold.storage.volumes.profiles import PROFILES, parse_capacity, profile

SET = VolumeSet(id="11" * 16, name="home", kind="drives", media="drive", created_ns=5, settings={"images": "/x"})


def volume(number, **values):
    return Volume(uuid=f"{number:032x}", number=number, label=f"Stick {number}", kind="drive", **values)


@pytest.fixture
def catalogue(tmp_path):
    made = Catalogue(catalogues.folder_of(tmp_path, "home"), create=True)
    made.put_set(SET)
    yield made
    made.close()


def test_volumes_are_kept_and_changed(catalogue, tmp_path):
    catalogue.put(volume(2, settings={"a": [1]}, parity=True))
    catalogue.put(volume(1, place="safe"))
    catalogue.change(volume(1).uuid, state="verified", seen_ns=7)
    catalogue.close()
    again = Catalogue(tmp_path / "volumes" / "home")
    assert again.set == SET
    assert again.volumes() == [volume(1, place="safe", state="verified", seen_ns=7), volume(2, settings={"a": [1]}, parity=True)]
    assert again.next_number() == 3
    assert catalogues.names(tmp_path) == ["home"]
    again.close()


def test_a_volume_is_found_by_number_label_or_uuid(catalogue):
    catalogue.put(volume(1))
    catalogue.put(Volume(uuid="ab" * 16, number=2, label="Stick B", kind="drive"))
    assert catalogue.named("1").number == 1
    assert catalogue.named("stick b").number == 2
    assert catalogue.named("abab").number == 2
    with pytest.raises(UsageError, match="No volume of home is called 7"):
        catalogue.named("7")
    with pytest.raises(KeyError):
        catalogue.change("ff" * 16, place="x")
    with pytest.raises(ValueError, match="gone"):
        catalogue.put(volume(3, state="gone"))


def test_a_transaction_is_whole_or_not_at_all(catalogue):
    with pytest.raises(RuntimeError), catalogue.transaction():
        catalogue.put(volume(1))
        raise RuntimeError
    assert catalogue.volumes() == []


def test_threads_share_it(catalogue):
    def add(number):
        catalogue.put(volume(number))

    threads = [threading.Thread(target=add, args=(number,)) for number in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(catalogue.volumes()) == 8


def test_what_is_forgotten_can_be_taken_back(catalogue):
    catalogue.forget(["aa", "bb"], 10)
    catalogue.undelete(["bb", "cc"], 20)
    assert catalogue.forgotten() == {"aa": 10}
    assert catalogue.undeleted() == {"bb": 20}
    catalogue.forget(["bb"], 30)
    assert catalogue.forgotten() == {"aa": 10, "bb": 30}


def test_a_dump_brings_everything_back(catalogue, tmp_path):
    catalogue.extend("CREATE TABLE IF NOT EXISTS objects (key TEXT PRIMARY KEY)")
    with catalogue.transaction() as db:
        db.execute("INSERT INTO objects VALUES ('packs/1')")
    catalogue.put(volume(1))
    found = catalogues.restore(catalogue.dump(), tmp_path / "other")
    assert found.set == SET and found.volumes() == [volume(1)]
    assert found.rows("SELECT key FROM objects")[0]["key"] == "packs/1"
    found.close()
    with pytest.raises(FormatError):
        catalogues.restore(os.urandom(5000), tmp_path / "third")
    assert not list((tmp_path / "third").iterdir())


def test_what_is_not_there_or_not_ours_is_said(tmp_path):
    with pytest.raises(UsageError, match="knows no volume set home"):
        Catalogue(tmp_path / "home")
    with pytest.raises(UsageError, match="cannot be the name"):
        catalogues.folder_of(tmp_path, "../x")
    made = Catalogue(tmp_path / "home", create=True)
    assert not made.exists
    with pytest.raises(StoreError, match="never finished"):
        assert made.set
    made.close()
    with sqlite3.connect(tmp_path / "home" / "catalogue.sqlite") as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(StoreError, match="newer"):
        Catalogue(tmp_path / "home")
    (tmp_path / "home" / "catalogue.sqlite").write_bytes(b"x" * 5000)
    for name in ("catalogue.sqlite-wal", "catalogue.sqlite-shm"):
        (tmp_path / "home" / name).unlink(missing_ok=True)
    with pytest.raises(StoreError, match="cannot be used"):
        Catalogue(tmp_path / "home")


def test_media_and_sizes():
    assert profile("cd").capacity == 736_100_352
    assert profile("floppy").capacity == 1_474_560 and profile("floppy").frame == 8192
    assert profile("other", 5_000_000).frame == 8192
    assert profile("BD", parse_capacity("20G")).capacity == 20_000_000_000
    assert all(each.capacity % each.sector == 0 for each in PROFILES)
    assert [parse_capacity(text) for text in ("700M", "650MiB", "1,5"[:1], "4.7G")] == [
        700_000_000,
        681_574_400,
        1,
        4_700_000_000,
    ]
    for wrong in ("", "x", "0", "-5"):
        with pytest.raises(UsageError):
            parse_capacity(wrong)
    for name, size in (("tape", 0), ("other", 0), ("cd", 10**9)):
        with pytest.raises(UsageError):
            profile(name, size)


def test_what_another_machine_knows_is_learned(catalogue, tmp_path):
    other = Catalogue(tmp_path / "other", create=True)
    other.put_set(SET)
    for each in volume(1), volume(2):
        other.put(each)
    other.forget(["aa", "bb", "cc"], 10)
    other.undelete(["bb"], 30)
    catalogue.put(Volume(uuid="ee" * 16, number=2, label="Mine", kind="drive"))
    catalogue.forget(["bb"], 20)
    catalogue.undelete(["cc"], 20)
    catalogue.forget(["cc"], 40)
    catalogue.merge(other.dump())
    assert catalogue.forgotten() == {"aa": 10, "cc": 40} and catalogue.undeleted() == {"bb": 30}
    assert [(each.number, each.label) for each in catalogue.volumes()] == [(1, "Stick 1"), (2, "Mine"), (3, "Stick 2")]
    for rotten in b"", b"rotten" * 100, other.dump()[:3000]:
        with pytest.raises(FormatError):
            catalogue.merge(rotten)
    other.close()
