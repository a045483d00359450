"""Requests to a server of ours, and what its refusals mean here."""

from __future__ import annotations

import hashlib
import re
import ssl
from collections.abc import Iterable
from typing import Any, TypeVar

import msgspec
import urllib3
from urllib3.exceptions import HTTPError, LocationParseError, MaxRetryError, NewConnectionError, SSLError

from safehold import __version__
from safehold.core.errors import (
    NotPermitted,
    ObjectExists,
    ObjectMissing,
    SafeholdError,
    StoreError,
    StoreFull,
    StoreRefused,
    StoreUnreachable,
    UsageError,
)

_T = TypeVar("_T")

CONNECTIONS = 8
_CONNECT_SECONDS = 15.0
_READ_SECONDS = 120.0
"""Without a byte: a server that verifies and syncs a large object answers sooner by far."""
_UNTRUSTED = (
    "CERTIFICATE_VERIFY_FAILED",
    "certificate verify failed",
    "Fingerprints did not match",
    "record layer",
    "WRONG_VERSION",
)
"""What OpenSSL and urllib3 say of a server that is not the one that is meant; all else in TLS is a connection that broke off."""
_FINGERPRINT = re.compile(r"[0-9a-fA-F]{64}")


class _Refused(msgspec.Struct):
    code: str = ""
    message: str = ""
    hint: str = ""


class Api:
    """Connections to one server, for many threads.

    ``fingerprint`` (SHA-256 of its certificate, hexadecimal digits with or without colons) is for servers whose certificate
    nobody vouches for: then that one counts, and no other.
    """

    def __init__(self, server: str, token: str = "", fingerprint: str = "", connections: int = CONNECTIONS) -> None:
        self.server = server
        self._headers = {"User-Agent": f"safehold/{__version__}"}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"
        pin = plain_fingerprint(fingerprint) if fingerprint else None
        timeout = urllib3.Timeout(connect=_CONNECT_SECONDS, read=_READ_SECONDS)
        kind: dict[str, Any] = {"cert_reqs": "CERT_NONE", "assert_fingerprint": pin, "assert_hostname": False} if pin else {}
        self._pool = urllib3.PoolManager(
            num_pools=2, maxsize=connections, block=True, retries=False, timeout=timeout, blocksize=1 << 20, **kind
        )

    def close(self) -> None:
        """Let go of all connections."""
        self._pool.clear()

    def send(
        self,
        method: str,
        path: str,
        body: bytes | Iterable[bytes] | None = None,
        headers: dict[str, str] | None = None,
        *,
        what: str = "",
    ) -> urllib3.BaseHTTPResponse:
        """One request; its answer, read whole.  ``what`` names an object in errors.

        Raises ``StoreUnreachable`` (worth another try), ``ObjectMissing``, ``ObjectExists``, ``StoreFull``, ``StoreRefused``,
        ``NotPermitted``, ``StoreError``.
        """
        try:
            answer = self._pool.request(
                method, self.server + path, body=body, headers={**self._headers, **(headers or {})}, redirect=False
            )
        except (HTTPError, OSError, LocationParseError) as error:
            raise self._failure(error) from error
        if answer.status < 300:
            return answer
        raise _meaning(answer, what or path, self.server)

    def call(self, method: str, path: str, kind: type[_T], value: object = None) -> _T:
        """One request of JSON; its answer as ``kind``.  Raises as ``send`` does."""
        body = None if value is None else msgspec.json.encode(value)
        headers = {} if value is None else {"Content-Type": "application/json"}
        answer = self.send(method, path, body, headers)
        try:
            return msgspec.json.decode(answer.data or b"null", type=kind)
        except msgspec.DecodeError as error:
            raise StoreError(
                f"The server {self.server} gave an answer that makes no sense: {error}.", "Is it a Safehold server?"
            ) from error

    def tell(self, method: str, path: str, value: object = None) -> None:
        """One request of JSON whose answer is of no interest.  Raises as ``send`` does."""
        body = None if value is None else msgspec.json.encode(value)
        self.send(method, path, body, {} if value is None else {"Content-Type": "application/json"})

    def _failure(self, error: Exception) -> SafeholdError:
        """Of a request that brought no answer: a server that isn't there, or isn't the one that is meant."""
        cause = error.reason if isinstance(error, MaxRetryError) and error.reason else error
        if isinstance(cause, SSLError) and any(word in str(cause) for word in _UNTRUSTED):
            return self._untrusted(cause)
        reason = "it does not answer" if isinstance(cause, NewConnectionError) else f"the connection failed ({_plainly(cause)})"
        return StoreUnreachable(f"The server {self.server} cannot be reached: {reason}.", "Is it running, and the network up?")

    def _untrusted(self, error: Exception) -> SafeholdError:
        if "record layer" in str(error) or "WRONG_VERSION" in str(error):
            return UsageError(f"The server {self.server} does not speak TLS there.", "Is the port right?")
        hint = "If it is yours: `safehold login URL --fingerprint SHA256`, with what `safehold server run` prints."
        return StoreRefused(f"The certificate of {self.server} is not one to trust: {_plainly(error)}.", hint)


def plain_fingerprint(text: str) -> str:
    """64 digits.  Raises ``UsageError``."""
    plain = text.replace(":", "").replace(" ", "").strip()
    if not _FINGERPRINT.fullmatch(plain):
        raise UsageError(
            "A fingerprint has 64 hexadecimal digits, with or without colons.", "It is the SHA-256 of a certificate."
        )
    return plain.lower()


def fingerprint_of(host: str, port: int) -> str:
    """The SHA-256 of the certificate that a server shows, trusted or not.  Raises ``StoreUnreachable``."""
    try:
        pem = ssl.get_server_certificate((host, port), timeout=_CONNECT_SECONDS)
    except OSError as error:
        raise StoreUnreachable(f"The server {host}:{port} cannot be reached: {error}.", "Is it running?") from error
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest()


def _meaning(answer: urllib3.BaseHTTPResponse, what: str, server: str) -> SafeholdError:
    """What an answer that is no success means."""
    try:
        told = msgspec.json.decode(answer.data, type=_Refused)
    except msgspec.DecodeError:
        told = _Refused(message=f"The server {server} answered {what} with {answer.status}.")
    made: dict[int, type[SafeholdError]] = {
        401: StoreRefused,
        403: NotPermitted,
        404: ObjectMissing,
        410: ObjectMissing,
        409: ObjectExists if told.code == "exists" else NotPermitted,
        429: StoreUnreachable,
        507: StoreFull,
    }
    kind = made.get(answer.status, StoreUnreachable if answer.status >= 500 else StoreError)
    return kind(told.message or f"The server {server} answered with {answer.status}.", told.hint)


def _plainly(error: BaseException) -> str:
    text = str(error).rsplit(": ", 1)[-1].strip("()'\" .")
    return text[:200] or type(error).__name__
