"""Who may ask the pages of this machine: whoever was given the address, in the browser that opened it first."""

from __future__ import annotations

import hmac
import secrets
import threading
from email.message import Message

from safehold.server.errors import Exists, NotAllowed, NotAuthenticated, Refusal

TOKEN_BYTES = 32


class WrongHost(Refusal):
    """Asked under a name that is not this machine's own."""

    status, code = 421, "host"


class Gate:
    """The address that opens the pages once, and what the browser shows from then on.

    Other users of the machine reach the port as well, and so does every page that a browser shows: by a name of theirs that
    suddenly means 127.0.0.1 (DNS rebinding), or by sending requests here.  So the name must be right, the request must not
    come from elsewhere, and it must carry what only the page knows.  That is no cookie:
    one of 127.0.0.1 goes to every port there is.
    """

    def __init__(self, port: int) -> None:
        self._hosts = {f"127.0.0.1:{port}", f"localhost:{port}"}
        self._once = secrets.token_urlsafe(TOKEN_BYTES)
        self._session = secrets.token_urlsafe(TOKEN_BYTES)
        self._entered = False
        self._lock = threading.Lock()
        self.address = f"http://127.0.0.1:{port}/#{self._once}"
        """To be opened; browsers do not send what stands behind the #."""

    def require_here(self, headers: Message) -> None:
        """Raise ``WrongHost`` unless it was asked under a name of this machine."""
        hosts = headers.get_all("Host") or []
        if len(hosts) != 1 or hosts[0].lower() not in self._hosts:
            raise WrongHost("These pages are there for this machine only.", "Open the address that `safehold ui` printed.")

    def require_own(self, headers: Message) -> None:
        """Raise ``NotAllowed`` where a request comes from another site's page."""
        origins = headers.get_all("Origin") or []
        own = {f"http://{host}" for host in self._hosts}
        site = headers.get("Sec-Fetch-Site", "same-origin")
        if any(origin.lower() not in own for origin in origins) or site not in ("same-origin", "none"):
            raise NotAllowed("Only these pages themselves may ask that.")

    def require_entered(self, headers: Message) -> None:
        """Raise ``NotAuthenticated`` unless the request carries the session."""
        kind, _, shown = (headers.get("Authorization") or "").partition(" ")
        if kind.lower() != "bearer" or not hmac.compare_digest(shown.strip().encode(), self._session.encode()):
            raise NotAuthenticated("This page belongs to another run.", "Open the address that `safehold ui` printed.")

    def enter(self, token: str) -> str:
        """The session, for the token of the address; given once.  Raises ``NotAuthenticated``, ``Exists``."""
        if not hmac.compare_digest(token.encode("utf-8", "replace"), self._once.encode()):
            raise NotAuthenticated("That is not the address of this run.", "Open the one that `safehold ui` printed last.")
        with self._lock:
            if self._entered:
                raise Exists(
                    "This address was opened already, and works once.",
                    "If it was not you, end `safehold ui` and start it again.",
                )
            self._entered = True
        return self._session
