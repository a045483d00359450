"""One drive catches up from another."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from safehold.core.errors import StoreUnreachable
from safehold.core.events import Event, Warn, silent
from safehold.ops import forget
from safehold.ops.volumes import shared_keys
from safehold.ops.volumes.catching import catch_up, lacking
from safehold.repo import prune, snapshots
from safehold.repo.check import CheckOptions, check
from safehold.repo.keys.admin import rotate
from safehold.repo.repository import Repository
from safehold.testing.builders import Household
from safehold.testing.stores import MemoryStore


class Twins:
    """Two stores of one repository's config and keys."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.a, self.b = MemoryStore(), MemoryStore()
        self.house = Household(self.a, base / "cache-a")
        self.source = base / "source"
        self.source.mkdir()
        shared_keys.give_all(self.a, self.b)

    def open(self, name: str) -> Repository:
        return self.house.open(store=getattr(self, name), cache=self.base / f"cache-{name}")

    def write(self, name: str, size: int) -> None:
        (self.source / name).write_bytes(os.urandom(size))

    def back_up(self, name: str) -> str:
        return self.house.back_up(self.source, repository=self.open(name)).id

    def catch_up(self, source: str, target: str) -> tuple[list[str], int]:
        one, other = self.open(source), self.open(target)
        come = catch_up(one, other, lacking(one, other, ()))
        return come.snapshots, come.packs

    def clean(self, name: str) -> bool:
        return check(self.open(name), CheckOptions(read_data=100)).clean


@pytest.fixture
def twins(tmp_path: Path) -> Twins:
    return Twins(tmp_path)


def packs(store: MemoryStore) -> set[str]:
    return {key for key in store.objects if key.startswith("packs/")}


def test_packs_and_snapshots_come_over_as_they_are(twins: Twins) -> None:
    twins.write("large", 3_000_000)
    twins.write("small", 100)
    first = twins.back_up("a")
    twins.write("small", 200)
    second = twins.back_up("a")
    assert twins.catch_up("a", "b") == ([first, second], len(packs(twins.a)))
    assert packs(twins.b) == packs(twins.a)
    for name in first, second:
        assert twins.b.objects[snapshots.PREFIX + name] == twins.a.objects[snapshots.PREFIX + name]
    assert twins.clean("b")
    assert twins.catch_up("a", "b") == ([], 0)
    twins.write("small", 300)
    third = twins.back_up("b")
    assert twins.catch_up("b", "a")[0] == [third] and twins.clean("a")


def test_of_a_pack_that_is_hardly_needed_only_that_comes(twins: Twins) -> None:
    twins.write("large", 3_000_000)
    twins.write("small", 20_000)
    gone = twins.back_up("a")
    (twins.source / "large").unlink()
    kept = twins.back_up("a")
    forget.forget(twins.open("a"), [gone])
    assert twins.catch_up("a", "b")[0] == [kept]
    assert sum(len(twins.b.objects[key]) for key in packs(twins.b)) < 200_000
    assert twins.clean("b")


def test_packs_that_the_target_is_about_to_delete_are_not_built_upon(twins: Twins) -> None:
    twins.write("large", 2_000_000)
    first = twins.back_up("a")
    twins.catch_up("a", "b")
    twins.write("more", 10)
    second = twins.back_up("a")
    target = twins.open("b")
    forget.forget(target, [first])
    prune.execute(target, prune.plan(target, prune.Options(empty_trash=True, confirm_large=True)))
    assert packs(twins.b) == set()
    assert twins.catch_up("a", "b")[0] == [second]  # and not the first
    assert twins.clean("b")
    target = twins.open("b")
    prune.execute(target, prune.plan(target, prune.Options(empty_trash=True, confirm_large=True)))
    assert twins.clean("b") and [each.id for each in twins.open("b").visible_snapshots()] == [second]


def test_it_goes_on_after_every_interruption(twins: Twins) -> None:
    twins.write("large", 2_000_000)
    wanted = [twins.back_up("a")]
    twins.write("small", 10_000)
    wanted.append(twins.back_up("a"))
    put = MemoryStore.put
    left = 0
    ended = False

    def failing(store: MemoryStore, key: str, data: bytes) -> None:
        nonlocal left
        if store is twins.b and not key.startswith("sessions/"):
            left -= 1
            if left < 0:
                raise StoreUnreachable("gone")
        put(store, key, data)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MemoryStore, "put", failing)
        for allowed in range(20):
            left = allowed
            try:
                twins.catch_up("a", "b")
                ended = True
                break
            except StoreUnreachable:
                assert twins.clean("b")
    assert ended and twins.clean("b")
    assert [each.id for each in twins.open("b").visible_snapshots()] == wanted


def test_keys_come_together(twins: Twins) -> None:
    a = twins.open("a")
    old_slot = a.keyring.slot_id
    new = twins.house.add_key("owner", "new")
    assert shared_keys.bring_together(twins.a, twins.b, a.keyring, silent, "B") is False
    assert {key for key in twins.a.objects if key.startswith("keys/")} == {
        key for key in twins.b.objects if key.startswith("keys/")
    }
    # Rotated apart: said, and neither is replaced.
    told: list[Event] = []
    rotate(twins.a, a.keyring, clock=a.clock)
    rotate(twins.b, twins.open("b").keyring, clock=a.clock)
    before = twins.b.objects["keys/00000002.epoch"]
    shared_keys.bring_together(twins.a, twins.b, twins.open("a").keyring, told.append, "B")
    assert [each.code for each in told if isinstance(each, Warn)] == ["keys-differ"]
    assert twins.b.objects["keys/00000002.epoch"] == before
    # What nobody signed is not passed on.
    twins.b.objects["keys/" + "ab" * 16 + ".slot"] = b"rubbish"
    shared_keys.bring_together(twins.a, twins.b, twins.open("a").keyring, silent, "B")
    assert "keys/" + "ab" * 16 + ".slot" not in twins.a.objects
    assert old_slot and new
