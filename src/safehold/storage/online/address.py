"""Addresses of our own servers and of repositories on them."""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import urlsplit

from safehold.core.errors import UsageError

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


class Address(NamedTuple):
    """A server, and perhaps a repository on it."""

    server: str
    """Scheme, host and port."""
    account: str = ""
    name: str = ""

    @property
    def text(self) -> str:
        """As a user writes it."""
        return f"{self.server}/{self.account}/{self.name}" if self.name else self.server

    @property
    def base(self) -> str:
        """The path of the repository's requests."""
        return f"/api/v1/repositories/{self.account}/{self.name}"


def parse(text: str, *, repository: bool) -> Address:
    """An address; with ``repository``, one that names one.  Raises ``UsageError``.

    Without TLS only on this machine itself: what is sent is sealed, but a token is not.
    """
    parts = urlsplit(text)
    try:
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        raise UsageError(f"{text!r} has no port that can be.", "Write it as https://backup.example.org:8443/anna/home.") from None
    host = parts.hostname or ""
    if parts.scheme not in ("https", "http") or not host or parts.query or parts.fragment or "@" in parts.netloc:
        raise UsageError(f"{text!r} is no address of a server.", "Write it as https://backup.example.org/anna/home.")
    if parts.scheme == "http" and host not in _LOOPBACK:
        raise UsageError(f"{text} is not encrypted on its way.", "Use https://.")
    words = [word for word in parts.path.split("/") if word]
    server = f"{parts.scheme}://{f'[{host}]' if ':' in host else host}{port}"
    if not repository:
        return Address(server, *(words if len(words) == 2 and all(map(_NAME.fullmatch, words)) else ()))
    if len(words) != 2 or not all(map(_NAME.fullmatch, words)):
        raise UsageError(f"{text} names no repository.", f"Write account and repository behind the server: {server}/anna/home.")
    return Address(server, *words)
