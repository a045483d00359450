"""A store in memory, one that fails and crashes when told to, and one that loses power."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, TypeVar

from safehold.core.clock import Clock
from safehold.core.errors import ObjectExists, ObjectMissing, SafeholdError, StoreError, StoreFull
from safehold.storage.keys import check_key, check_prefix, quarantine_keys, top_of
from safehold.storage.store import Buffer, Capabilities, ObjectInfo, Store, Upload
from safehold.storage.wrappers.passthrough import PassThrough, PassThroughUpload

_T = TypeVar("_T")

CHANGES = frozenset({"put", "commit", "delete", "quarantine"})
"""The operations that change what others see."""


class MemoryStore:
    """Objects in ``objects``, which a test may change at will.  ``room`` bytes at most, if it is given."""

    def __init__(self, clock: Clock | None = None, room: int | None = None, capabilities: Capabilities | None = None) -> None:
        self.objects: dict[str, bytes] = {}
        self.modified_ns: dict[str, int] = {}
        self.room = room
        self._clock = clock
        self._capabilities = capabilities or Capabilities()
        self._lock = threading.RLock()

    @property
    def capabilities(self) -> Capabilities:
        return self._capabilities

    @property
    def location(self) -> str:
        return "memory:"

    def put(self, key: str, data: Buffer) -> None:
        check_key(key)
        with self._lock:
            if key in self.objects:
                raise ObjectExists(f"{key} already exists in the store memory:.")
            if self.room is not None and sum(map(len, self.objects.values())) + memoryview(data).nbytes > self.room:
                raise StoreFull(f"The store memory: is full; {key} could not be stored.", "Free some space there.")
            self.objects[key] = bytes(data)
            self.modified_ns[key] = self._clock.now_ns() if self._clock else 0

    def upload(self) -> Upload:
        return _MemoryUpload(self)

    def get(self, key: str) -> bytes:
        check_key(key)
        try:
            return self.objects[key]
        except KeyError:
            raise ObjectMissing(f"{key} is not in the store memory:.") from None

    def get_range(self, key: str, offset: int, length: int) -> bytes:
        data = self.get(key)
        if offset >= 0 and offset + length > len(data):
            raise StoreError(f"{key} in the store memory: has {len(data)} bytes; {length} from {offset} on were asked for.")
        return data[offset:][:length]

    def size(self, key: str) -> int:
        return len(self.get(key))

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        check_prefix(prefix)
        with self._lock:
            lines = [ObjectInfo(key, len(data), self.modified_ns.get(key, 0)) for key, data in self.objects.items()]
        return (line for line in lines if line.key.startswith(prefix))

    def delete(self, key: str) -> None:
        check_key(key)
        self._refuse_unless(self._capabilities.can_delete)
        with self._lock:
            self.objects.pop(key, None)
            self.modified_ns.pop(key, None)

    def quarantine(self, key: str) -> None:
        self._refuse_unless(self._capabilities.can_quarantine)
        with self._lock:
            data = self.get(key)
            place = next(place for place in quarantine_keys(key) if place not in self.objects)
            self.objects[place] = data
            self.modified_ns[place] = self.modified_ns.pop(key, 0)
            del self.objects[key]

    def close(self) -> None:
        """Nothing to let go of: the objects stay, so that a test can open the store again."""

    def _refuse_unless(self, allowed: bool) -> None:
        if not allowed:
            raise StoreError("The store memory: doesn't offer that.")


class _MemoryUpload:
    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self._data: bytearray | None = bytearray()

    def write(self, data: Buffer) -> None:
        if self._data is None:
            raise StoreError("This upload has ended already.")
        self._data += data

    def commit(self, key: str) -> None:
        if self._data is None:
            raise StoreError("This upload has ended already.")
        data, self._data = self._data, None
        self._store.put(key, data)

    def abort(self) -> None:
        self._data = None


class CrashPoint(BaseException):
    """The process dies here.  No ``except Exception`` survives it, and every later operation of the store raises it too."""


@dataclass(frozen=True, slots=True)
class Fault:
    """At the ``nth`` operation (from 1) of a kind, raise ``error``, or crash if there is none.

    ``operation`` is ``put upload write commit get get_range size list delete quarantine``, ``change`` (put, commit, delete
    or quarantine) or ``any``; ``prefix`` narrows it to keys that start so (``upload`` and ``write`` have none).
    ``moment``: ``before`` the effect, ``after`` it (done, but never acknowledged), or ``torn``: of a ``write`` only the
    first half happens.  ``times`` operations in a row fail, for errors that pass.
    """

    operation: str
    nth: int = 1
    error: SafeholdError | None = None
    moment: Literal["before", "after", "torn"] = "before"
    prefix: str = ""
    times: int = 1

    def fits(self, operation: str, key: str) -> bool:
        """Whether it counts this operation."""
        kind = self.operation in (operation, "any") or (self.operation == "change" and operation in CHANGES)
        return kind and key.startswith(self.prefix)


class FaultyStore(PassThrough):
    """Fails as its faults say.  ``log`` holds (operation, key) of all that was begun, so a test can crash at each in turn.

    After a crash, ``inner`` is what the next process finds: everything acknowledged, and, after ``moment="after"``, also
    what was not.  ``unacknowledged`` names that key; a store may have lost it in a loss of power.
    """

    def __init__(self, store: Store, *faults: Fault) -> None:
        super().__init__(store)
        self.crashed = False
        self.unacknowledged: str | None = None
        self.log: list[tuple[str, str]] = []
        self._faults = list(faults)
        self._seen = [0] * len(faults)
        self._lock = threading.Lock()

    def put(self, key: str, data: Buffer) -> None:
        self.act("put", key, lambda: self.inner.put(key, data))

    def upload(self) -> Upload:
        return _FaultyUpload(self.act("upload", "", self.inner.upload), self)

    def get(self, key: str) -> bytes:
        return self.act("get", key, lambda: self.inner.get(key))

    def get_range(self, key: str, offset: int, length: int) -> bytes:
        return self.act("get_range", key, lambda: self.inner.get_range(key, offset, length))

    def size(self, key: str) -> int:
        return self.act("size", key, lambda: self.inner.size(key))

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """With ``moment="after"`` it fails behind its last line, as a listing that breaks off does."""
        fault = self._begin("list", prefix)
        if fault is not None and fault.moment == "after":
            return self._broken(self.inner.list(prefix), fault)
        if fault is not None:
            self._strike(fault)
        return self.inner.list(prefix)

    def delete(self, key: str) -> None:
        self.act("delete", key, lambda: self.inner.delete(key))

    def quarantine(self, key: str) -> None:
        self.act("quarantine", key, lambda: self.inner.quarantine(key))

    def act(self, operation: str, key: str, effect: Callable[[], _T], torn: Callable[[], object] | None = None) -> _T:
        """Do it, with whatever goes wrong.  ``torn`` does half of it."""
        fault = self._begin(operation, key)
        if fault is None:
            return effect()
        if fault.moment == "after":
            effect()
            self.unacknowledged = key or None
        elif fault.moment == "torn" and torn is not None:
            torn()
        self._strike(fault)
        raise AssertionError("a fault always raises")

    def _begin(self, operation: str, key: str) -> Fault | None:
        with self._lock:
            if self.crashed:
                raise CrashPoint
            self.log.append((operation, key))
            struck = None
            for number, fault in enumerate(self._faults):
                if fault.fits(operation, key):
                    self._seen[number] += 1
                    if fault.nth <= self._seen[number] < fault.nth + fault.times:
                        struck = struck or fault
            return struck

    def _strike(self, fault: Fault) -> None:
        if fault.error is not None:
            raise fault.error
        self.crashed = True
        raise CrashPoint

    def _broken(self, lines: Iterator[ObjectInfo], fault: Fault) -> Iterator[ObjectInfo]:
        yield from lines
        self._strike(fault)


class _FaultyUpload(PassThroughUpload):
    def __init__(self, upload: Upload, store: FaultyStore) -> None:
        super().__init__(upload)
        self._store = store

    def write(self, data: Buffer) -> None:
        half = memoryview(data)[: len(data) // 2]
        self._store.act("write", "", lambda: self.inner.write(data), torn=lambda: self.inner.write(half))

    def commit(self, key: str) -> None:
        self._store.act("commit", key, lambda: self.inner.commit(key))

    def abort(self) -> None:
        # A dead process tidies up nothing.
        if not self._store.crashed:
            self.inner.abort()


class VolatileStore(PassThrough):
    """Loses in ``crash`` all that the protocol lets a loss of power take, which real stores seldom lose."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self._deleted: dict[str, bytes] = {}
        self._lock = threading.RLock()

    def put(self, key: str, data: Buffer) -> None:
        with self._lock:
            self.settle(key)
            self.inner.put(key, data)
            self._deleted.pop(key, None)

    def upload(self) -> Upload:
        return _VolatileUpload(self.inner.upload(), self)

    def delete(self, key: str) -> None:
        with self._lock:
            self.settle(key)
            try:
                data = self.inner.get(key)
            except ObjectMissing:
                return
            self.inner.delete(key)
            self._deleted[key] = data

    def quarantine(self, key: str) -> None:
        with self._lock:
            self._deleted.clear()
            self.inner.quarantine(key)

    def close(self) -> None:
        self._deleted.clear()

    def settle(self, key: str) -> None:
        """A change of ``key`` begins: deletions in other top folders are durable from now on."""
        with self._lock:
            self._deleted = {name: data for name, data in self._deleted.items() if top_of(name) == top_of(key)}

    def crash(self, unacknowledged: str | None = None) -> None:
        """Lose power: deletions that nothing made durable are undone, and what was created without being acknowledged is gone.

        ``unacknowledged`` is that of the ``FaultyStore`` in front of this one.
        """
        with self._lock:
            if unacknowledged is not None and unacknowledged not in self._deleted:
                self.inner.delete(unacknowledged)
            for key, data in self._deleted.items():
                self.inner.put(key, data)
            self._deleted.clear()


class _VolatileUpload(PassThroughUpload):
    def __init__(self, upload: Upload, store: VolatileStore) -> None:
        super().__init__(upload)
        self._store = store

    def commit(self, key: str) -> None:
        self._store.settle(key)
        self.inner.commit(key)
