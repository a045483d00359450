"""One bucket of S3, for requests that ``obstore`` has no word for: signed here, and sent from here or by somebody else."""

from __future__ import annotations

import hashlib

import urllib3
from urllib3.exceptions import HTTPError

from safehold.core.clock import Clock
from safehold.core.errors import StoreUnreachable, UsageError
from safehold.storage.cloud.places import parse, s3_settings
from safehold.storage.cloud.signing import Keys, signed
from safehold.storage.options import StoreOptions

_TIMEOUT = urllib3.Timeout(connect=15, read=60)


class Bucket:
    """``clock`` has the true time: services refuse what was signed at another.

    ``endpoint``: how those reach it who are handed requests, if not as the store's own settings say.  Raises ``UsageError``
    where there can be no such requests.
    """

    def __init__(self, location: str, options: StoreOptions, clock: Clock, endpoint: str = "") -> None:
        self.place = parse(location)
        if self.place.kind != "s3":
            raise UsageError(f"{location} is not S3.", "This is for s3://.")
        told = s3_settings(self.place, options)
        environ = options.environ
        key = told.get("access_key_id") or environ.get("AWS_ACCESS_KEY_ID", "")
        secret = told.get("secret_access_key") or environ.get("AWS_SECRET_ACCESS_KEY", "")
        if not key or not secret:
            raise UsageError("This needs keys of S3 that are told to the server.", "Set AWS_ACCESS_KEY_ID.")
        self._keys = Keys(key, secret, told.get("session_token") or environ.get("AWS_SESSION_TOKEN", ""))
        self._region = told["region"]
        at = endpoint.rstrip("/") or told.get("endpoint", "")
        self.url = f"{at}/{self.place.bucket}" if at else f"https://{self.place.bucket}.s3.{self._region}.amazonaws.com"
        self._clock = clock
        self._pool = urllib3.PoolManager(retries=False, timeout=_TIMEOUT, maxsize=8)

    def url_of(self, key: str) -> str:
        """Of an object."""
        return f"{self.url}/{self.place.prefix}{key}"

    def headers(self, method: str, url: str, digest: str, query: str = "", **more: str) -> dict[str, str]:
        """Of a request that can be made for a quarter of an hour; ``digest`` is the SHA-256 of its body."""
        return signed(method, url, self._region, self._keys, self._clock.now_ns(), query=query, digest=digest, **more)

    def ask(self, method: str, url: str, query: str = "", body: bytes = b"", **more: str) -> tuple[int, str]:
        """Make a request; status and body of the answer.  Raises ``StoreUnreachable``."""
        headers = self.headers(method, url, hashlib.sha256(body).hexdigest(), query, **more)
        return self.send(method, f"{url}?{query}" if query else url, headers, body)

    def send(self, method: str, url: str, headers: dict[str, str], body: bytes) -> tuple[int, str]:
        """Make a request that was signed before.  Raises ``StoreUnreachable``."""
        try:
            answer = self._pool.request(method, url, body=body or None, headers=headers)
        except HTTPError as error:
            raise StoreUnreachable(f"The store {self.place.location} does not answer.", "Check the network.") from error
        return answer.status, answer.data.decode("utf-8", "replace")

    def close(self) -> None:
        """Let go of connections."""
        self._pool.clear()
