"""Two writers and a prune at once, over data that keep coming and going."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from pathlib import Path

from prune_fixtures import EVERYTHING, content_of, content_on_disk

from safehold.core.errors import SafeholdError
from safehold.ops import forget
from safehold.repo import prune, snapshots
from safehold.repo.keys.format import Role
from safehold.testing.builders import Household
from safehold.testing.stores import MemoryStore

ROUNDS = 30
"""How often each does what it does while the others do; a thread that is done earlier goes on until all are."""
POOL = [random.Random(n).randbytes(3000 + 900 * n) for n in range(12)]


class Machine:
    """One backed-up machine with its own cache; its files are a changing choice from the pool that all share."""

    def __init__(self, house: Household, base: Path, seed: int, role: Role) -> None:
        self.house = house
        self.key = house.add_key(role, f"machine {seed}")
        self.cache = base / f"cache{seed}"
        self.source = base / f"machine{seed}"
        self.source.mkdir()
        self.expected: dict[str, dict[bytes, bytes]] = {}
        self._random = random.Random(seed)
        self._opened = house.open(self.key, cache=self.cache)

    def step(self) -> None:
        for path in self.source.iterdir():
            path.unlink()
        for n in self._random.sample(range(len(POOL)), 4):
            (self.source / f"file{n}").write_bytes(POOL[n])
        # Half of the time with a repository object that was opened long ago.
        opened = self._opened if self._random.random() < 0.5 else self.house.open(self.key, cache=self.cache)
        made = self.house.back_up(self.source, repository=opened)
        self.expected[made.id] = content_on_disk(self.source)


def test_writers_and_prune_race(tmp_path: Path) -> None:
    house = Household(MemoryStore(), tmp_path / "cache")
    machines = [Machine(house, tmp_path, 1, "reader"), Machine(house, tmp_path, 2, "writer")]
    chooser = random.Random(3)
    counts = {"prunes": 0, "freed": 0}

    def clean() -> None:
        repository = house.open()
        names = sorted(repository.snapshot_names())
        forget.forget(repository, chooser.sample(names, len(names) * 2 // 3))
        if chooser.random() < 0.3 and (trash := forget.list_trash(repository)):
            forget.undelete(repository, chooser.choice(trash).id)
        result = prune.execute(repository, prune.plan(repository, EVERYTHING))
        counts["prunes"] += 1
        counts["freed"] += result.freed

    run_together([machine.step for machine in machines] + [clean])
    assert counts["prunes"] >= ROUNDS
    assert counts["freed"] > 0
    check(house, machines, tmp_path)
    for _ in range(2):
        prune.execute(house.open(), prune.plan(house.open(), EVERYTHING))
    check(house, machines, tmp_path)
    assert prune.plan(house.open(), EVERYTHING).empty


def test_two_prunes_race(tmp_path: Path) -> None:
    house = Household(MemoryStore(), tmp_path / "cache")
    machine = Machine(house, tmp_path, 1, "owner")

    def clean() -> None:
        repository = house.open(cache=tmp_path / f"pruner{threading.get_ident()}")
        names = sorted(repository.snapshot_names())
        try:
            forget.forget(repository, names[: len(names) // 2])
            prune.execute(repository, prune.plan(repository, EVERYTHING))
        except SafeholdError as error:
            # What another prune changes meanwhile does not add up; then nothing is done.
            assert "nothing was" in str(error)

    run_together([machine.step, clean, clean])
    check(house, [machine], tmp_path)


def run_together(steps: list[Callable[[], None]]) -> None:
    """Each step over and over in a thread of its own; what fails in one is raised here."""
    failures: list[BaseException] = []
    rounds = dict.fromkeys(range(len(steps)), 0)

    def loop(number: int) -> None:
        try:
            while min(rounds.values()) < ROUNDS and not failures:
                steps[number]()
                rounds[number] += 1
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=loop, args=(number,)) for number in range(len(steps))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def check(house: Household, machines: list[Machine], base: Path) -> None:
    """Every stored snapshot reads as it should, through a fresh cache."""
    repository = house.open(cache=base / f"fresh{time.monotonic_ns()}")
    stored = set(snapshots.names(house.store))
    for machine in machines:
        assert machine.expected
        for name in stored & machine.expected.keys():
            assert content_of(repository, name, machine.source) == machine.expected[name]
    assert stored <= set().union(*(machine.expected for machine in machines))
