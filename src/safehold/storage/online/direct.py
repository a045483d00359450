"""Packs straight to and from the bucket of a server, by requests that it signed.  Where that does not work, it is left."""

from __future__ import annotations

import threading
from collections import OrderedDict

import msgspec
import urllib3
from urllib3.exceptions import HTTPError

from safehold.core.clock import SystemClock
from safehold.core.errors import SafeholdError
from safehold.storage.online.api import CONNECTIONS, Api

LEAST = 1 << 20
"""Bytes of an object that are worth a round trip to the server more."""
_LASTS = 600.0
"""Seconds that a request to read is used: it is good for a quarter of an hour."""
_MOST = 1000
_EXISTED = 412
"""What S3 answers to a creation where something is: of an upload that was cut off, as a rule."""
_TIMEOUT = urllib3.Timeout(connect=10, read=120)


class _Permit(msgspec.Struct):
    url: str
    headers: dict[str, str]
    reservation: str = ""
    size: int = 0


class Direct:
    """The way past the server; ``works`` no longer once the bucket could not be reached."""

    def __init__(self, api: Api, base: str) -> None:
        self._api = api
        self._base = f"{base}/direct"
        self._pool = urllib3.PoolManager(retries=False, timeout=_TIMEOUT, maxsize=CONNECTIONS, block=True, blocksize=1 << 20)
        self._readable: OrderedDict[str, tuple[float, _Permit]] = OrderedDict()
        self._lock = threading.Lock()
        self._monotonic = SystemClock().monotonic
        self.works = True

    def put(self, key: str, body: bytes, sha256: str) -> bool:
        """Store a pack; False if the bucket does not take it from here.  Raises as ``Api.send``."""
        told = {"key": key, "size": len(body), "sha256": sha256}
        permit = self._api.call("POST", self._base, _Permit, told)
        status = self._send(permit, body)
        stored, existed = status in (200, 201, _EXISTED), status == _EXISTED
        done = {**told, "reservation": permit.reservation, "stored": stored, "existed": existed}
        self._api.tell("POST", f"{self._base}/done", done)
        self.works = self.works and stored
        return stored

    def _send(self, permit: _Permit, body: bytes) -> int:
        try:
            return self._pool.request("PUT", permit.url, body=body, headers=permit.headers, redirect=False).status
        except (HTTPError, OSError):
            return 0

    def get_range(self, key: str, offset: int, length: int) -> bytes | None:
        """Some bytes of a pack; None if they are not to be had so.  Raises as ``Api.send``."""
        permit = self._to_read(key)
        if permit is None or offset + length > permit.size:
            return None
        headers = {**permit.headers, "Range": f"bytes={offset}-{offset + length - 1}"}
        try:
            answer = self._pool.request("GET", permit.url, headers=headers, redirect=False)
        except (HTTPError, OSError):
            self.works = False
            return None
        return answer.data if answer.status == 206 and len(answer.data) == length else None

    def _to_read(self, key: str) -> _Permit | None:
        now = self._monotonic()
        with self._lock:
            began, permit = self._readable.get(key, (0.0, None))
        if permit is not None and now - began < _LASTS:
            return permit
        try:
            permit = self._api.call("POST", f"{self._base}/read", _Permit, {"key": key})
        except SafeholdError:
            return None  # the request for the object itself says why
        with self._lock:
            self._readable[key] = (now, permit)
            if len(self._readable) > _MOST:
                self._readable.popitem(last=False)
        return permit

    def close(self) -> None:
        """Let go of all connections."""
        self._pool.clear()
