"""A crash at every change of the store: nothing committed is lost, and the next prune leaves nothing behind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from prune_fixtures import EVERYTHING, Farm, content_of

from safehold.core.clock import ManualClock
from safehold.ops import forget
from safehold.ops.copy import copy_snapshots
from safehold.repo import prune, snapshots
from safehold.repo.repository import Repository
from safehold.storage.store import Store
from safehold.testing.builders import Household
from safehold.testing.stores import CrashPoint, Fault, FaultyStore, MemoryStore, VolatileStore


class Replay:
    """A farm whose store can be put back to how it was."""

    def __init__(self, base: Path) -> None:
        self.farm = Farm(base)
        farm = self.farm
        for n in range(3):
            farm.write(f"shared/{n}", 20_000)
            farm.write(f"gone{n}", 40_000)
            farm.back_up()
            (farm.source / f"gone{n}").unlink()
        farm.back_up()
        self.ids = list(farm.expected)
        self.capture()

    def capture(self) -> None:
        """What ``reset`` goes back to."""
        store = self.farm.store
        self.objects, self.times, self.now = dict(store.objects), dict(store.modified_ns), self.farm.clock.now_ns()

    def reset(self) -> None:
        self.farm.store.objects, self.farm.store.modified_ns = dict(self.objects), dict(self.times)
        self.farm.clock.advance((self.now - self.farm.clock.now_ns()) / 1e9)

    def crashes(self, act: Callable[[Store], object], *, lose_power: bool = False) -> int:
        """Crash ``act`` at each change in turn, until it gets through; the state after each is checked."""
        nth = 0
        while True:
            nth += 1
            self.reset()
            volatile = VolatileStore(self.farm.store)
            faulty = FaultyStore(volatile, Fault("change", nth, moment="after" if lose_power else "before"))
            try:
                act(faulty)
            except CrashPoint:
                if lose_power:
                    volatile.crash(faulty.unacknowledged)
                self.check_after_crash()
                continue
            return nth

    def check_after_crash(self) -> None:
        farm = self.farm
        farm.check_all()
        visible = set(farm.open().snapshot_names())
        farm.clock.advance(25 * 3600)  # the mark of the dead session expires
        farm.prune()
        assert set(snapshots.names(farm.store)) == visible
        farm.check_all()
        farm.check_clean()


@pytest.fixture
def replay(tmp_path: Path) -> Replay:
    return Replay(tmp_path)


def test_forget(replay: Replay) -> None:
    assert replay.crashes(lambda store: forget.forget(replay.farm.open(store=store), replay.ids[:2])) == 2


def test_undelete(replay: Replay) -> None:
    forget.forget(replay.farm.open(), replay.ids[:2])
    replay.capture()
    assert replay.crashes(lambda store: forget.undelete(replay.farm.open(store=store), replay.ids[0])) >= 4


@pytest.mark.parametrize("lose_power", [False, True])
def test_prune(replay: Replay, lose_power: bool) -> None:
    forget.forget(replay.farm.open(), replay.ids[:3])
    replay.capture()
    assert replay.crashes(lambda store: replay.farm.prune(store=store), lose_power=lose_power) > 15


def test_prune_that_waits(replay: Replay) -> None:
    """Crashes beside a running backup, whose session outlives the prune."""
    forget.forget(replay.farm.open(), replay.ids[:3])
    with replay.farm.open().session("backup"):
        replay.capture()
        assert replay.crashes(lambda store: replay.farm.prune(store=store)) >= 4


class Copying:
    def __init__(self, base: Path) -> None:
        self.replay = Replay(base / "source")
        self.clock: ManualClock = self.replay.farm.clock
        self.store = MemoryStore(self.clock)
        self.house = Household(self.store, base / "target", clock=self.clock)

    def target(self, store: Store | None = None) -> Repository:
        return self.house.open(store=store)

    def copy(self, store: Store | None = None) -> dict[str, str]:
        return copy_snapshots(self.replay.farm.open(), self.target(store), self.replay.ids).copied

    def check(self) -> list[str]:
        target = self.target()
        found = target.visible_snapshots()
        for each in found:
            old = each.snapshot.original.rpartition("/")[2]
            assert content_of(target, each.id, self.replay.farm.source) == self.replay.farm.expected[old]
        return [each.snapshot.original for each in found]


def test_copy(tmp_path: Path) -> None:
    copying = Copying(tmp_path)
    empty, times = dict(copying.store.objects), dict(copying.store.modified_ns)
    nth = 0
    while True:
        nth += 1
        copying.store.objects, copying.store.modified_ns = dict(empty), dict(times)
        try:
            copying.copy(FaultyStore(copying.store, Fault("change", nth)))
        except CrashPoint:
            copying.check()
            copying.clock.advance(25 * 3600)
            copying.copy()
            assert len(set(copying.check())) == len(copying.check()) == len(copying.replay.ids)
            prune.execute(copying.target(), prune.plan(copying.target(), EVERYTHING))
            copying.check()
            assert prune.plan(copying.target(), EVERYTHING).empty
            continue
        break
    assert nth > 6
