"""The config is the one object without which nothing opens: it is stored twice, and damage to either costs nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from test_matrix import DAMAGES, World, flip

from safehold.codec.keyfile import KeyFile
from safehold.core.errors import RepositoryExists, SafeholdError, WrongKey
from safehold.core.events import Event, Warn
from safehold.repo import check, config, repair, repository
from safehold.storage.store import Capabilities
from safehold.testing.builders import Household
from safehold.testing.stores import CrashPoint, Fault, FaultyStore, MemoryStore


def test_config_damage_is_a_clear_error(world: World) -> None:
    repository = world.house.open()
    good = world.good["config"]
    for place in range(0, len(good), 3):
        for key in ("config", "config-copy"):
            world.store.objects[key] = good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :]
        with pytest.raises(SafeholdError):
            world.house.open()
        found = [(f.code, f.key) for f in check.check(repository).damage]
        assert found == [("config-damaged", "config"), ("config-damaged", "config-copy")]


def another_config(world: World, kind: str, key: str) -> None:
    """The config of another repository, well signed."""
    store = MemoryStore()
    Household(store, world.folder / "other")
    world.store.objects[key] = store.objects["config"]


def replay(world: World, kind: str, key: str) -> None:
    """A config with this repository's id that somebody else has signed, as a store could keep it of an earlier attempt."""
    line = world.good[key].partition(b"\n")[0].replace(b'"pad":false', b'"pad":true')
    world.store.objects[key] = line + b"\n" + world.good[key].partition(b"\n")[2]


def newer(world: World, kind: str, key: str) -> None:
    world.store.objects[key] = world.good[key].replace(b'"version":1', b'"version":2')


CONFIG_DAMAGES = {**DAMAGES, "swap": another_config, "replay": replay, "newer": newer}


@pytest.mark.parametrize("damage", CONFIG_DAMAGES)
@pytest.mark.parametrize("key", ["config", "config-copy"])
def test_damage_to_one_config_locks_nobody_out_and_is_repaired(world: World, key: str, damage: str) -> None:
    CONFIG_DAMAGES[damage](world, "config", key)
    hurt = world.store.objects.get(key)
    told: list[Event] = []
    for credential in (None, world.reader_key):
        told.clear()
        opened = repository.open_repository(
            world.store, credential or world.house.owner_key, world.folder / "caches" / os.urandom(4).hex(), report=told.append
        )
        assert opened.config == world.house.open().config
        assert [e.code for e in told if isinstance(e, Warn)] == (["config-damaged"] if key == "config" else [])
    with pytest.raises(RepositoryExists):
        repository.create(world.store, world.house.owner_key, world.folder / "caches")
    report = check.check(world.fresh())
    assert [(f.code, f.key) for f in report.damage] == [("config-damaged", key)]
    assert world.read(world.second.id) == world.whole[world.second.id]
    done = repair.execute(world.fresh(), repair.plan(world.fresh()))
    assert done.quarantined == ([key] if hurt is not None else [])
    assert world.store.objects.get(f"quarantine/{key}") == hurt
    assert world.store.objects[key] == world.good[key]
    assert repair.plan(world.fresh()).empty
    assert world.back_up().id


@pytest.mark.parametrize("key", ["config", "config-copy"])
def test_no_config_is_overwritten_on_a_store_that_cannot_move_it(world: World, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(world.store, "_capabilities", Capabilities(can_delete=False, can_quarantine=False))
    flip(0.3)(world, "config", key)
    before = dict(world.store.objects)
    owner = world.fresh()
    repair.execute(owner, repair.plan(owner))
    assert {k: v for k, v in world.store.objects.items() if k in before} == before
    del world.store.objects[key]
    owner = world.fresh()
    repair.execute(owner, repair.plan(owner))
    assert world.store.objects[key] == world.good[key]


def test_a_wrong_key_is_said_to_be_wrong_whichever_config_is_damaged(world: World) -> None:
    wrong = KeyFile(world.house.owner_key.repository_id, os.urandom(16), os.urandom(32))
    for key in ("config", "config-copy"):
        for how in ("flip-middle", "delete", "swap"):
            world.reset()
            CONFIG_DAMAGES[how](world, "config", key)
            with pytest.raises(WrongKey):
                world.house.open(wrong)


def test_a_repository_whose_making_died_in_between(tmp_path: Path) -> None:
    store = MemoryStore()
    faulty = FaultyStore(store, Fault("change", nth=3, moment="before"))
    key = KeyFile.new(bytes(range(16)), os.urandom)
    made = config.Config(id=bytes(range(16)).hex())
    with pytest.raises(CrashPoint):
        repository.create(faulty, key, tmp_path, parameters=lambda _: made)
    assert "config" in store.objects and "config-copy" not in store.objects
    owner = repository.open_repository(store, key, tmp_path)
    assert [f.key for f in check.check(owner).damage] == ["config-copy"]
    repair.execute(owner, repair.plan(owner))
    assert check.check(owner).clean
