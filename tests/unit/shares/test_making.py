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
from safehold.core.errors import DamageError, StoreUnreachable, UsageError, WrongKey
from safehold.ops import share
from safehold.repo import shards, snapshots
from safehold.repo.packs import Footer, PackRecord, SegmentRef, key_of, open_tables, read_tail
from safehold.repo.repository import Repository
from safehold.repo.seals import DATA, KIND_NAMES
from safehold.repo.shards import SegmentPlace
from safehold.repo.shares import records
from safehold.repo.shares.keys import ShareKey
from safehold.repo.shares.opening import OpenShare
from safehold.testing.builders import Household
from safehold.testing.stores import MemoryStore

FOREIGN = b"NEIGHBOURSECRET"
OWN = b"SHAREDWITHFRIEND"


class Ticking(ManualClock):
    """Every look is a second later, so that no two backups are of one moment."""

    def now_ns(self) -> int:
        self.advance(1)
        return super().now_ns()


@pytest.fixture
def house(tmp_path: Path) -> Household:
    clock = Ticking()
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
        os.fsencode(str(p.relative_to(folder))): p.read_bytes() for p in folder.rglob("*") if p.is_file() and not p.is_symlink()
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
            AESGCM(each.key).decrypt(bytes(12), shelf.segment(each), b"safehold/1 segment\0" + house.open().id + b"\1" + each.id),
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
            (tmp_path / "home" / folder / f"{number:05}.txt").write_bytes(
                words.text(24_000, b"%s%d " % (folder.encode(), number))
            )
    house.back_up(tmp_path / "home")
    made = make(house.open(), last(house), tmp_path / "home" / "many")
    assert made.added <= 0.03 * 2500 * 24_000
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
    base = home(tmp_path, files=3)
    house.back_up(base)
    made = make(house.open(), last(house), base / "photos", password="over the phone")
    assert contents(open_made(house.store, made, "over the phone")) == on_disk(base / "photos")
    with pytest.raises(WrongKey):
        open_made(house.store, made, "over the fence")
    with pytest.raises(UsageError):
        open_made(house.store, made)


def test_a_wrong_fragment_opens_nothing(house: Household, tmp_path: Path) -> None:
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
    assert (
        records.live_segments(records.load_all(house.open().seals, house.store, print).values(), house.open().clock.now_ns())
        == frozenset()
    )


def test_what_could_not_be_published_is_published_later(house: Household, tmp_path: Path) -> None:
    class Broken(Told):
        def publish(self, record: records.Record) -> None:
            raise StoreUnreachable("The line is down.")

    base = home(tmp_path, files=3)
    house.back_up(base)
    with pytest.raises(StoreUnreachable):
        make(house.open(), last(house), base / "photos", Broken())
    (record,) = share.shares(house.open())
    told = Told()
    assert share.refresh(house.open(), record, told) is None
    assert told.published == {record.share: record}
    assert contents(OpenShare(ShareKey(record.share, record.key), Shelf(house.store, record))) == on_disk(base / "photos")


def test_what_only_a_writer_vouches_for_is_proven_first(house: Household, tmp_path: Path) -> None:
    """A hijacked writer lists a chunk as filling a neighbour's segment, to have that one's key handed out."""
    size = 256 * 1024 + 1  # one chunk, wherever the seed would cut
    neighbour, own = (tmp_path / "neighbour" / "secret.bin"), (tmp_path / "own" / "mine.bin")
    for path, seed in ((neighbour, 1), (own, 2)):
        path.parent.mkdir()
        path.write_bytes(random.Random(seed).randbytes(size))
    house.back_up(neighbour)
    writer = house.open(house.add_key("writer", "laptop"))
    house.back_up(own, repository=writer)
    repository = house.open()
    name = repository.reader.name(DATA, own.read_bytes())
    place = repository.index.find(name)
    assert place is not None and not repository.index.vouches(name, place)
    honest = make(repository, last(house), own)
    assert contents(open_made(house.store, honest)) == {b"mine.bin": own.read_bytes()}
    target = repository.index.find(repository.reader.name(DATA, neighbour.read_bytes()))
    assert target is not None and (target.offset, target.length) == (0, size)
    unproven = [shard for shard in repository.index.shards if not shard.trusted]
    kept = [key_of(pack) for shard in unproven for pack, _, kind in shard.packs() if kind != DATA]
    for shard in unproven:
        house.store.delete(f"index/{shard.name}")
    lying_shard(house.open(house.add_key("writer", "another"), cache=tmp_path / "theirs"), name, size, target.segment, kept)
    with pytest.raises(DamageError):
        make(house.open(cache=tmp_path / "fresh"), last(house), own)


def lying_shard(writer: Repository, name: bytes, size: int, target: SegmentPlace, kept: list[str]) -> None:
    """``kept``: packs that it lists as they are."""
    true = [open_tables(writer.seals, writer.store, key, read_tail(writer.store, key)) for key in kept]
    segment = SegmentRef(target.id, 0, target.offset, target.length, 0, 0, bytes(32))
    record = PackRecord(target.pack, DATA, 1 << 20, Footer([target.session], [segment]), [[(name, size)]])
    writer.index.publish(shards.encode([record, *true]))
