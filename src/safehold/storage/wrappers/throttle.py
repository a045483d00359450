"""A limit on bytes per second, up and down."""

from __future__ import annotations

import threading

from safehold.core.clock import Clock
from safehold.storage.store import Buffer, Store, Upload
from safehold.storage.wrappers.passthrough import PassThrough, PassThroughUpload


class Pace:
    """Bytes per second over all threads; 0 is no limit.  A transfer waits until the ones before it are paid for."""

    def __init__(self, rate: float, clock: Clock) -> None:
        self._rate = rate
        self._clock = clock
        self._lock = threading.Lock()
        self._free_at = clock.monotonic()

    def spend(self, size: int) -> None:
        """Wait for the pace, then book ``size`` bytes."""
        if not self._rate:
            return
        with self._lock:
            now = self._clock.monotonic()
            start = max(self._free_at, now)
            self._free_at = start + size / self._rate
        if start > now:
            self._clock.sleep(start - now)


class ThrottledStore(PassThrough):
    """``up`` and ``down`` are bytes per second, 0 for no limit."""

    def __init__(self, store: Store, clock: Clock, up: float = 0, down: float = 0) -> None:
        super().__init__(store)
        self._up = Pace(up, clock)
        self._down = Pace(down, clock)

    def put(self, key: str, data: Buffer) -> None:
        self._up.spend(memoryview(data).nbytes)
        self.inner.put(key, data)

    def upload(self) -> Upload:
        return _ThrottledUpload(self.inner.upload(), self._up)

    def get(self, key: str) -> bytes:
        self._down.spend(0)
        data = self.inner.get(key)
        self._down.spend(len(data))
        return data

    def get_range(self, key: str, offset: int, length: int) -> bytes:
        self._down.spend(0)
        data = self.inner.get_range(key, offset, length)
        self._down.spend(len(data))
        return data


class _ThrottledUpload(PassThroughUpload):
    def __init__(self, upload: Upload, pace: Pace) -> None:
        super().__init__(upload)
        self._pace = pace

    def write(self, data: Buffer) -> None:
        self._pace.spend(memoryview(data).nbytes)
        self.inner.write(data)
