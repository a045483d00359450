"""What each wrapper adds to a store."""

from __future__ import annotations

import hashlib
from pathlib import Path
from random import Random

import pytest

from safehold.core.clock import ManualClock
from safehold.core.errors import NotPermitted, ObjectExists, ObjectMissing, StoreError, StoreFull, StoreUnreachable
from safehold.storage.store import ObjectInfo
from safehold.storage.wrappers.cache import CachedStore
from safehold.storage.wrappers.dryrun import DryRunStore
from safehold.storage.wrappers.readonly import ReadOnlyStore
from safehold.storage.wrappers.recording import Operation, RecordingStore
from safehold.storage.wrappers.retry import Patience, RetryStore
from safehold.storage.wrappers.throttle import ThrottledStore
from safehold.testing.stores import Fault, FaultyStore, MemoryStore

AWAY = StoreUnreachable("The store does not answer.")


def _retrying(*faults: Fault, tries: int = 4) -> tuple[RetryStore, MemoryStore, ManualClock]:
    memory, clock = MemoryStore(), ManualClock()
    return RetryStore(FaultyStore(memory, *faults), clock, Random(1), Patience(tries, 1.0, 5.0)), memory, clock


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_put_is_repeated_and_accepts_its_own_object(moment) -> None:  # type: ignore[no-untyped-def]
    store, memory, clock = _retrying(Fault("put", error=AWAY, moment=moment))
    store.put("a", memoryview(b"x"))
    assert memory.objects == {"a": b"x"} and 0.5 <= clock.monotonic() <= 1.0


def test_a_put_does_not_accept_another_object() -> None:
    store, memory, _ = _retrying(Fault("put", error=AWAY, moment="before", nth=2))
    store.put("a", b"x")
    memory.objects["b"] = b"other"
    with pytest.raises(ObjectExists):
        store.put("b", b"y")
    with pytest.raises(ObjectExists):
        store.put("a", b"x")
    assert memory.objects == {"a": b"x", "b": b"other"}


def test_waits_grow_up_to_a_limit_and_end() -> None:
    store, _, clock = _retrying(Fault("get", error=AWAY, times=100), tries=6)
    with pytest.raises(StoreUnreachable):
        store.get("a")
    assert 0.5 * (1 + 2 + 4 + 5 + 5) <= clock.monotonic() <= 1 + 2 + 4 + 5 + 5


def test_what_fails_for_good_is_not_repeated() -> None:
    store, _, clock = _retrying(Fault("put", error=StoreFull("full")))
    with pytest.raises(StoreFull):
        store.put("a", b"")
    with pytest.raises(ObjectMissing):
        store.get("a")
    assert clock.monotonic() == 0


@pytest.mark.parametrize("operation", ["upload", "write", "commit"])
@pytest.mark.parametrize("moment", ["before", "after", "torn"])
@pytest.mark.parametrize("nth", [1, 2])
def test_an_upload_is_sent_again_from_its_start(operation: str, moment, nth: int) -> None:  # type: ignore[no-untyped-def]
    store, memory, _ = _retrying(Fault(operation, nth, AWAY, moment), Fault("write", 5, AWAY, "torn"))
    buffer = bytearray(b"one")
    upload = store.upload()
    upload.write(buffer)
    buffer[:] = b"XXX"
    upload.write(b"two")
    upload.write(b"three")
    upload.commit("a")
    upload.abort()
    assert memory.objects == {"a": b"onetwothree"}


def test_an_upload_does_not_accept_another_object() -> None:
    store, memory, _ = _retrying(Fault("commit", error=AWAY))
    upload = store.upload()
    upload.write(b"mine")
    memory.put("a", b"other")
    with pytest.raises(ObjectExists):
        upload.commit("a")


def test_reads_and_listings_are_repeated_without_doubling_lines() -> None:
    store, memory, _ = _retrying(
        Fault("list", error=AWAY, moment="after"),
        *(Fault(operation, error=AWAY) for operation in ("get", "get_range", "size", "delete", "quarantine")),
    )
    memory.put("a", b"abc")
    memory.put("b", b"abc")
    assert list(store.list("")) == [ObjectInfo("a", 3), ObjectInfo("b", 3)]
    assert (store.get("a"), store.get_range("a", 1, 1), store.size("a")) == (b"abc", b"b", 3)
    store.delete("a")
    store.quarantine("b")
    assert memory.objects == {"quarantine/b": b"abc"}


