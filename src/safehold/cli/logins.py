"""What this machine knows of online servers: tokens, certificates to trust, and how far their histories went.

Tokens lie in ``logins.json`` in the state folder, which only this user may read.  ``SAFEHOLD_TOKEN`` goes before it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from random import SystemRandom
from typing import TYPE_CHECKING

import msgspec

from safehold.core.errors import ObjectMissing, RepositoryMissing, SafeholdError, StoreRefused
from safehold.storage.online.address import Address, parse

if TYPE_CHECKING:
    from safehold.core.clock import Clock
    from safehold.storage.online.api import Api
    from safehold.storage.online.chain import Head
    from safehold.storage.online.store import About, OnlineStore

FILE = "logins.json"
_FIRST_TRIES = 4
"""Of the first request, some 3 s in all: a server that is being restarted is waited for, one that is away is said soon."""


class Login(msgspec.Struct, frozen=True, kw_only=True):
    """One server, or one repository on it."""

    token: str
    fingerprint: str = ""
    """Of its certificate, where that is not one that the system trusts."""
    device: str = ""


class Logins:
    """The logins in a state folder.  Keys: a repository's address, else its server's."""

    def __init__(self, state: Path, environ: Mapping[str, str]) -> None:
        self._path = state / FILE
        self._environ = environ
        self._chains = state / "chains"

    def all(self) -> dict[str, Login]:
        """Every login.  Raises ``SafeholdError`` if the file is damaged."""
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=dict[str, Login])
        except FileNotFoundError:
            return {}
        except (OSError, msgspec.DecodeError) as error:
            raise SafeholdError(f"{self._path} cannot be read: {error}.", "Move it away, and log in again.") from error

    def find(self, address: Address) -> Login:
        """The login for a place.  Raises ``StoreRefused`` if there is none."""
        known = self.all()
        stored = known.get(address.text) or known.get(address.server)
        token = self._environ.get("SAFEHOLD_TOKEN", "")
        if token:
            fingerprint = self._environ.get("SAFEHOLD_FINGERPRINT", "") or (stored.fingerprint if stored else "")
            return Login(token=token, fingerprint=fingerprint)
        if stored is None:
            raise StoreRefused(f"This machine is not logged in at {address.server}.", f"safehold login {address.text}")
        return stored

    def remember(self, place: str, login: Login) -> None:
        """Keep a login, durably."""
        self._write({**self.all(), place: login})

    def forget(self, place: str) -> Login | None:
        """Let one go; it, if there was one."""
        known = self.all()
        gone = known.pop(place, None)
        if gone is not None:
            self._write(known)
        return gone

    def _write(self, logins: Mapping[str, Login]) -> None:
        write_private(self._path, msgspec.json.format(msgspec.json.encode(logins)))

    def seen(self, repository: str) -> Head:
        """How far this machine saw the history of a repository."""
        from safehold.storage.online.chain import Head

        try:
            return msgspec.json.decode((self._chains / repository).read_bytes(), type=Head)
        except (OSError, msgspec.DecodeError):
            return Head()

    def saw(self, repository: str, head: Head) -> None:
        """Remember that."""
        write_private(self._chains / repository, msgspec.json.encode(head))

    def forget_history(self, repository: str) -> None:
        """Begin anew with what the server shows next."""
        (self._chains / repository).unlink(missing_ok=True)


def write_private(path: Path, content: bytes) -> None:
    """A file that only this user may read, all or nothing.  Raises ``SafeholdError``."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise SafeholdError(
            f"{path} cannot be written: {error.strerror}.", "Set SAFEHOLD_STATE_DIR to a folder of yours."
        ) from error


def connect(address: Address, login: Login) -> Api:
    """Requests to a server, as that login."""
    from safehold.storage.online.api import Api

    return Api(address.server, login.token, login.fingerprint)


def open_online(location: str, logins: Logins, clock: Clock, warn: Callable[[str], None], *, create: bool) -> OnlineStore:
    """The store of a repository on a server, whose history goes on from where this machine saw it last.

    With ``create``, room for it is made where there is none.  Raises ``StoreRefused``, ``StoreUnreachable``,
    ``RepositoryMissing``, ``RolledBack``.
    """
    from safehold.storage.online.store import OnlineStore

    address = parse(location, repository=True)
    api = connect(address, logins.find(address))
    store = OnlineStore(address, api)
    try:
        told = _about(store, api, address, clock, create=create)
        follow(store, logins, told)
    except BaseException:
        store.close()
        raise
    for warning in told.warnings:
        warn(warning)
    return store


def _about(store: OnlineStore, api: Api, address: Address, clock: Clock, *, create: bool) -> About:
    """What the server says of the repository, which is made there if it may be."""
    from safehold.storage.wrappers.retry import Patience, RetryStore

    patient = RetryStore(store, clock, SystemRandom(), Patience(tries=_FIRST_TRIES))
    try:
        return patient.attempt(lambda _: store.about())
    except ObjectMissing as error:
        if not create:
            raise RepositoryMissing(
                f"There is no repository at {store.location}, or it is not yours.", "`safehold init` makes one."
            ) from error
    api.tell("POST", "/api/v1/repositories", {"name": address.name, "account": address.account})
    return store.about()


def follow(store: OnlineStore, logins: Logins, told: About) -> None:
    """Compare what a server says of its history with what this machine saw, and remember it.  Raises ``RolledBack``."""
    known = logins.seen(told.id)
    head = store.follow(known, told.head) if known.number else told.head
    if head != known:
        logins.saw(told.id, head)
