"""Logging in to an account on a server, from the command line: the password is stretched here and never sent."""

from __future__ import annotations

import base64
import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

from safehold.core.errors import SafeholdError, StoreRefused, UsageError

if TYPE_CHECKING:
    from safehold.storage.online.api import Api

SALT_SIZE = 16
LOGIN = b"safehold/1 account login"
WRAP = b"safehold/1 account wrap"
"""What the two keys of an account's password are for (``docs/server.md``, "Accounts")."""


class Prelogin(msgspec.Struct):
    """How a server says a password is stretched."""

    salt: bytes
    memory_kib: int
    passes: int
    lanes: int


def stretched(password: str, told: Prelogin) -> bytes:
    """32 bytes of a password, slowly.  Raises ``FormatError`` where the server asks for too cheap a derivation."""
    from safehold.codec.passphrase import Cost, Passphrase

    if len(told.salt) != SALT_SIZE:
        raise SafeholdError("The server told a salt of a wrong length.", "Is it a Safehold server?")
    return Passphrase(password).stretched(told.salt, Cost(told.memory_kib, told.passes, told.lanes))


def login_key(password: str, told: Prelogin) -> bytes:
    """32 bytes that prove the password.  Raises as ``stretched``."""
    from safehold.codec.sealing import derive

    return derive(stretched(password, told), LOGIN)


def new_login(password: str) -> tuple[bytes, bytes]:
    """A fresh salt and the login key for a new password."""
    from safehold.codec.passphrase import FLOOR

    salt = os.urandom(SALT_SIZE)
    return salt, login_key(password, Prelogin(salt, *FLOOR))


def ask_password(environ: Mapping[str, str], name: str, *, new: bool) -> str:
    """The account's password: from the environment, or asked for.  Raises ``UsageError``."""
    given = environ.get("SAFEHOLD_ACCOUNT_PASSWORD", "")
    if given:
        return given
    if not sys.stdin.isatty():
        raise UsageError("No password was given, and there is no terminal to ask at.", "Set SAFEHOLD_ACCOUNT_PASSWORD.")
    import getpass

    password = getpass.getpass(f"{'New password' if new else 'Password'} of {name}: ")
    if new and password and getpass.getpass("The same again: ") != password:
        raise UsageError("The two passwords differ; nothing was done.", "Try again.")
    if not password:
        raise UsageError("The password is empty.", "Give one with at least one character.")
    return password


def ask_code(environ: Mapping[str, str], told: str = "") -> str:
    """The code of a second factor."""
    given = told or environ.get("SAFEHOLD_CODE", "")
    if given:
        return given
    if not sys.stdin.isatty():
        raise UsageError("A code of your authenticator is needed, and there is no terminal to ask at.", "Give --code.")
    return input("Code of your authenticator: ").strip()


class Session:
    """A login of an account for as long as a command runs: the browser's way, by a cookie."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._headers = {"X-Safehold": "1", "Origin": api.server}

    def register(self, name: str, password: str, setup_code: str) -> None:
        """Make an account and begin a session.  Raises ``NotPermitted``."""
        salt, login = new_login(password)
        value = {"name": name, "salt": _text(salt), "login": _text(login), "setup_code": setup_code}
        self._keep(self._api.send("POST", "/api/v1/accounts", msgspec.json.encode(value), self._headers))

    def log_in(self, name: str, password: str, environ: Mapping[str, str], code: str) -> None:
        """Begin a session.  Raises ``StoreRefused`` where name, password or code are wrong."""
        told = self._api.call("POST", "/api/v1/prelogin", Prelogin, {"name": name})
        value = {"name": name, "login": _text(login_key(password, told)), "code": code}
        try:
            answer = self._api.send("POST", "/api/v1/login", msgspec.json.encode(value), self._headers)
        except StoreRefused as error:
            if "code is needed" not in str(error):
                raise
            value["code"] = ask_code(environ)
            answer = self._api.send("POST", "/api/v1/login", msgspec.json.encode(value), self._headers)
        self._keep(answer)

    def make_token(self, scope: str, label: str, repository: str) -> str:
        """A token for this machine."""
        value = {"scope": scope, "label": label, "repository": repository}
        answer = self._api.send("POST", "/api/v1/tokens", msgspec.json.encode(value), self._headers)
        return str(msgspec.json.decode(answer.data)["token"])

    def end(self) -> None:
        """Log out."""
        self._api.send("POST", "/api/v1/logout", b"{}", self._headers)

    def _keep(self, answer: object) -> None:
        cookie = getattr(answer, "headers", {}).get("Set-Cookie", "").split(";", 1)[0]
        if not cookie:
            raise SafeholdError("The server gave no session.", "Is it a Safehold server?")
        self._headers["Cookie"] = cookie


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