def test_read_only_reads_and_refuses_the_rest() -> None:
    memory = MemoryStore()
    memory.put("a", b"x")
    store = ReadOnlyStore(memory)
    assert store.get("a") == b"x" and not store.capabilities.can_delete
    for action in (
        lambda: store.put("b", b""),
        store.upload,
        lambda: store.delete("a"),
        lambda: store.quarantine("a"),
    ):
        with pytest.raises(NotPermitted):
            action()
    assert memory.objects == {"a": b"x"}


def test_a_dry_run_changes_nothing_and_sees_its_changes() -> None:
    memory = MemoryStore()
    for key in ("kept", "doomed", "bad"):
        memory.put(key, key.encode())
    before = dict(memory.objects)
    store = DryRunStore(memory, MemoryStore())
    store.put("new", b"new!")
    upload = store.upload()
    upload.write(b"large")
    upload.commit("packs/large")
    store.delete("doomed")
    store.put("doomed", b"back")
    store.quarantine("bad")
    store.delete("kept")
    store.delete("never")
    with pytest.raises(ObjectExists):
        store.put("new", b"")
    assert memory.objects == before
    seen = {line.key: store.get(line.key) for line in store.list("")}
    assert seen == {"new": b"new!", "packs/large": b"large", "doomed": b"back", "quarantine/bad": b"bad"}
    assert store.changes.stored == {"new": 4, "packs/large": 5, "doomed": 4}
    assert store.changes.deleted == {"doomed": 6, "kept": 4}
    assert store.changes.quarantined == {"bad": 3}
    store.delete("new")
    assert "new" not in store.changes.stored and "new" not in store.changes.deleted


def test_throttling_keeps_to_the_rate() -> None:
    clock = ManualClock()
    store = ThrottledStore(MemoryStore(), clock, up=1000, down=500)
    for number in range(10):
        store.put(f"{number}", bytes(500))
    assert clock.monotonic() == pytest.approx(4.5)
    upload = store.upload()
    for _ in range(4):
        upload.write(bytes(1000))
    upload.commit("large")
    assert clock.monotonic() == pytest.approx(8.0)
    start = clock.monotonic()
    store.get("0")
    store.get_range("large", 0, 1000)
    store.size("0")
    store.get("1")
    assert clock.monotonic() - start == pytest.approx(3.0)


def test_an_unlimited_direction_never_waits() -> None:
    clock = ManualClock()
    store = ThrottledStore(MemoryStore(), clock, up=10)
    store.put("a", bytes(1000))
    for _ in range(10):
        store.get("a")
    assert clock.monotonic() == 0


def test_recording_tells_what_succeeded() -> None:
    store = RecordingStore(MemoryStore())
    store.put("a", b"abc")
    upload = store.upload()
    upload.write(b"12")
    upload.write(b"345")
    upload.commit("b")
    store.get("a")
    store.get_range("b", 1, 2)
    store.size("a")
    list(store.list("x/"))
    store.delete("a")
    store.quarantine("b")
    with pytest.raises(ObjectMissing):
        store.get("a")
    assert store.operations == [
        Operation("put", "a", 3),
        Operation("upload", "b", 5),
        Operation("get", "a", 3),
        Operation("get_range", "b", 2),
        Operation("size", "a"),
        Operation("list", "x/"),
        Operation("delete", "a"),
        Operation("quarantine", "b"),
    ]
    assert (store.bytes_up(), store.bytes_down()) == (8, 5)


class _Cached:
    """A cached store over a recorded one."""

    def __init__(self, folder: Path, limit: int = 1 << 20) -> None:
        self.memory = MemoryStore()
        self.recorded = RecordingStore(self.memory)
        self.clock = ManualClock()
        self.folder = folder
        self.limit = limit
        self.store = self.open()

    def open(self) -> CachedStore:
        return CachedStore(self.recorded, self.folder, ("index/", "trees/"), self.limit, self.clock)

    def reads(self) -> int:
        """How often the distant store was read since the last time."""
        count = sum(operation.name in ("get", "get_range") for operation in self.recorded.operations)
        self.recorded.operations.clear()
        return count


