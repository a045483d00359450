"""The device's side of being admitted to a server.  ``docs/server.md``, "Enrolling a device"."""

from __future__ import annotations

import base64
import os
import platform
from typing import TYPE_CHECKING

import msgspec

from safehold.codec import admission
from safehold.codec.sealing import KEY_SIZE, exchange_public, open_sealed_to, signing_public
from safehold.core.errors import NotPermitted

if TYPE_CHECKING:
    from safehold.storage.online.api import Api


class Given(msgspec.Struct, frozen=True):
    """What a device that was admitted gets."""

    token: str
    repository: str
    device: str
    key: bytes = b""
    """A key file of the repository; empty: none was made."""


class _Asked(msgspec.Struct):
    id: str
    secret: str


class _Answered(msgspec.Struct):
    state: str
    sealed: bytes = b""
    key_sealed: bytes = b""


class Enrolment:
    """A request for admission."""

    def __init__(self, api: Api, asked: _Asked, exchange: bytes, signing: bytes) -> None:
        self._api = api
        self._asked = asked
        self._exchange = exchange
        self.id = asked.id
        self.words = admission.joined(admission.words(exchange_public(exchange), signing_public(signing), asked.id))

    @classmethod
    def ask(cls, api: Api, name: str) -> Enrolment:
        """Ask for it, with fresh keys.  Raises as requests do."""
        exchange, signing = os.urandom(KEY_SIZE), os.urandom(KEY_SIZE)
        value = {
            "name": name,
            "exchange_public": base64.b64encode(exchange_public(exchange)).decode(),
            "signing_public": base64.b64encode(signing_public(signing)).decode(),
            "system": f"{platform.system()} {platform.release()}"[:100],
        }
        return cls(api, api.call("POST", "/api/v1/enrolments", _Asked, value), exchange, signing)

    def poll(self) -> Given | None:
        """What was given, or None while nobody has decided.

        Raises ``NotPermitted`` if it was turned away, ``ObjectMissing`` if it lapsed.
        """
        answered = self._api.call("POST", f"/api/v1/enrolments/{self.id}/poll", _Answered, {"secret": self._asked.secret})
        if answered.state == "refused":
            raise NotPermitted("This device was turned away.", "Ask whoever runs the repository.")
        if answered.state != "approved":
            return None
        info = admission.INFO + self.id.encode()
        given = msgspec.json.decode(open_sealed_to(self._exchange, info, answered.sealed), type=Given)
        if answered.key_sealed:
            key = open_sealed_to(self._exchange, info, answered.key_sealed)
            given = msgspec.structs.replace(given, key=key)
        return given

    def fetched(self) -> None:
        """Say that all is kept."""
        self._api.tell("POST", f"/api/v1/enrolments/{self.id}/poll", {"secret": self._asked.secret, "fetched": True})
