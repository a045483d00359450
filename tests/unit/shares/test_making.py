"""What a share hands out: everything that is meant, and nothing else."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from shares_fixtures import Shelf, Told, Words, contents, entries, key_for, keys_of, make, open_made, sealed_segments

from safehold.codec import compression
from safehold.codec.share_secret import Link
from safehold.core.clock import ManualClock
from safehold.ops import share
from safehold.repo import snapshots
from safehold.repo.seals import KIND_NAMES
from safehold.repo.shares import records
from safehold.repo.shares.opening import OpenShare
from safehold.testing.builders import Household
from safehold.testing.stores import MemoryStore

FOREIGN = b"NEIGHBOURSECRET"
OWN = b"SHAREDWITHFRIEND"


@pytest.fixture
def house(tmp_path: Path) -> Household:
    clock = ManualClock()
    return Household(MemoryStore(clock), tmp_path / "cache", clock=clock)


def home(base: Path, *, files: int = 60, size: int = 3000) -> Path:
    """Three folders of small files; the middle one is for the friend."""
    words = Words()
    for folder, mark in (("a-mine", FOREIGN), ("photos", OWN), ("z-mine", FOREIGN)):
        for number in range(files):
            path = base / "home" / folder / f"d{number % 7}" / f"{number:04}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(words.text(size, mark + b"%d " % number))
    return base / "home"


def last(house: Household) -> snapshots.Stored:
    return house.open().visible_snapshots()[-1]


def on_disk(folder: Path) -> dict[bytes, bytes]:
    return {
        os.fsencode(str(p.relative_to(folder))): p.read_bytes()
        for p in folder.rglob("*")
        if p.is_file() and not p.is_symlink()
    }


def readable(house: Household, keys: dict[bytes, bytes], repository: bytes) -> dict[bytes, bytes]:
    """What can be made of every segment in the store with every key of a share, as whatever kind."""
    found = {}
    for segment_id, sealed in sealed_segments(house.store).items():
        for key in set(keys.values()):
            for kind in KIND_NAMES:
                aad = b"safehold/1 segment\0" + repository + bytes([kind]) + segment_id
                try:
                    found[segment_id] = compression.unpack(AESGCM(key).decrypt(bytes(12), sealed, aad), 1 << 24)
                except InvalidTag:
                    continue
    return found


def test_a_friend_gets_the_folder_and_nothing_beside_it(house: Household, tmp_path: Path) -> None:
    base = home(tmp_path)
    house.back_up(base)
    made = make(house.open(), last(house), base / "photos")
    opened = open_made(house.store, made)
    assert contents(opened) == on_disk(base / "photos")
    assert opened.root.name == "photos"
    assert {entry.name for entry in entries(opened)}.isdisjoint({b"home", b"a-mine", b"z-mine", b"photos"})
    opened_bytes = readable(house, keys_of(opened), house.open().id)
    assert not [raw for raw in opened_bytes.values() if FOREIGN in raw]
    assert opened_bytes.keys() == set(made.record.segments)


def test_bytes_of_neighbours_are_in_nothing_that_was_stored_for_the_share(house: Household, tmp_path: Path) -> None:
    base = home(tmp_path, files=30)
    house.back_up(base)
    made = make(house.open(), last(house), base / "photos")
    opened = open_made(house.store, made)
    shelf = Shelf(house.store, made.record)
    for each in {segment.id: segment for part in [opened.root.part] for segment in part.segments}.values():
        raw = compression.unpack(
            AESGCM(each.key).decrypt(
                bytes(12), shelf.segment(each), b"safehold/1 segment\0" + house.open().id + b"\1" + each.id
            ),
            1 << 24,
        )
        assert OWN in raw and FOREIGN not in raw
    manifest = shelf.manifest(0, 1 << 30)
    keyring = house.open().keyring
    secrets = [keyring.id_key, keyring.index_key, *keyring.epoch_privates.values()]
    for data in (encoded_all(opened), manifest):
        assert not [secret for secret in secrets if secret in data]


def encoded_all(opened: OpenShare) -> bytes:
    from shares_fixtures import encoded

    return encoded(opened.root) + b"".join(encoded(opened.part(n + 1)) for n in range(len(opened.root.parts)))


def test_large_files_are_used_where_they_lie(house: Household, tmp_path: Path) -> None:
    base = home(tmp_path, files=5)
    noise = random.Random(5).randbytes(24 << 20)
    (base / "photos" / "film.bin").write_bytes(noise)
    (base / "a-mine" / "film.bin").write_bytes(random.Random(6).randbytes(3 << 20))
    house.back_up(base)
    made = make(house.open(), last(house), base / "photos")
    assert made.added <= 0.03 * len(noise)
    assert contents(open_made(house.store, made)) == on_disk(base / "photos")


def test_a_folder_of_many_small_files_among_others_costs_little(house: Household, tmp_path: Path) -> None:
    words = Words(3)
    for folder, count in (("a", 400), ("many", 2500), ("z", 400)):
        (tmp_path / "home" / folder).mkdir(parents=True)
        for number in range(count):
            (tmp_path / "home" / folder / f"{number:05}.txt").write_bytes(words.text(12_000, b"%s%d " % (folder.encode(), number)))
    house.back_up(tmp_path / "home")
    made = make(house.open(), last(house), tmp_path / "home" / "many")
    shared = 2500 * 12_000
    print("small files:", made.added, made.used, shared, made.added / shared)
    assert made.added <= 0.03 * shared
    assert contents(open_made(house.store, made)) == on_disk(tmp_path / "home" / "many")


def test_one_file(house: Household, tmp_path: Path) -> None:
    base = home(tmp_path)
    house.back_up(base)
    made = make(house.open(), last(house), base / "photos" / "d3" / "0003.txt")
    opened = open_made(house.store, made)
    assert contents(opened) == {b"0003.txt": (base / "photos" / "d3" / "0003.txt").read_bytes()}
    assert made.record.segments == []


def test_a_whole_snapshot(house: Household, tmp_path: Path) -> None:
    base = home(tmp_path, files=4)
    house.back_up(base)
    opened = open_made(house.store, make(house.open(), last(house), b""))
    assert opened.root.name == ""
    below = os.fsencode(str(base)).strip(b"/") + b"/"
    assert contents(opened) == {below + path: data for path, data in on_disk(base).items()}


def test_an_older_state_of_a_page_is_not_shared(house: Household, tmp_path: Path) -> None:
    """A chunk of pages of which one was overwritten since holds bytes that the newer snapshot does not have."""
    disk = tmp_path / "disk.img"
    noise = random.Random(9)
    old = bytearray(noise.randbytes(4 << 20))
    disk.write_bytes(old)
    back_up_paged(house, disk)
    first = bytes(old)
    old[1 << 20 : (1 << 20) + 8192 * 12] = noise.randbytes(8192 * 12)
    disk.write_bytes(old)
    back_up_paged(house, disk)
    repository = house.open()
    made = make(repository, last(house), disk)
    opened = open_made(house.store, made)
    assert contents(opened) == {b"disk.img": bytes(old)}
    gone = first[(1 << 20) + 4096 : (1 << 20) + 4160]
    assert not [raw for raw in readable(house, keys_of(opened), repository.id).values() if gone in raw]


def back_up_paged(house: Household, disk: Path) -> None:
    house.back_up(disk, paged=True)


def test_the_link_shows_again_and_opens(house: Household, tmp_path: Path) -> None:
    base = home(tmp_path, files=3)
    house.back_up(base)
    told = Told()
    made = make(house.open(), last(house), base / "photos", told)
    (record,) = share.shares(house.open())
    link = Link.parse(share.link_of(record))
    assert (link.host, link.share) == ("safehold.example", made.record.share)
    assert link.secret.value == made.record.secret and told.published[record.share] == record


def test_a_password_takes_part_in_the_key(house: Household, tmp_path: Path) -> None:
    from safehold.core.errors import UsageError, WrongKey

    base = home(tmp_path, files=3)
    house.back_up(base)
    made = make(house.open(), last(house), base / "photos", password="over the phone")
    assert contents(open_made(house.store, made, "over the phone")) == on_disk(base / "photos")
    with pytest.raises(WrongKey):
        open_made(house.store, made, "over the fence")
    with pytest.raises(UsageError):
        open_made(house.store, made)


def test_a_wrong_fragment_opens_nothing(house: Household, tmp_path: Path) -> None:
    from safehold.core.errors import WrongKey
    from safehold.repo.shares.keys import ShareKey

    base = home(tmp_path, files=3)
    house.back_up(base)
    made = make(house.open(), last(house), base / "photos")
    right = key_for(made)
    with pytest.raises(WrongKey):
        OpenShare(ShareKey(right.share, bytes(32)), Shelf(house.store, made.record))


def test_latest_follows_with_the_same_link(house: Household, tmp_path: Path) -> None:
    base = home(tmp_path, files=5)
    house.back_up(base)
    told = Told()
    made = make(house.open(), last(house), base / "photos", told, latest=True)
    assert share.refresh(house.open(), made.record, told) is None
    (base / "photos" / "new.txt").write_bytes(b"new " + OWN)
    assert isinstance(house.clock, ManualClock)
    house.clock.advance(60)
    house.back_up(base)
    newer = share.refresh(house.open(), share.chosen(house.open(), made.record.share.hex()), told)
    assert newer is not None and newer.link == made.link
    record = told.published[made.record.share]
    opened = OpenShare(key_for(made), Shelf(house.store, record))
    assert contents(opened) == on_disk(base / "photos")
    assert opened.root.generation == 1


def test_a_revoked_share_shows_no_link(house: Household, tmp_path: Path) -> None:
    base = home(tmp_path, files=3)
    house.back_up(base)
    told = Told()
    made = make(house.open(), last(house), base / "photos", told)
    share.revoke(house.open(), made.record, told)
    (record,) = share.shares(house.open())
    assert record.revoked and share.link_of(record) == "" and told.revoked == {record.share}
    assert records.live_segments(
        records.load_all(house.open().seals, house.store, print).values(), house.open().clock.now_ns()
    ) == frozenset()
