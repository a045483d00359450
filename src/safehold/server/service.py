"""What every request of a server works with."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass, field

from safehold.core.clock import Clock, SystemClock
from safehold.server.database import Database
from safehold.server.settings import Settings
from safehold.storage.open import open_patiently
from safehold.storage.options import StoreOptions
from safehold.storage.store import Store

_MOST_STORES = 256
"""Stores that are kept open; each holds at most 64 open files."""


@dataclass
class Service:
    """One server's settings, database, stores and clock."""

    settings: Settings
    database: Database
    clock: Clock = field(default_factory=SystemClock)
    _stores: OrderedDict[str, Store] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

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
        options = StoreOptions(state=folder / "stores")
        return open_patiently(f"{place or folder / 'repositories'}/{repository}", True, options, self.clock)

    def close(self) -> None:
        """Let go of everything."""
        for store in self._stores.values():
            store.close()
        self.database.close()
