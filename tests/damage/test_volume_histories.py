"""Random histories of drives that come, go, vanish in the middle of anything and are found by new machines; against a model."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

from safehold.codec.keyfile import KeyFile
from safehold.core.clock import ManualClock
from safehold.core.errors import StoreUnreachable
from safehold.core.events import silent
from safehold.ops import forget
from safehold.ops.backup.options import BackupOptions
from safehold.ops.backup.run import back_up
from safehold.ops.restore import restore
from safehold.ops.volumes import lifecycle
from safehold.ops.volumes.drive_set import DriveSet, behind
from safehold.repo import prune, sessions
from safehold.repo.check import CheckOptions, check
from safehold.sources.files.placing.terms import Options
from safehold.storage.volumes.catalogue import Catalogue, VolumeSet
from safehold.storage.volumes.drives.drive_store import DriveStore

NAMES = "ABC"


class World:
    """Drives that are plain folders, in place or put away; a machine; and what must be true."""

    def __init__(self, base: Path, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.base, self.random = base, random.Random(seed)
        self.clock = ManualClock()
        self.generation = 0
        self.source = base / "source"
        self.source.mkdir(parents=True)
        self.key: KeyFile | None = None
        self.contents: dict[str, dict[str, bytes]] = {}
        """Of every acknowledged snapshot."""
        self.forgotten: set[str] = set()
        self.taken_back: set[str] = set()
        self.fuse: int | None = None
        self.run = 0
        # Each step is a process of its own, so that what an earlier one left behind is known to be dead.
        monkeypatch.setattr(sessions, "_process_started", lambda _: str(self.run))
        self._burn(monkeypatch)
        made = lifecycle.create(
            self.folder,
            VolumeSet(id="5e" * 16, name="home", kind="drives", media="drive"),
            self._new_key,
            self.cache,
            self.clock,
            silent,
        )
        made.close()
        for name in NAMES:
            (base / name).mkdir()
            with self.session() as drives:
                lifecycle.add(drives, base / name, name, "", plain=True)
            self.unplug(name)

    def _burn(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """After so many operations on drives the one in use is gone."""
        guarded = DriveStore.guarded
        world = self

        def burning(store: DriveStore, action: object) -> object:
            if world.fuse is not None:
                world.fuse -= 1
                if world.fuse < 0:
                    world.fuse = None
                    world.unplug(store.title)
            return guarded(store, action)  # type: ignore[arg-type]

        monkeypatch.setattr(DriveStore, "guarded", burning)

    def _new_key(self, config: object) -> KeyFile:
        self.key = KeyFile.new(config.repository_id, os.urandom)  # type: ignore[attr-defined]
        return self.key

    @property
    def state(self) -> Path:
        return self.base / f"machine{self.generation}"

    @property
    def folder(self) -> Path:
        return self.state / "volumes" / "home"

    @property
    def cache(self) -> Path:
        return self.state / "cache"

    @contextmanager
    def session(self) -> Iterator[DriveSet]:
        assert self.key is not None
        key = self.key
        with (
            closing(Catalogue(self.folder)) as catalogue,
            closing(DriveSet(catalogue, lambda: key, self.cache, self.clock, silent)) as drives,
        ):
            yield drives

    def here(self) -> list[str]:
        return [name for name in NAMES if (self.base / name).exists()]

    def plug(self, name: str) -> None:
        (self.base / f"away-{name}").rename(self.base / name)

    def unplug(self, name: str) -> None:
        if (self.base / name).exists():
            (self.base / name).rename(self.base / f"away-{name}")

    def step(self) -> None:
        self.clock.advance(60)
        self.run += 1
        if self.random.random() < 0.35:
            self.fuse = self.random.choice((3, 10, 25, 40, 60, 90, 130, 200))
        action = self.random.choice(
            ("move", "move", "move", "back_up", "back_up", "forget", "undelete", "prune", "sync", "new_machine")
        )
        with suppress(StoreUnreachable):
            getattr(self, action)()
        self.fuse = None

    def move(self) -> None:
        away = [name for name in NAMES if name not in self.here()]
        if away and self.random.random() < 0.75:
            self.plug(self.random.choice(away))
        else:
            self.unplug(self.random.choice(NAMES))

    def back_up(self) -> None:
        for _ in range(self.random.randint(1, 3)):
            (self.source / f"f{self.random.randrange(6)}").write_bytes(
                self.random.randbytes(self.random.choice((10, 3_000, 60_000)))
            )
        contents = {each.name: each.read_bytes() for each in self.source.iterdir()}
        with self.session() as drives:
            if drives.present:
                result = back_up(drives.view(behind(drives.present)), BackupOptions(paths=[str(self.source)]))
                self.contents[result.id] = contents
                drives.settle()
                self._catch_up(drives)

    def _catch_up(self, drives: DriveSet) -> None:
        for each in drives.present:
            drives.catch_up(each)
        drives.settle()

    def sync(self) -> None:
        for name in self.here():
            with self.session() as drives:
                if all(each.path != str(self.base / name / "safehold") for each in drives.catalogue.volumes()):
                    lifecycle.add(drives, self.base / name, name, "", plain=True)  # a new machine may not know it
        with self.session() as drives:
            for each in drives.present:
                drives.view(each)
            self._catch_up(drives)

    def forget(self) -> None:
        with self.session() as drives:
            for each in drives.present:
                drives.view(each)
            names = [name for name in drives.union.snapshot_names() if name in self.contents]
            if names:
                chosen = self.random.choice(sorted(names))
                forget.forget(drives.union, [chosen])
                self.forgotten.add(chosen)
                self.taken_back.discard(chosen)
                drives.settle()

    def undelete(self) -> None:
        with self.session() as drives:
            trash = [each.id for each in forget.list_trash(drives.union) if each.id in self.contents]
            if trash:
                chosen = self.random.choice(sorted(trash))
                forget.undelete(drives.union, chosen)
                drives.undeleted(chosen)
                self.forgotten.discard(chosen)
                self.taken_back.add(chosen)
                drives.settle()

    def prune(self) -> None:
        with self.session() as drives:
            for each in drives.present:
                view = drives.view(each)
                prune.execute(view, prune.plan(view, prune.Options(empty_trash=True, confirm_large=True)))
            drives.settle()

    def new_machine(self) -> None:
        """The machine is lost; another one learns the set from the drives that are here."""
        here = self.here()
        if not here:
            return
        self.fuse = None
        assert self.key is not None
        key = self.key
        self.generation += 1
        folders = [self.base / name / "safehold" for name in here]
        catalogue, _ = lifecycle.recover(self.state, folders, lambda _: key, self.cache, self.clock, silent)
        catalogue.close()
        self.sync()

    def finish(self) -> None:
        """With all drives there, each has everything that was acknowledged and not forgotten, whole."""
        for name in NAMES:
            if name not in self.here():
                self.plug(name)
        self.clock.advance(60)
        self.run += 1
        self.sync()
        self.sync()
        # What was taken back may have been pruned on every drive that was there.
        expected = {name for name in self.contents if name not in self.forgotten and name not in self.taken_back}
        with self.session() as drives:
            for each in drives.present:
                view = drives.view(each)
                visible = {stored.id: stored for stored in view.visible_snapshots()}
                assert expected <= visible.keys(), each.title
                assert not self.forgotten & visible.keys(), each.title
                assert check(view, CheckOptions(read_data=100)).damage == [], each.title
                for name in sorted(visible.keys() & self.contents.keys()):
                    target = self.base / "restored"
                    restore(view, visible[name].snapshot, target, Options(delete=True))
                    inside = target / str(self.source)[1:]
                    assert {each.name: each.read_bytes() for each in inside.iterdir()} == self.contents[name]


@pytest.mark.parametrize("seed", range(3))
def test_nothing_acknowledged_is_lost_and_nothing_forgotten_returns(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path / "world", seed, monkeypatch)
    for _ in range(25):
        world.step()
    world.finish()
    assert world.contents
