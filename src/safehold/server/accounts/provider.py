"""An OpenID Connect provider, as a server is told of one: where it is asked, and what its word is worth.

Only addresses of the provider that the settings name are asked, and no redirect is followed, so nobody can make the server ask
others.
"""

from __future__ import annotations

import base64
import hashlib
import ipaddress
from typing import Any
from urllib.parse import urlencode, urlsplit

import msgspec
import urllib3
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from safehold.server.errors import NotAuthenticated, Unavailable
from safehold.server.settings import Settings

SECONDS = 10.0
MOST_BYTES = 1 << 20
ALGORITHMS = ["RS256", "ES256", "PS256", "RS512", "ES384", "EdDSA"]
"""Of signatures by keys that the provider alone has; never ``none``, nor HMAC."""
LEEWAY_SECONDS = 60


class Endpoints(msgspec.Struct):
    """What a provider says of itself."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str


class _Tokens(msgspec.Struct):
    id_token: str


class Question(msgspec.Struct):
    """What was sent along with somebody to the provider."""

    state: str
    nonce: str
    verifier: str


class Provider:
    """The provider of the settings."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._pool = urllib3.PoolManager(retries=False, timeout=SECONDS, maxsize=4)
        self._endpoints: Endpoints | None = None

    def address(self, question: Question, back: str) -> str:
        """Where the browser is sent.  Raises ``Unavailable``."""
        digest = hashlib.sha256(question.verifier.encode()).digest()
        asked = {
            "response_type": "code",
            "client_id": self._settings.openid_client,
            "redirect_uri": back,
            "scope": "openid profile email",
            "state": question.state,
            "nonce": question.nonce,
            "code_challenge": base64.urlsafe_b64encode(digest).rstrip(b"=").decode(),
            "code_challenge_method": "S256",
        }
        return f"{self._known().authorization_endpoint}?{urlencode(asked)}"

    def claims(self, code: str, question: Question, back: str, now: int) -> dict[str, Any]:
        """Whom the provider vouches for; ``now`` in seconds.  Raises ``NotAuthenticated``, ``Unavailable``."""
        known = self._known()
        given = {"grant_type": "authorization_code", "code": code, "redirect_uri": back, "code_verifier": question.verifier}
        login = urllib3.make_headers(basic_auth=f"{self._settings.openid_client}:{self._settings.openid_secret}")
        tokens = self._ask("POST", known.token_endpoint, _Tokens, urlencode(given).encode(), dict(login))
        keys = KeySet.import_key_set(self._ask("GET", known.jwks_uri, dict[str, Any]))
        try:
            told = jwt.decode(tokens.id_token, keys, algorithms=ALGORITHMS).claims
            jwt.JWTClaimsRegistry(
                now=now,
                leeway=LEEWAY_SECONDS,
                iss={"essential": True, "value": known.issuer},
                aud={"essential": True, "value": self._settings.openid_client},
                sub={"essential": True},
                exp={"essential": True},
                nonce={"essential": True, "value": question.nonce},
            ).validate(told)
        except (JoseError, ValueError, TypeError, KeyError) as error:
            raise NotAuthenticated(f"The provider's word does not hold: {str(error)[:200]}.", "Begin again.") from error
        audience = told["aud"]
        if isinstance(audience, list) and len(audience) > 1 and told.get("azp") != self._settings.openid_client:
            raise NotAuthenticated("The provider's word was for somebody else.", "Begin again.")
        return told

    def _known(self) -> Endpoints:
        if self._endpoints is None:
            issuer = self._settings.openid_issuer.rstrip("/")
            found = self._ask("GET", f"{issuer}/.well-known/openid-configuration", Endpoints)
            if found.issuer.rstrip("/") != issuer:
                raise Unavailable("The provider calls itself by another name than the settings do.", "Look at openid_issuer.")
            self._endpoints = found
        return self._endpoints

    def _ask(self, method: str, url: str, kind: type[Any], body: bytes | None = None, more: dict[str, str] | None = None) -> Any:
        _require_safe(url)
        headers = {"Accept": "application/json", **(more or {})}
        if body is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        try:
            with self._pool.request(method, url, body=body, headers=headers, redirect=False, preload_content=False) as response:
                told = response.read(MOST_BYTES)
                if response.status != 200:
                    raise Unavailable(f"The provider answered with {response.status}.", "Begin again.")
                return msgspec.json.decode(told, type=kind)
        except (urllib3.exceptions.HTTPError, OSError, msgspec.DecodeError) as error:
            raise Unavailable("The provider does not answer as it should.", "Try again, or log in with a password.") from error


def _require_safe(url: str) -> None:
    """Raises ``Unavailable`` unless what is said to it stays between the two: by TLS, or on this machine."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme == "https" and host:
        return
    try:
        own = ipaddress.ip_address(host).is_loopback
    except ValueError:
        own = host == "localhost"
    if parts.scheme != "http" or not own:
        raise Unavailable("The provider is not reached by https.", "Look at openid_issuer.")
