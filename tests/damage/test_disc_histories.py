"""Random histories of a set of discs, beside a dictionary that says what should be in it."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from random import Random

from disc_sets import images, make_set, open_set
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from test_disc_damage import burst, key_of, pack, wipe
from test_disc_recovery import known_again

from safehold.core.errors import ObjectMissing
from safehold.storage.volumes.discs.opening import Reach
from safehold.storage.volumes.discs.renewing import renew
from safehold.storage.volumes.discs.store import DiscStore


class Histories(RuleBasedStateMachine):
    """Backups, deletions, kills, lost discs, scratches, a machine that is gone."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp(prefix="safehold-histories-"))
        self.model: dict[str, bytes] = {}
        self.closed: dict[str, bytes] = {}
        self.store: DiscStore | None = None
        self.random = Random(1)

    @initialize(capacity=st.sampled_from([2 << 20, 3 << 20]), parity=st.sampled_from(["2+1", "3+2"]))
    def begin(self, capacity: int, parity: str) -> None:
        make_set(self.root, capacity, parity=parity, media="other").close()
        self.store = open_set(self.root)

    @rule(count=st.integers(1, 4), size=st.integers(0, 400_000))
    def put(self, count: int, size: int) -> None:
        assert self.store is not None
        for _ in range(count):
            key, data = key_of(self.random.getrandbits(200)), pack(self.random, size)
            upload = self.store.upload()
            upload.write(data)
            upload.commit(key)
            self.model[key] = data

    @rule(size=st.integers(0, 3000))
    def put_small(self, size: int) -> None:
        assert self.store is not None
        key = f"index/{self.random.getrandbits(200):064x}"
        self.store.put(key, data := self.random.randbytes(size))
        self.model[key] = data

    @precondition(lambda self: self.model)
    @rule(number=st.integers(0, 1000))
    def delete(self, number: int) -> None:
        assert self.store is not None
        key = sorted(self.model)[number % len(self.model)]
        self.store.delete(key)
        del self.model[key]

    @rule(kill=st.booleans())
    def again(self, kill: bool) -> None:
        assert self.store is not None
        if kill:
            self.store.recorder.close()  # the files are closed, and nothing else happens
            self.store.reader.shelf.close()
            self.store.reader.close()
            self.store.ledger.catalogue.close()
        else:
            self.store.close()
        self.store = open_set(self.root)

    @rule()
    def finish(self) -> None:
        assert self.store is not None
        self.store.finish()

    @rule()
    def scratch(self) -> None:
        """One closed disc is scratched, read, and written anew."""
        assert self.store is not None
        closed = [each for each in self.store.ledger.catalogue.volumes() if each.state == "closed" and not each.parity]
        if closed:
            volume = self.random.choice(closed)
            path = Path(volume.path)
            burst(path, 0.04, self.random.random() * 0.9)
            wipe(path, 0, 8192)
            self.compare()
            renew(self.store.reader, self.store.ledger, volume, path, self.store.recorder.finisher, 7)
            self.store.reader.shelf.drop(volume.number)

    @rule()
    def lose(self) -> None:
        """One disc of a covered group is lost, and written anew."""
        assert self.store is not None
        groups = [each for each in self.store.ledger.groups() if each.closed_ns]
        if groups:
            member = self.random.choice(self.store.ledger.members(self.random.choice(groups).number))
            volume = self.store.ledger.catalogue.named(str(member.volume))
            self.store.close()
            Path(volume.path).unlink()
            self.store = open_set(self.root, Reach(lost=(volume.number,)))
            self.compare()
            renew(self.store.reader, self.store.ledger, volume, Path(volume.path), self.store.recorder.finisher, 7)
            self.store.close()
            self.store = open_set(self.root)

    @rule()
    def machine_gone(self) -> None:
        assert self.store is not None
        self.store.finish()
        self.store.close()
        if images(self.root):
            # What was deleted since the last session is there again: only the machine knew.
            known_again(self.root, [self.root / "images"])
            self.store = open_set(self.root)
            there = {each.key for each in self.store.list("")}
            assert there >= set(self.model)
            for key in there - set(self.model):
                self.store.delete(key)
        else:
            self.store = open_set(self.root)

    @invariant()
    def compare(self) -> None:
        if self.store is None:
            return
        assert {each.key for each in self.store.list("")} == set(self.model)
        for key in self.random.sample(sorted(self.model), min(4, len(self.model))):
            data = self.model[key]
            assert self.store.get(key) == data
            if len(data) > 10:
                assert self.store.get_range(key, len(data) // 2, 5) == data[len(data) // 2 :][:5]
        try:
            self.store.get(key_of(1))
        except ObjectMissing:
            return
        raise AssertionError("what was never stored is there")

    def teardown(self) -> None:
        if self.store is not None:
            self.store.close()
        shutil.rmtree(self.root)


TestHistories = Histories.TestCase
TestHistories.settings = settings(
    max_examples=12,
    stateful_step_count=14,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
