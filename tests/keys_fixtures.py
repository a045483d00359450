"""A repository's keys in memory, opened with key files so that nothing waits for Argon2id."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field

from safehold.codec.keyfile import KeyFile
from safehold.codec.sealing import Buffer
from safehold.core.clock import ManualClock
from safehold.core.errors import ObjectExists, ObjectMissing
from safehold.core.events import Event, Warn
from safehold.repo.keys.admin import add_slot, create_repository_keys
from safehold.repo.keys.format import Role
from safehold.repo.keys.keyring import Keyring
from safehold.repo.keys.opening import open_keyring
from safehold.repo.keys.unlock import Credential
from safehold.storage.store import Capabilities, ObjectInfo, Upload

REPOSITORY = bytes(range(16))


class KeyStore:
    """The part of a store that keys need; ``objects`` is what a hijacked store would edit."""

    location = "memory"

    def __init__(self, *, can_delete: bool = True) -> None:
        self.objects: dict[str, bytes] = {}
        self.capabilities = Capabilities(can_delete=can_delete)

    def put(self, key: str, data: Buffer) -> None:
        if key in self.objects:
            raise ObjectExists(f"{key} exists.")
        self.objects[key] = bytes(data)

    def get(self, key: str) -> bytes:
        try:
            return self.objects[key]
        except KeyError:
            raise ObjectMissing(f"{key} is missing.") from None

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        return iter([ObjectInfo(key, len(data)) for key, data in self.objects.items() if key.startswith(prefix)])

    def delete(self, key: str) -> None:
        self.objects.pop(key, None)

    def get_range(self, key: str, offset: int, length: int) -> bytes:
        return self.get(key)[offset:][:length]

    def size(self, key: str) -> int:
        return len(self.get(key))

    def upload(self) -> Upload:
        raise NotImplementedError("keys are small objects")

    def quarantine(self, key: str) -> None:
        self.objects["quarantine/" + key] = self.objects.pop(key)

    def close(self) -> None:
        pass


@dataclass
class World:
    """A repository with one owner."""

    store: KeyStore = field(default_factory=KeyStore)
    clock: ManualClock = field(default_factory=ManualClock)
    warnings: list[Warn] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.owner_file = self.key_file()
        self.owner = create_repository_keys(self.store, REPOSITORY, self.owner_file, clock=self.clock)

    def key_file(self) -> KeyFile:
        return KeyFile.new(REPOSITORY, os.urandom)

    def report(self, event: Event) -> None:
        assert isinstance(event, Warn)
        self.warnings.append(event)

    def add(self, role: Role, label: str = "") -> KeyFile:
        self.clock.advance(1)
        made = self.key_file()
        assert add_slot(self.store, self.owner, role, made, label or role, clock=self.clock) == made.slot_id
        return made

    def open(self, credential: Credential, **options: object) -> Keyring:
        return open_keyring(self.store, REPOSITORY, credential, report=self.report, **options)

    def codes(self) -> list[str]:
        return [warning.code for warning in self.warnings]
