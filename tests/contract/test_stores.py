"""Every driver and every wrapper keeps what the Store protocol promises."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from disc_sets import make_set, open_set

from safehold.core.clock import ManualClock, SystemClock
from safehold.storage.local import LocalStore
from safehold.storage.store import Capabilities, Store
from safehold.storage.validation import validate
from safehold.storage.validation_checks import CHECKS
from safehold.storage.wrappers.cache import CachedStore
from safehold.storage.wrappers.dryrun import DryRunStore
from safehold.storage.wrappers.passthrough import PassThrough
from safehold.storage.wrappers.recording import RecordingStore
from safehold.storage.wrappers.retry import RetryStore
from safehold.storage.wrappers.throttle import ThrottledStore
from safehold.testing.stores import FaultyStore, MemoryStore, VolatileStore

Builder = Callable[[Path], Store]


def _discs(folder: Path) -> Store:
    make_set(folder, capacity=8 << 20).close()
    return open_set(folder)


STORES: dict[str, Builder] = {
    "discs": _discs,
    "local": lambda folder: LocalStore(folder / "store", create=True),
    "memory": lambda folder: MemoryStore(),
    "memory-append-only": lambda folder: MemoryStore(capabilities=Capabilities(can_delete=False, can_quarantine=False)),
    "passthrough": lambda folder: PassThrough(MemoryStore()),
    "recording": lambda folder: RecordingStore(MemoryStore()),
    "retry": lambda folder: RetryStore(MemoryStore(), ManualClock(), Random(1)),
    "throttle": lambda folder: ThrottledStore(MemoryStore(), ManualClock(), up=1e6, down=1e6),
    "faulty-without-faults": lambda folder: FaultyStore(MemoryStore()),
    "volatile": lambda folder: VolatileStore(MemoryStore()),
    "dry-run": lambda folder: DryRunStore(MemoryStore(), MemoryStore()),
    "cache-of-all": lambda folder: CachedStore(MemoryStore(), folder / "cache", ("",), 4 << 20, SystemClock()),
    "cache-of-some": lambda folder: CachedStore(MemoryStore(), folder / "cache", ("index/",), 4 << 20, SystemClock()),
    "stack": lambda folder: RetryStore(
        CachedStore(LocalStore(folder / "store", create=True), folder / "cache", ("",), 1 << 20, SystemClock()),
        ManualClock(),
        Random(1),
    ),
}


@pytest.mark.parametrize("name", STORES)
def test_a_store_keeps_the_promises_of_the_protocol(name: str, tmp_path: Path) -> None:
    store = STORES[name](tmp_path)
    results = list(validate(store, Random(7), SystemClock()))
    assert [result.name for result in results] == list(CHECKS)
    assert {result.name: result.detail for result in results if not result.ok} == {}
    if store.capabilities.can_delete:
        assert list(store.list("")) == []
    store.close()


def test_the_suite_leaves_other_objects_alone() -> None:
    store = MemoryStore()
    store.put("config", b"mine")
    store.put("quarantine/packs/x", b"mine too")
    assert all(result.ok for result in validate(store, Random(1), SystemClock()))
    assert store.objects == {"config": b"mine", "quarantine/packs/x": b"mine too"}


class _Overwriting(MemoryStore):
    def put(self, key, data):  # type: ignore[no-untyped-def]
        self.objects.pop(key, None)
        super().put(key, data)


class _ShortListing(MemoryStore):
    def list(self, prefix):  # type: ignore[no-untyped-def]
        return iter(list(super().list(prefix))[:1000])


class _Forgetful(MemoryStore):
    def get_range(self, key, offset, length):  # type: ignore[no-untyped-def]
        return self.get(key)[offset:][:length]


class _Stale(MemoryStore):
    def delete(self, key):  # type: ignore[no-untyped-def]
        if "doomed" not in key:
            super().delete(key)


class _Loose(MemoryStore):
    def get(self, key):  # type: ignore[no-untyped-def]
        return self.objects.get(key, b"")


def test_the_suite_leaves_no_folders_on_a_disk(tmp_path: Path) -> None:
    store = LocalStore(tmp_path, create=True)
    names = ("create", "quarantine", "abort")
    assert all(result.ok for result in validate(store, Random(1), SystemClock(), names, store.tidy))
    assert {path.name for path in tmp_path.iterdir()} <= {"tmp", "quarantine"}
    assert not list((tmp_path / "quarantine").iterdir())


@pytest.mark.parametrize(
    ("broken", "found"),
    [
        (_Overwriting, {"exclusive-create", "race-to-create"}),
        (_ShortListing, {"listing"}),
        (_Forgetful, {"ranges"}),
        (_Stale, {"delete"}),
        (_Loose, {"missing-object", "key-syntax"}),
    ],
)
def test_the_suite_finds_what_is_broken(broken: type[MemoryStore], found: set[str]) -> None:
    failed = {result.name: result for result in validate(broken(), Random(1), SystemClock()) if not result.ok}
    assert found <= set(failed)
    assert all(result.detail for result in failed.values())


def test_only_the_named_checks_run_and_their_time_is_told() -> None:
    clock = ManualClock()
    store = ThrottledStore(MemoryStore(), clock, up=1000)
    [result] = validate(store, Random(1), clock, names=("ranges",))
    assert replace(result, seconds=0.0).ok and result.name == "ranges"
