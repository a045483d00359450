"""Object lock of S3: what is locked can be removed or overwritten by nobody before a day, whatever keys they have.

The lock is in compliance mode: it can be made longer and never shorter.  A bucket has to be made for it, and keeps versions then.
``docs/server.md``, "Object lock".
"""

from __future__ import annotations

import base64
import hashlib
import re
from datetime import UTC, datetime

from safehold.core.clock import NS
from safehold.core.errors import StoreError, UsageError
from safehold.storage.cloud.bucket import Bucket

_RETENTION = (
    '<Retention xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Mode>COMPLIANCE</Mode>'
    "<RetainUntilDate>{until}</RetainUntilDate></Retention>"
)


class Locks:
    """Locks on the objects of one bucket."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket

    def require(self) -> None:
        """Raises ``UsageError`` unless the bucket was made for object lock."""
        status, told = self._bucket.ask("GET", self._bucket.url, "object-lock")
        if status != 200 or "<ObjectLockEnabled>Enabled" not in told:
            raise UsageError(
                f"The bucket {self._bucket.place.bucket} has no object lock, and lock_days asks for one.",
                "It can be had when a bucket is made; make another, or leave lock_days out.",
            )

    def lock(self, key: str, until_ns: int) -> None:
        """Lock an object until then, to the second; one that is locked for longer is left so.  Raises ``StoreError``."""
        until = datetime.fromtimestamp(-(-until_ns // NS), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        body = _RETENTION.format(until=until).encode()
        md5 = base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
        status, told = self._bucket.ask("PUT", self._bucket.url_of(key), "retention", body, content_md5=md5)
        if status >= 300 and self.until_ns(key) < until_ns:
            raise StoreError(f"{key} could not be locked: the store answered {status} {_code(told)}.", "Look at its rights.")

    def until_ns(self, key: str) -> int:
        """Until when an object is locked; 0 if it is not."""
        status, told = self._bucket.ask("GET", self._bucket.url_of(key), "retention")
        found = re.search(r"<RetainUntilDate>([^<]+)<", told) if status == 200 else None
        return int(datetime.fromisoformat(found[1].replace("Z", "+00:00")).timestamp() * NS) if found else 0


def _code(told: str) -> str:
    found = re.search(r"<Code>([^<]+)<", told)
    return found[1] if found else ""
