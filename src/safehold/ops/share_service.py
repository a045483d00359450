"""Shares on our own server: the owner's side of it, and the friend's.  ``docs/sharing.md``, "On the server"."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import msgspec

from safehold.codec.share_secret import Link
from safehold.core.clock import Clock, SystemClock
from safehold.core.errors import (
    DamageError,
    NotPermitted,
    ObjectMissing,
    ShareGone,
    StoreError,
    StoreRefused,
    StoreUnreachable,
    WrongKey,
)
from safehold.repo.shares.keys import Lock, ShareKey, share_key
from safehold.repo.shares.manifest import STORED, Segment
from safehold.repo.shares.opening import OpenShare
from safehold.repo.shares.records import DATA, MANIFEST, Record, key_of
from safehold.storage.online.api import Api

R = TypeVar("R")
SEGMENTS_TOGETHER = 20_000
"""Ids in one request: 430 KiB of JSON."""
PATIENCE = (0.5, 2.0, 5.0)
"""Seconds to wait before the same bytes are asked for again."""


class ShareState(msgspec.Struct, frozen=True):
    """How a share fares on its server."""

    id: str
    created_ns: int
    expires_ns: int
    most_opens: int
    opens: int
    opened_ns: int
    revoked_ns: int
    generation: int = -1


class Opening(msgspec.Struct, frozen=True):
    """Somebody who came to a share."""

    time_ns: int
    address: str
    what: str


class _States(msgspec.Struct):
    shares: list[ShareState]


class _Log(msgspec.Struct):
    log: list[Opening]


class OnlineRegistry:
    """The server of a repository, for whoever shares from it (``ops.share.Registry``)."""

    def __init__(self, api: Api, base: str) -> None:
        """``base``: the path of the repository's requests."""
        self._api = api
        self._base = base

    @property
    def origin(self) -> str:
        return self._api.server

    def create(self, record: Record) -> None:
        value = {
            "id": record.share.hex(),
            "salt": record.lock.salt,
            "secret": record.lock.secret,
            "auth_hash": ShareKey(record.share, record.key).auth_hash,
            "password": record.lock.cost,
            "expires_ns": record.expires_ns,
            "opens": record.opens,
        }
        self._api.tell("POST", f"{self._base}/shares", value)

    def publish(self, record: Record) -> None:
        path = f"{self._base}/shares/{record.share.hex()}"
        for at in range(0, len(record.segments), SEGMENTS_TOGETHER):
            ids = b"".join(record.segments[at : at + SEGMENTS_TOGETHER])
            self._api.tell("POST", f"{path}/segments", {"generation": record.generation, "segments": ids})
        value = {
            "generation": record.generation,
            "manifest": key_of(record.share, record.manifest, MANIFEST),
            "objects": [key_of(record.share, name, DATA) for name, _ in record.objects],
        }
        self._api.tell("POST", f"{path}/publish", value)

    def revoke(self, share: bytes) -> None:
        try:
            self._api.send("DELETE", f"{self._base}/shares/{share.hex()}")
        except ObjectMissing:
            return  # the server does not know it: nobody can open it there

    def generation(self, share: bytes) -> int:
        state = self.states().get(share)
        return -1 if state is None else state.generation

    def states(self) -> dict[bytes, ShareState]:
        """How the shares of the repository fare, by id."""
        found = self._api.call("GET", f"{self._base}/shares", _States)
        return {bytes.fromhex(state.id): state for state in found.shares}

    def log(self, share: bytes) -> list[Opening]:
        """Who came to a share, newest first."""
        return self._api.call("GET", f"{self._base}/shares/{share.hex()}/log", _Log).log


class _Needs(msgspec.Struct):
    salt: bytes
    secret: bool
    password: tuple[int, int, int] | None = None


class _Opened(msgspec.Struct):
    session: str
    lapses_ns: int
    manifest_size: int
    generation: int


class OnlineSource:
    """A share on a server, for a friend (``repo.shares.opening.ShareSource``).  What it is given is checked by its caller."""

    def __init__(self, api: Api, share: bytes, clock: Clock | None = None) -> None:
        self._api = api
        self._path = f"/api/v1/shares/{share.hex()}"
        self._headers: dict[str, str] = {}
        self._sleep = (clock or SystemClock()).sleep

    def lock(self) -> Lock:
        """What kind of key it needs.  Raises ``ShareGone``, ``StoreUnreachable``, ``StoreError``."""
        needs = self._asking(lambda: self._api.call("GET", self._path, _Needs))
        return Lock(needs.salt, needs.secret, needs.password)

    def open(self, key: ShareKey) -> None:
        """Prove the key; this counts as one opening.  Raises ``WrongKey``, ``ShareGone``."""
        try:
            opened = self._asking(lambda: self._api.call("POST", f"{self._path}/open", _Opened, {"auth": key.auth}), again=False)
        except StoreRefused as error:
            raise WrongKey("That does not open this share.", "Look at the link, up to its end, and at the password.") from error
        self._headers = {"Authorization": f"Bearer {opened.session}"}

    def manifest(self, offset: int, length: int) -> bytes:
        if length <= 0:
            return b""
        return self._range(f"{self._path}/manifest", offset, length)[:length]

    def segment(self, segment: Segment) -> bytes:
        if segment.object == STORED:
            data = self._range(f"{self._path}/segments/{segment.id.hex()}", 0, segment.length)
        else:
            data = self._range(f"{self._path}/objects/{segment.object}", segment.offset, segment.length)
        if len(data) != segment.length:
            raise DamageError("A part of what was shared has another length than it should.", "Ask whoever shared it.")
        return data

    def _range(self, path: str, offset: int, length: int) -> bytes:
        headers = {**self._headers, "Range": f"bytes={offset}-{offset + length - 1}"}
        return self._asking(lambda: self._api.send("GET", path, None, headers).data)

    def _asking(self, ask: Callable[[], R], *, again: bool = True) -> R:
        """An answer; asked for again after a broken connection.  Raises ``ShareGone`` where there will be none any more."""
        for pause in (*(PATIENCE if again else ()), None):
            try:
                return ask()
            except ObjectMissing as error:
                raise ShareGone(str(error), error.hint) from error
            except NotPermitted as error:
                raise StoreError(str(error), error.hint) from error
            except StoreUnreachable:
                if pause is None:
                    raise
                self._sleep(pause)
        raise AssertionError("the last try returns or raises")


def open_link(api: Api, link: Link, password: Callable[[], str]) -> OpenShare:
    """Open the share of a link; ``password`` is asked only if it has one.

    Raises ``WrongKey``, ``ShareGone``, ``StoreUnreachable``, ``DamageError``.
    """
    source = OnlineSource(api, link.share)
    lock = source.lock()
    key = share_key(link.share, lock, link.secret, password() if lock.cost else "")
    source.open(key)
    return OpenShare(key, source)