def _named(data: bytes) -> str:
    return f"index/{hashlib.sha256(data).hexdigest()}"


def test_a_cached_object_is_fetched_once_also_by_the_next_process(tmp_path: Path) -> None:
    cached = _Cached(tmp_path)
    cached.memory.put("index/a", b"hello")
    cached.memory.put("packs/a", b"other")
    for store in (cached.store, cached.open()):
        assert store.get("index/a") == b"hello" and store.get_range("index/a", 1, 3) == b"ell"
        assert store.get_range("index/a", -2, 2) == b"lo"
        with pytest.raises(StoreError):
            store.get_range("index/a", 3, 3)
    assert cached.reads() == 1
    cached.store.get("packs/a")
    cached.store.get("packs/a")
    assert cached.reads() == 2


def test_what_was_put_is_cached(tmp_path: Path) -> None:
    cached = _Cached(tmp_path)
    cached.store.put("index/a", memoryview(b"hello"))
    assert cached.store.get("index/a") == b"hello" and cached.reads() == 0


@pytest.mark.parametrize("damage", [b"", b"short", b"x" * 37, None])
def test_a_damaged_cache_is_fetched_again(tmp_path: Path, damage: bytes | None) -> None:
    cached = _Cached(tmp_path)
    cached.store.put("index/a", b"hello")
    path = tmp_path / "index/a"
    path.write_bytes(damage if damage is not None else path.read_bytes()[:-1] + b"O")
    assert cached.store.get("index/a") == b"hello" and cached.reads() == 1
    assert cached.store.get("index/a") == b"hello" and cached.reads() == 0


def test_an_object_that_is_not_what_its_name_says_is_handed_on_and_never_kept(tmp_path: Path) -> None:
    cached = _Cached(tmp_path)
    good, bad = _named(b"good"), _named(b"expected")
    cached.memory.put(good, b"good")
    cached.memory.put(bad, b"something else")
    for _ in range(2):
        assert cached.store.get(good) == b"good" and cached.store.get(bad) == b"something else"
    assert cached.reads() == 3


def test_the_cache_keeps_what_was_used_last(tmp_path: Path) -> None:
    cached = _Cached(tmp_path, limit=10 * 132)
    for number in range(10):
        cached.memory.put(f"index/{number}", bytes(100))
        cached.clock.advance(1)
        cached.store.get(f"index/{number}")
    cached.clock.advance(1)
    cached.store.get("index/0")
    cached.memory.put("index/more", bytes(100))
    cached.clock.advance(1)
    cached.store.get("index/more")
    assert sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()) <= cached.limit
    cached.reads()
    cached.store.get("index/0")
    cached.store.get("index/more")
    assert cached.reads() == 0
    cached.store.get("index/1")
    assert cached.reads() == 1


def test_what_was_deleted_leaves_the_cache(tmp_path: Path) -> None:
    cached = _Cached(tmp_path)
    for name in "abc":
        cached.store.put(f"index/{name}", b"x")
    cached.store.delete("index/a")
    cached.store.quarantine("index/b")
    cached.memory.delete("index/c")
    for name in "ab":
        with pytest.raises(ObjectMissing):
            cached.store.get(f"index/{name}")
    assert list(cached.store.list("trees/")) == []
    assert cached.store.get("index/c") == b"x"
    assert list(cached.store.list("index/")) == []
    with pytest.raises(ObjectMissing):
        cached.store.get("index/c")


def test_a_cache_that_cannot_be_written_only_makes_it_slower(tmp_path: Path) -> None:
    (tmp_path / "index").write_bytes(b"a file in the way")
    cached = _Cached(tmp_path)
    cached.memory.put("index/a", b"hello")
    assert cached.store.get("index/a") == cached.store.get("index/a") == b"hello"
    assert cached.reads() == 2
