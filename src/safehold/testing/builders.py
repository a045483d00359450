"""Repositories for tests, quickly made: key files instead of passphrases, caches in a folder of the test's own."""

from __future__ import annotations

import os
from pathlib import Path

from safehold.codec.keyfile import KeyFile
from safehold.core.clock import Clock
from safehold.core.events import Reporter, silent
from safehold.ops.backup.options import BackupOptions
from safehold.ops.backup.record import Result
from safehold.ops.backup.run import back_up
from safehold.repo import config, repository
from safehold.repo.keys.admin import add_slot
from safehold.repo.keys.format import Role
from safehold.repo.repository import Repository
from safehold.storage.store import Store


class Household:
    """A repository on a store, with everybody's key at hand."""

    def __init__(self, store: Store, cache: Path, *, clock: Clock | None = None, report: Reporter = silent) -> None:
        self.store = store
        self.cache = cache
        self.clock = clock
        self.report = report
        repository_id = os.urandom(16)
        self.owner_key = KeyFile.new(repository_id, os.urandom)
        made = repository.create(
            store, self.owner_key, cache, parameters=lambda _: config.Config(id=repository_id.hex()), clock=clock, report=report
        )
        self._clock = made.clock

    def open(self, key: KeyFile | None = None, *, store: Store | None = None, cache: Path | None = None) -> Repository:
        """The repository, opened with the owner's key or another; perhaps through another store, or with another cache."""
        return repository.open_repository(
            store or self.store, key or self.owner_key, cache or self.cache, clock=self.clock, report=self.report
        )

    def add_key(self, role: Role, label: str) -> KeyFile:
        """A further key."""
        key = KeyFile.new(self.owner_key.repository_id, os.urandom)
        add_slot(self.store, self.open().keyring, role, key, label, clock=self._clock)
        return key

    def back_up(self, *paths: Path | str, repository: Repository | None = None, **options: object) -> Result:
        """Back up some paths."""
        chosen = BackupOptions(paths=[str(path) for path in paths], **options)  # type: ignore[arg-type]
        return back_up(repository or self.open(), chosen)
