"""The stores that fail on purpose do so as scripted."""

from __future__ import annotations

from pathlib import Path

import pytest

from safehold.core.clock import ManualClock
from safehold.core.errors import ObjectMissing, StoreError, StoreFull
from safehold.storage.local import LocalStore
from safehold.storage.store import Store
from safehold.testing.stores import CrashPoint, Fault, FaultyStore, MemoryStore, VolatileStore


def _work(store: Store) -> None:
    upload = store.upload()
    upload.write(b"pack-")
    upload.write(b"content")
    try:
        upload.commit("packs/a")
    finally:
        upload.abort()
    store.put("index/a", b"index")
    store.put("snapshots/a", b"snapshot")
    store.delete("index/a")
    store.quarantine("packs/a")


def _require_dead(store: Store) -> None:
    for action in (lambda: store.get("packs/a"), lambda: list(store.list("")), store.upload):
        with pytest.raises(CrashPoint):
            action()


def test_faults_strike_at_the_counted_operation() -> None:
    memory = MemoryStore()
    store = FaultyStore(memory, Fault("put", 2, StoreError("no"), prefix="index/", times=2))
    for key, fails in (("index/a", False), ("packs/a", False), ("index/b", True), ("index/c", True), ("index/d", False)):
        if fails:
            with pytest.raises(StoreError):
                store.put(key, b"")
        else:
            store.put(key, b"")
    assert set(memory.objects) == {"index/a", "packs/a", "index/d"}
    assert [key for _, key in store.log] == ["index/a", "packs/a", "index/b", "index/c", "index/d"]


def test_a_crash_at_every_operation_is_final_and_leaves_a_prefix_of_the_work() -> None:
    whole = FaultyStore(MemoryStore())
    _work(whole)
    assert [name for name, _ in whole.log] == ["upload", "write", "write", "commit", "put", "put", "delete", "quarantine"]
    for nth in range(1, len(whole.log) + 1):
        for moment in ("before", "after"):
            memory = MemoryStore()
            store = FaultyStore(memory, Fault("any", nth, moment=moment))  # type: ignore[arg-type]
            with pytest.raises(CrashPoint):
                _work(store)
            _require_dead(store)
            done = nth if moment == "after" else nth - 1
            expected = [{}, {}, {}, {}, {"packs/a"}, {"packs/a", "index/a"}, {"packs/a", "index/a", "snapshots/a"}]
            expected += [{"packs/a", "snapshots/a"}, {"quarantine/packs/a", "snapshots/a"}]
            assert set(memory.objects) == set(expected[done])
            assert store.unacknowledged == (whole.log[nth - 1][1] or None if moment == "after" else None)


def test_a_loss_of_power_takes_what_the_protocol_lets_it_take() -> None:
    memory = MemoryStore()
    store = VolatileStore(memory)
    for key in ("index/a", "packs/a", "packs/b", "packs/c"):
        store.put(key, key.encode())
    store.delete("index/a")
    store.delete("packs/a")
    store.delete("packs/b")
    store.delete("packs/none")
    store.put("packs/b", b"again")
    assert set(memory.objects) == {"packs/b", "packs/c"}
    store.crash(unacknowledged="packs/c")
    assert memory.objects == {"packs/a": b"packs/a", "packs/b": b"again"}
    store.delete("packs/a")
    store.upload().commit("index/b")
    store.crash()
    assert set(memory.objects) == {"packs/b", "index/b"}
    store.delete("packs/b")
    store.close()
    store.crash(unacknowledged="packs/b")
    assert set(memory.objects) == {"index/b"}


def test_a_deletion_that_was_not_acknowledged_comes_back() -> None:
    memory = MemoryStore()
    volatile = VolatileStore(memory)
    store = FaultyStore(volatile, Fault("delete", moment="after"))
    store.put("packs/a", b"x")
    with pytest.raises(CrashPoint):
        store.delete("packs/a")
    volatile.crash(store.unacknowledged)
    assert memory.objects == {"packs/a": b"x"}


def test_a_torn_write_stays_in_the_temporary_file(tmp_path: Path) -> None:
    local = LocalStore(tmp_path, create=True)
    store = FaultyStore(local, Fault("write", 2, moment="torn"))
    upload = store.upload()
    upload.write(bytes(2 << 20))
    with pytest.raises(CrashPoint):
        upload.write(bytes(4 << 20))
    upload.abort()
    assert [path.stat().st_size for path in (tmp_path / "tmp").iterdir()] == [4 << 20]
    assert list(local.list("")) == []


def test_a_listing_can_break_off() -> None:
    memory = MemoryStore()
    memory.put("a", b"")
    lines = FaultyStore(memory, Fault("list", error=StoreError("broke off"), moment="after")).list("")
    assert next(lines).key == "a"
    with pytest.raises(StoreError):
        next(lines)


def test_a_memory_store_has_the_room_and_the_clock_it_is_given() -> None:
    clock = ManualClock(now_ns=5)
    store = MemoryStore(clock, room=10)
    store.put("a", bytes(6))
    with pytest.raises(StoreFull):
        store.put("b", bytes(5))
    store.delete("a")
    store.put("b", bytes(5))
    assert [(line.key, line.modified_ns) for line in store.list("")] == [("b", 5)]
    with pytest.raises(ObjectMissing):
        store.get("a")
