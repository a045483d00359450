"""Whose key is whose on a server: the account's own, and those of people that were compared by their words."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from safehold.cli.accounts import WRAP, Prelogin, ask_password, stretched
from safehold.codec import account_key, admission
from safehold.codec.account_key import Gift
from safehold.codec.sealing import derive, exchange_public
from safehold.core.errors import DamageError, NotPermitted, ObjectMissing, SafeholdError, StoreRefused, UsageError, WrongKey

if TYPE_CHECKING:
    from pathlib import Path

    from safehold.cli.call import Call
    from safehold.storage.online.api import Api

FILE = "people.json"
"""In the state folder: by server and name, the public keys that were compared."""


class Own(NamedTuple):
    """An account's own key."""

    name: str
    public: bytes
    private: bytes

    @property
    def words(self) -> str:
        """By which others know it."""
        return spoken(self.name, self.public)


class Given(msgspec.Struct, frozen=True):
    """A share that somebody gave to this account, as the server tells of it."""

    share: str
    sender: str
    sealed: bytes
    given_ns: int
    expires_ns: int = 0


class _Key(msgspec.Struct):
    name: str
    public: bytes
    sealed: bytes = b""


class _Received(msgspec.Struct):
    shares: list[Given]


def spoken(name: str, public: bytes) -> str:
    """The six words of a key."""
    return admission.joined(account_key.words(name, public))


def own(call: Call, api: Api, *, new: bool = False) -> Own:
    """The account's key, opened with its password; made if there is none, or ``new``.

    Raises ``WrongKey`` where another password locked it, ``StoreRefused`` where the server shows a key that is not its own.
    """
    told = api.call("GET", "/api/v1/key", _Key)
    stretching = api.call("POST", "/api/v1/prelogin", Prelogin, {"name": told.name})
    wrap = derive(stretched(ask_password(call.environ, told.name, new=False), stretching), WRAP)
    if new or not told.public:
        return _make(api, told.name, wrap)
    try:
        private = account_key.open_private(wrap, told.public, told.sealed)
    except DamageError as error:
        raise WrongKey(
            "The password does not open the account's key for shares.",
            "If it was changed since, make another: `safehold account key --new`; its words have to be compared anew.",
        ) from error
    if exchange_public(private) != told.public:
        raise StoreRefused("The server shows a key for this account that is not its own.", "Ask who runs the server.")
    return Own(told.name, told.public, private)


def _make(api: Api, name: str, wrap: bytes) -> Own:
    private = os.urandom(32)
    public = exchange_public(private)
    sealed = account_key.seal_private(wrap, public, private, os.urandom)
    api.tell("PUT", "/api/v1/key", {"public": public, "sealed": sealed})
    return Own(name, public, private)


def received(api: Api) -> list[Given]:
    """What was given to this account, the newest first."""
    return api.call("GET", "/api/v1/received", _Received).shares


def opened(mine: Own, given: Given) -> Gift:
    """What somebody gave.  Raises ``DamageError``."""
    return account_key.open_gift(mine.private, bytes.fromhex(given.share), given.sealed)


class People:
    """Those whose keys were compared, on this machine."""

    def __init__(self, state: Path, server: str) -> None:
        self._path = state / FILE
        self._server = server

    def public(self, api: Api, name: str) -> bytes:
        """Somebody's key, which was compared, and which the server still shows.

        Raises ``UsageError`` if it was not compared, ``StoreRefused`` if the server shows another one now.
        """
        shown = shown_key(api, name)
        known = self._all().get(self._server, {}).get(name)
        if known is None:
            raise UsageError(
                f"Whether the key that the server shows for {name} is theirs was never compared.",
                f"Have them say the words of `safehold account key`, then: safehold account trust {name} WORDS",
            )
        if bytes.fromhex(known) != shown:
            raise StoreRefused(
                f"The server shows another key for {name} than the one that was compared.",
                f"If they made a new one, have them say its words: safehold account trust {name} WORDS",
            )
        return shown

    def trust(self, api: Api, name: str, said: str) -> None:
        """Remember the key that the server shows, if it has the words that its owner said.

        Raises ``StoreRefused``, ``UsageError``.
        """
        typed = admission.normal(said)
        if len(typed.split("-")) != account_key.WORDS:
            raise UsageError(f"A key has {account_key.WORDS} words, and these are {len(typed.split('-'))}.", "Type all of them.")
        shown = shown_key(api, name)
        if spoken(name, shown) != typed:
            raise StoreRefused(
                f"The server shows a key for {name} that has other words than these.",
                "Have them say the words again. If they are right, the server put another key in its place: share nothing by it.",
            )
        known = self._all()
        known.setdefault(self._server, {})[name] = shown.hex()
        from safehold.cli.logins import write_private

        write_private(self._path, msgspec.json.format(msgspec.json.encode(known)))

    def _all(self) -> dict[str, dict[str, str]]:
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=dict[str, dict[str, str]])
        except FileNotFoundError:
            return {}
        except (OSError, msgspec.DecodeError) as error:
            raise SafeholdError(f"{self._path} cannot be read: {error}.", "Move it away, and compare the words anew.") from error


def shown_key(api: Api, name: str) -> bytes:
    """The public key that a server shows for somebody.  Raises ``UsageError``."""
    try:
        return api.call("GET", f"/api/v1/people/{name}/key", _Key).public
    except ObjectMissing as error:
        raise UsageError(str(error), error.hint) from error


def give(api: Api, base: str, share: bytes, name: str, public: bytes, gift: Gift) -> None:
    """Hand a share to somebody.  Raises as ``Api.tell``."""
    sealed = account_key.seal_gift(public, share, gift)
    try:
        api.tell("PUT", f"{base}/shares/{share.hex()}/people/{name}", {"sealed": sealed})
    except (ObjectMissing, NotPermitted) as error:
        raise SafeholdError(f"The share is made, but {name} could not be given it: {error}", error.hint) from error
