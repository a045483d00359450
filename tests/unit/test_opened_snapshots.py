"""Snapshots that were opened once are not opened again, and nothing else is believed of the local cache."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from safehold.core.events import Event, Warn
from safehold.repo import snapshots
from safehold.repo.batches import MOST, Batches
from safehold.repo.repository import Repository
from safehold.storage.local import LocalStore
from safehold.storage.store import Store
from safehold.storage.wrappers.passthrough import PassThrough
from safehold.testing.builders import Household


class Counting(PassThrough):
    """Which snapshots are read."""

    def __init__(self, inner: Store) -> None:
        super().__init__(inner)
        self.read: list[str] = []

    def get(self, key: str) -> bytes:
        if key.startswith(snapshots.PREFIX):
            self.read.append(key.removeprefix(snapshots.PREFIX))
        return self.inner.get(key)


@pytest.fixture
def events() -> list[Event]:
    return []


@pytest.fixture
def household(tmp_path: Path, events: list[Event]) -> Iterator[Household]:
    yield Household(LocalStore(tmp_path / "repo", create=True), tmp_path / "cache", report=events.append)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "file").write_bytes(b"content")
    return folder


def _file(household: Household) -> Path:
    (found,) = household.open().cache.glob("opened-*")
    return found


def _seen(household: Household) -> tuple[list[str], list[str]]:
    """What is listed by a new program, and what it had to read for that."""
    store = Counting(household.store)
    return [stored.id for stored in household.open(store=store).visible_snapshots()], store.read


def test_each_is_opened_once(household: Household, source: Path) -> None:
    first = household.back_up(source).id
    assert _seen(household) == ([first], [first])
    assert _seen(household) == ([first], [])
    second = household.back_up(source).id
    assert _seen(household) == ([first, second], [second])
    assert _seen(household) == ([first, second], [])
    stored = household.open().visible_snapshots()
    assert stored == [snapshots.load(household.open().seals, household.store, each) for each in (first, second)]
    assert _file(household).stat().st_mode & 0o777 == 0o600


def test_an_object_that_was_changed_since_is_read_and_found_damaged(
    household: Household, source: Path, tmp_path: Path, events: list[Event]
) -> None:
    first, second = household.back_up(source).id, household.back_up(source).id
    _seen(household)
    (path,) = (path for path in (tmp_path / "repo").rglob(first) if path.is_file())
    path.chmod(0o600)
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    os.utime(path, ns=(1, 1))
    assert _seen(household) == ([second], [first])
    assert [event.code for event in events if isinstance(event, Warn)] == ["snapshot-damaged"]


@pytest.mark.parametrize("place", [0, 8, 30, -1])
def test_a_damaged_cache_is_not_believed(household: Household, source: Path, place: int) -> None:
    first = household.back_up(source).id
    _seen(household)
    content = bytearray(_file(household).read_bytes())
    content[place] ^= 1
    _file(household).write_bytes(content)
    assert _seen(household) == ([first], [first])
    assert _seen(household) == ([first], [])


def test_a_torn_cache_is_worth_what_is_whole_of_it(household: Household, source: Path) -> None:
    first = household.back_up(source).id
    _seen(household)
    whole = _file(household).stat().st_size
    second = household.back_up(source).id
    _seen(household)
    os.truncate(_file(household), whole + 20)
    assert _seen(household) == ([first, second], [second])
    assert _seen(household) == ([first, second], [])


def test_the_cache_of_another_key_tells_nothing(household: Household, source: Path) -> None:
    reader = household.add_key("reader", "desk")
    first = household.back_up(source).id
    _seen(household)
    theirs = _file(household).read_bytes()
    store = Counting(household.store)
    repository = household.open(reader, store=store)
    foreign = repository.cache / f"opened-{repository.keyring.slot_id.hex()[:16]}"
    foreign.write_bytes(theirs)
    assert [stored.id for stored in repository.visible_snapshots()] == [first]
    assert store.read == [first]


def test_a_batch_counts_only_in_its_place_and_for_its_use(household: Household, tmp_path: Path) -> None:
    seals = household.open().seals
    one, other = Batches(seals, tmp_path / "one", "a"), Batches(seals, tmp_path / "one", "b")
    one.replace(b"first")
    one.add(b"second")
    one.add(b"third")
    (path,) = (tmp_path / "one").iterdir()
    content = path.read_bytes()
    assert Batches(seals, tmp_path / "one", "a").read() == [b"first", b"second", b"third"]
    (tmp_path / "one" / path.name.replace("a-", "b-")).write_bytes(content)
    assert other.read() == []
    ends = [8]
    while ends[-1] < len(content):
        ends.append(ends[-1] + 4 + int.from_bytes(content[ends[-1] : ends[-1] + 4], "little"))
    pieces = [content[start:end] for start, end in pairwise(ends)]
    path.write_bytes(content[:8] + pieces[0] + pieces[2] + pieces[1])
    read = Batches(seals, tmp_path / "one", "a")
    assert read.read() == [b"first"]
    assert read.crowded


def test_what_two_programs_add_at_once_is_not_mixed_up(household: Household, tmp_path: Path) -> None:
    seals = household.open().seals
    Batches(seals, tmp_path, "a").replace(b"0")
    one, other = Batches(seals, tmp_path, "a"), Batches(seals, tmp_path, "a")
    assert one.read() == other.read() == [b"0"]
    one.add(b"one")
    other.add(b"other")
    assert Batches(seals, tmp_path, "a").read() == [b"0", b"one"]
    for number in range(MOST):
        one.add(b"%d" % number)
    assert one.crowded
    one.replace(b"all")
    assert Batches(seals, tmp_path, "a").read() == [b"all"]


def test_what_is_gone_is_let_go(household: Household, source: Path) -> None:
    ids = [household.back_up(source).id for _ in range(4)]
    _seen(household)
    before = _file(household).stat().st_size
    for each in ids[:3]:
        household.store.delete(snapshots.PREFIX + each)
    last = household.back_up(source).id
    assert _seen(household) == ([ids[3], last], [last])
    assert _file(household).stat().st_size < before
    assert _seen(household) == ([ids[3], last], [])


def test_a_cache_that_cannot_be_written_costs_only_time(household: Household, source: Path) -> None:
    first = household.back_up(source).id
    blocked = _blocked(household.open())
    assert [stored.id for stored in blocked.visible_snapshots()] == [first]


def _blocked(repository: Repository) -> Repository:
    slot = repository.keyring.slot_id.hex()[:16]
    (repository.cache / f"opened-{slot}").mkdir(parents=True)
    return repository
