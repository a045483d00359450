"""A store that cannot be changed through this object."""

from __future__ import annotations

from dataclasses import replace
from typing import NoReturn

from safehold.core.errors import NotPermitted
from safehold.storage.store import Buffer, Capabilities, Upload
from safehold.storage.wrappers.passthrough import PassThrough


class ReadOnlyStore(PassThrough):
    """Every change raises ``NotPermitted``."""

    @property
    def capabilities(self) -> Capabilities:
        return replace(self.inner.capabilities, can_delete=False, can_quarantine=False, composes=False)

    def put(self, key: str, data: Buffer) -> None:
        self._refuse(f"{key} was not stored")

    def upload(self) -> Upload:
        self._refuse("Nothing was stored")

    def delete(self, key: str) -> None:
        self._refuse(f"{key} was not deleted")

    def quarantine(self, key: str) -> None:
        self._refuse(f"{key} was not quarantined")

    def _refuse(self, what: str) -> NoReturn:
        raise NotPermitted(f"{what}: {self.location} is opened read-only.", "Run the command without the read-only option.")
