"""Object lock of S3: what is locked can be removed or overwritten by nobody before a day, whatever keys they have.

The lock is in compliance mode: it can be made longer and never shorter.  A bucket has to be made for it, and keeps versions then.
``docs/server.md``, "Object lock".
"""

from __future__ import annotations

import base64
import hashlib
import re
from datetime import UTC, datetime

import urllib3
from urllib3.exceptions import HTTPError

from safehold.core.clock import NS, Clock
from safehold.core.errors import StoreError, StoreUnreachable, UsageError
from safehold.storage.cloud.places import parse, s3_settings
from safehold.storage.cloud.signing import Keys, signed
from safehold.storage.options import StoreOptions

_TIMEOUT = urllib3.Timeout(connect=15, read=60)
_RETENTION = (
    '<Retention xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Mode>COMPLIANCE</Mode>'
    "<RetainUntilDate>{until}</RetainUntilDate></Retention>"
)


class Locks:
    """Locks on the objects of one bucket.  ``clock`` has the true time: services refuse what was signed at another.

    Raises ``UsageError`` where there can be none.
    """

    def __init__(self, location: str, options: StoreOptions, clock: Clock) -> None:
        place = parse(location)
        if place.kind != "s3":
            raise UsageError(f"{location} has no object lock that Safehold knows.", "It is for s3://.")
        told = s3_settings(place, options)
        environ = options.environ
        key = told.get("access_key_id") or environ.get("AWS_ACCESS_KEY_ID", "")
        secret = told.get("secret_access_key") or environ.get("AWS_SECRET_ACCESS_KEY", "")
        if not key or not secret:
            raise UsageError("Object lock needs keys of S3 that are told to the server.", "Set AWS_ACCESS_KEY_ID.")
        self._keys = Keys(key, secret, told.get("session_token") or environ.get("AWS_SESSION_TOKEN", ""))
        self._region = told["region"]
        endpoint = told.get("endpoint", "")
        self._bucket = f"{endpoint}/{place.bucket}" if endpoint else f"https://{place.bucket}.s3.{self._region}.amazonaws.com"
        self._prefix = place.prefix
        self._place = place
        self._clock = clock
        self._pool = urllib3.PoolManager(retries=False, timeout=_TIMEOUT, maxsize=8)

    def require(self) -> None:
        """Raises ``UsageError`` unless the bucket was made for object lock."""
        status, told = self._ask("GET", self._bucket, "object-lock")
        if status != 200 or "<ObjectLockEnabled>Enabled" not in told:
            raise UsageError(
                f"The bucket {self._place.bucket} has no object lock, and lock_days asks for one.",
                "It can be had when a bucket is made; make another, or leave lock_days out.",
            )

    def lock(self, key: str, until_ns: int) -> None:
        """Lock an object until then, to the second; one that is locked for longer is left so.  Raises ``StoreError``."""
        until = datetime.fromtimestamp(-(-until_ns // NS), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        body = _RETENTION.format(until=until).encode()
        status, told = self._ask("PUT", f"{self._bucket}/{self._prefix}{key}", "retention", body)
        if status >= 300 and self.until_ns(key) < until_ns:
            raise StoreError(f"{key} could not be locked: the store answered {status} {_code(told)}.", "Look at its rights.")

    def until_ns(self, key: str) -> int:
        """Until when an object is locked; 0 if it is not."""
        status, told = self._ask("GET", f"{self._bucket}/{self._prefix}{key}", "retention")
        found = re.search(r"<RetainUntilDate>([^<]+)<", told) if status == 200 else None
        return int(datetime.fromisoformat(found[1].replace("Z", "+00:00")).timestamp() * NS) if found else 0

    def close(self) -> None:
        """Let go of connections."""
        self._pool.clear()

    def _ask(self, method: str, url: str, query: str, body: bytes = b"") -> tuple[int, str]:
        more = {"content_md5": base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()} if body else {}
        headers = signed(method, url, self._region, self._keys, self._clock.now_ns(), query=query, body=body, **more)
        try:
            answer = self._pool.request(method, f"{url}?{query}", body=body or None, headers=headers)
        except HTTPError as error:
            raise StoreUnreachable(f"The store {self._place.location} does not answer.", "Check the network.") from error
        return answer.status, answer.data.decode("utf-8", "replace")


def _code(told: str) -> str:
    found = re.search(r"<Code>([^<]+)<", told)
    return found[1] if found else ""
