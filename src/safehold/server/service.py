"""What every request of a server works with."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from safehold.core.clock import NS, Clock, SystemClock
from safehold.server.database import Database
from safehold.server.objects import rules
from safehold.server.settings import Settings
from safehold.storage.open import open_patiently
from safehold.storage.options import StoreOptions
from safehold.storage.store import Store

if TYPE_CHECKING:
    from safehold.storage.cloud.bucket import Bucket
    from safehold.storage.cloud.locking import Locks

_MOST_STORES = 256
"""Stores that are kept open; each holds at most 64 open files."""


_RECENT_SECONDS = 1.0
_MOST_RECENT = 10_000


class Recent:
    """What was looked up a moment ago: who asks, and what an object is.  A restore asks the same again for every range.

    It counts for a second at most, and not beyond a change that this server made; so another server's change, the withdrawal of a
    token among them, holds here a second later.
    """

    def __init__(self, database: Database, monotonic: Callable[[], float]) -> None:
        self._database = database
        self._monotonic = monotonic
        self._found: dict[Hashable, tuple[tuple[float, int], object]] = {}

    def begin(self) -> tuple[float, int]:
        """To be called before something is looked up that is to be kept."""
        return self._monotonic(), self._database.changes

    def find(self, key: Hashable) -> object | None:
        """What was kept for ``key``, if it still counts."""
        known = self._found.get(key)
        now, changes = self.begin()
        if known is None or known[0][1] != changes or now - known[0][0] > _RECENT_SECONDS:
            return None
        return known[1]

    def keep(self, key: Hashable, found: object, begun: tuple[float, int]) -> None:
        """Keep what was looked up since ``begun``."""
        if len(self._found) >= _MOST_RECENT:
            self._found.clear()
        self._found[key] = (begun, found)


@dataclass
class Service:
    """One server's settings, database, stores and clock."""

    settings: Settings
    database: Database
    clock: Clock = field(default_factory=SystemClock)
    recent: Recent = field(init=False)
    direct: Bucket | None = None
    """The bucket as devices reach it themselves, where they may."""
    locks: Locks | None = None
    """Of the bucket, where objects are to be locked."""
    _stores: OrderedDict[str, Store] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.recent = Recent(self.database, self.clock.monotonic)
        if self.settings.lock_days:
            from safehold.storage.cloud.locking import Locks

            self.locks = Locks(self.bucket())
        if self.settings.direct_endpoint:
            self.direct = self.bucket(self.settings.direct_endpoint)

    def store(self, repository: str) -> Store:
        """Where the bytes of a repository lie; made when it is first asked for.  Raises ``StoreError``."""
        with self._lock:
            found = self._stores.pop(repository, None)
            if found is None:
                found = self._open(repository)
            self._stores[repository] = found
            if len(self._stores) > _MOST_STORES:
                self._stores.popitem(last=False)  # closed when the last request that uses it lets go
            return found

    def _open(self, repository: str) -> Store:
        place = self.settings.store.rstrip("/")
        folder = self.settings.data.absolute()
        return open_patiently(f"{place or folder / 'repositories'}/{repository}", True, self._options(), self.clock)

    def _options(self) -> StoreOptions:
        return StoreOptions(state=self.settings.data.absolute() / "stores")

    def bucket(self, endpoint: str = "") -> Bucket:
        """The bucket in which the bytes lie.  Raises ``UsageError`` if they lie in none, or its keys are not told."""
        from safehold.storage.cloud.bucket import Bucket

        return Bucket(self.settings.store, self._options(), SystemClock(), endpoint)

    def lock(self, repository: str, key: str) -> int:
        """Lock an object that is stored, if the settings say so; until when.  Raises ``StoreError``."""
        if self.locks is None or not rules.is_locked(key):
            return 0
        until = self.clock.now_ns() + self.settings.lock_days * 86400 * NS
        self.locks.lock(f"{repository}/{key}", until)
        return until

    def close(self) -> None:
        """Let go of everything."""
        for store in self._stores.values():
            store.close()
        self.database.close()
