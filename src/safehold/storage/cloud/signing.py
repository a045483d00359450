"""Requests to S3 for what ``obstore`` has no word for, signed by Amazon's Signature Version 4."""

from __future__ import annotations

import hashlib
import hmac
from datetime import UTC, datetime
from typing import NamedTuple
from urllib.parse import quote, urlsplit

_ALGORITHM = "AWS4-HMAC-SHA256"


class Keys(NamedTuple):
    """Who signs."""

    id: str
    secret: str
    token: str = ""
    """Of a session, if they are of one."""


def signed(
    method: str, url: str, region: str, keys: Keys, now_ns: int, *, digest: str, query: str = "", **more: str
) -> dict[str, str]:
    """The headers of a request: those in ``more`` (underscores for hyphens) and those that prove who asks.

    ``digest`` is the SHA-256 of the body.  ``url`` has no query; ``query`` is one word or pair: ``retention``, ``versionId=3``.
    """
    parts = urlsplit(url)
    stamp = datetime.fromtimestamp(now_ns // 10**9, UTC).strftime("%Y%m%dT%H%M%SZ")
    headers = {"host": parts.netloc, "x-amz-content-sha256": digest, "x-amz-date": stamp}
    headers |= {name.replace("_", "-").lower(): text for name, text in more.items()}
    if keys.token:
        headers["x-amz-security-token"] = keys.token
    names = ";".join(sorted(headers))
    lines = "".join(f"{name}:{headers[name].strip()}\n" for name in sorted(headers))
    asked = "\n".join(
        [method, quote(parts.path or "/"), query if "=" in query or not query else f"{query}=", lines, names, digest]
    )
    scope = f"{stamp[:8]}/{region}/s3/aws4_request"
    told = "\n".join([_ALGORITHM, stamp, scope, hashlib.sha256(asked.encode()).hexdigest()])
    key = b"AWS4" + keys.secret.encode()
    for word in scope.split("/"):
        key = hmac.digest(key, word.encode(), "sha256")
    signature = hmac.new(key, told.encode(), "sha256").hexdigest()
    proof = f"{_ALGORITHM} Credential={keys.id}/{scope}, SignedHeaders={names}, Signature={signature}"
    return {**headers, "authorization": proof}
