"""A store in a bucket: each object an object there, below the prefix of the repository.

How the guarantees are reached is told in ``docs/stores.md``.  In short: one request creates an object, whole, on condition that
there is none (``If-None-Match: *`` or the vendor's own word for it), with the SHA-256 of its bytes where the service checks that.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from safehold.core.clock import Clock, SystemClock
from safehold.core.errors import ObjectExists, ObjectMissing, StoreError, StoreUnreachable
from safehold.storage.cloud import failures
from safehold.storage.cloud.places import connect, parse
from safehold.storage.cloud.probe import PROBE_BODY, PROBE_KEY, Findings
from safehold.storage.keys import check_key, check_prefix, is_key, quarantine_keys
from safehold.storage.options import DEFAULT, StoreOptions
from safehold.storage.store import Buffer, Capabilities, ObjectInfo

if TYPE_CHECKING:
    from safehold.storage.cloud.places import Client

_T = TypeVar("_T")

CONNECTIONS = 8
UPLOADS = 4
"""Packs of 32 MiB that are sent at once: each is in memory until it is acknowledged."""
LARGEST = 4 << 30
"""Bytes.  One request of S3 creates at most 5 GiB, of Azure 5000 MiB; objects here are packs of some 32 MiB."""
_PAGE = 1000
"""Lines in one answer of a listing; S3 gives no more."""


class ObjectStore:
    """A store at ``s3://bucket/prefix``, ``gs://bucket/prefix`` or ``az://container/prefix``.

    Nothing is asked of the service here.  Raises ``UsageError`` for a place that can't be, ``StoreRefused`` without credentials.
    """

    def __init__(self, location: str, options: StoreOptions = DEFAULT, clock: Clock | None = None) -> None:
        self._place = parse(location)
        self._client = connect(self._place, options)
        self._requests = threading.BoundedSemaphore(options.connections or CONNECTIONS)
        self._uploads = min(UPLOADS, options.connections or UPLOADS)
        self._findings = Findings(options.state, f"{self._place.location} {options.endpoint}", clock or SystemClock())
        self._exclusive: bool | None = None
        self._process = os.getpid()
        """Threads of the client do the work, and a fork does not take them along."""
        self._probing = threading.Lock()

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(exclusive=self._exclusive is not False, uploads=self._uploads)

    @property
    def location(self) -> str:
        return self._place.location

    def put(self, key: str, data: Buffer) -> None:
        check_key(key)
        self._create(key, [bytes(data)])

    def upload(self) -> BucketUpload:
        return BucketUpload(self._create)

    def get(self, key: str) -> bytes:
        check_key(key)
        result = self._call(key, lambda o, c: _whole(o.get(c, self._path(key))))
        data, size = result
        if len(data) != size:
            raise StoreUnreachable(f"Reading {key} from the store {self.location} broke off.", "Check the network.")
        return data

    def get_range(self, key: str, offset: int, length: int) -> bytes:
        check_key(key)
        if offset < 0:
            return self._end(key, -offset)[:length]
        if not length:
            if self.size(key) < offset:
                raise self._outside(key, offset, length)
            return b""
        path = self._path(key)
        try:
            data = self._call(key, lambda o, c: bytes(o.get_range(c, path, start=offset, length=length)))
        except ObjectMissing:
            raise
        except StoreError as error:
            if error.retryable or not isinstance(error, _OutOfRange):
                raise
            raise self._outside(key, offset, length) from error
        if len(data) != length:
            # Either the object ends there, or the answer broke off.
            if self.size(key) < offset + length:
                raise self._outside(key, offset, length)
            raise StoreUnreachable(f"Reading {key} from the store {self.location} broke off.", "Check the network.")
        return data

    def size(self, key: str) -> int:
        check_key(key)
        return self._call(key, lambda o, c: int(o.head(c, self._path(key))["size"]))

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        check_prefix(prefix)
        return self._listed(prefix)

    def delete(self, key: str) -> None:
        check_key(key)
        try:
            self._call(key, lambda o, c: o.delete(c, self._path(key)))
        except ObjectMissing:
            return

    def quarantine(self, key: str) -> None:
        data = self.get(key)
        for place in quarantine_keys(key):
            check_key(place)
            try:
                self._create(place, [data])
            except ObjectExists:
                continue
            break
        self.delete(key)

    def close(self) -> None:
        """Connections are kept by the client, and end with it."""

    def _path(self, key: str) -> str:
        return self._place.prefix + key

    def _listed(self, prefix: str) -> Iterator[ObjectInfo]:
        start = len(self._place.prefix)
        pages = self._call(prefix, lambda o, c: iter(o.list(c, prefix=self._path(prefix) or None, chunk_size=_PAGE)))
        while True:
            page = self._call(prefix, lambda o, c: next(pages, None))
            if page is None:
                return
            for line in page:
                key = line["path"][start:]
                if is_key(key):
                    yield ObjectInfo(key, line["size"], int(line["last_modified"].timestamp() * 1_000_000) * 1000)

    def _end(self, key: str, length: int) -> bytes:
        path = self._path(key)
        size = self.size(key)
        length = min(length, size)
        if not length:
            return b""
        data = self._call(key, lambda o, c: bytes(o.get_range(c, path, start=size - length, length=length)))
        if len(data) != length:
            raise StoreUnreachable(f"Reading {key} from the store {self.location} broke off.", "Check the network.")
        return data

    def _create(self, key: str, pieces: Sequence[bytes]) -> None:
        """Make an object of these pieces.  Raises ``ObjectExists``."""
        check_key(key)
        size = sum(map(len, pieces))
        if size > LARGEST:
            raise StoreError(f"{key} has {size} bytes, more than one request can store.")
        if self._is_exclusive():
            self._put(key, pieces, create=True)
            return
        if self._is_there(key):
            raise ObjectExists(f"{key} already exists in the store {self.location}.")
        self._put(key, pieces, create=False)

    def _is_there(self, key: str) -> bool:
        try:
            self.size(key)
        except ObjectMissing:
            return False
        return True

    def _put(self, key: str, pieces: Sequence[bytes], *, create: bool) -> None:
        mode = "create" if create else "overwrite"

        def send(o: Any, c: Client) -> Any:
            return o.put(c, self._path(key), [*pieces], mode=mode, use_multipart=False)

        try:
            answer = self._call(key, send)
        except ObjectMissing as error:
            raise StoreError(f"{key} could not be put into the store {self.location}.", "Is there such a bucket?") from error
        self._verify(key, pieces, answer)

    def _verify(self, key: str, pieces: Sequence[bytes], answer: Any) -> None:
        """Hold what the service says it stored against what was sent: of S3 the tag is the MD5, unless it encrypts by a key of
        its own; then, and elsewhere, the size is asked for.  What differs is a fault of the network or of the service."""
        tag = str(answer.get("e_tag") or "").strip('"')
        if self._place.kind == "s3" and tag == _md5(pieces):
            return
        size = self.size(key)
        if size != sum(map(len, pieces)):
            raise StoreError(f"The store {self.location} has {size} bytes of {key}, not what was sent.", "Look into the service.")

    def _is_exclusive(self) -> bool:
        """Whether the service refuses to replace an object; found out before the first creation."""
        if self._exclusive is None:
            with self._probing:
                if self._exclusive is None:
                    found = self._findings.load()
                    self._exclusive = self.probe() if found is None else found
        return self._exclusive

    def probe(self) -> bool:
        """Find out, and remember, whether the service refuses to replace an object."""
        refused = self._refuses() or self._refuses()
        self._exclusive = bool(refused)
        self._findings.store(self._exclusive)
        return self._exclusive

    def _refuses(self) -> bool | None:
        """Create the probe: True if it was refused because it is there, None if the service does not know conditions."""
        path = self._path(PROBE_KEY)
        with self._requests:
            import obstore

            try:
                obstore.put(self._client, path, PROBE_BODY, mode="create", use_multipart=False)
            except Exception as error:
                if failures.is_taken(error):
                    return True
                if failures.is_unsupported(error):
                    return None
                failure = failures.explained(error, "A first object", self.location)
                if isinstance(failure, ObjectMissing):
                    raise StoreError(f"There is no bucket for {self.location}.", "Check its name and the endpoint.") from error
                raise failure from error
        return False

    def _outside(self, key: str, offset: int, length: int) -> StoreError:
        return StoreError(f"{key} in the store {self.location} is shorter than {offset} + {length} bytes, which were asked for.")

    def _call(self, key: str, action: Callable[[Any, Client], _T]) -> _T:
        """Ask the service.  Its exceptions come out as errors of ours."""
        if os.getpid() != self._process:
            raise StoreError(f"The store {self.location} was used in a forked process; this is a bug.")
        import obstore

        try:
            with self._requests:
                return action(obstore, self._client)
        except (obstore.exceptions.BaseError, OSError, ValueError) as error:
            if failures.status_of(error) == 416:
                raise _OutOfRange(f"{key} in the store {self.location} is shorter than what was asked for.") from error
            raise failures.explained(error, key or "The listing", self.location) from error


class BucketUpload:
    """Keeps the bytes until the name is known; ``create(key, pieces)`` sends them."""

    def __init__(self, create: Callable[[str, Sequence[bytes]], None]) -> None:
        self._create = create
        self._pieces: list[bytes] | None = []

    def write(self, data: Buffer) -> None:
        self._open().append(bytes(data))

    def commit(self, key: str) -> None:
        pieces = self._open()
        self._pieces = None
        self._create(key, pieces)

    def abort(self) -> None:
        self._pieces = None

    def _open(self) -> list[bytes]:
        if self._pieces is None:
            raise StoreError("This upload has ended already.")
        return self._pieces


class _OutOfRange(StoreError):
    """HTTP 416."""


def _whole(result: Any) -> tuple[bytes, int]:
    return bytes(result.bytes()), int(result.meta["size"])


def _md5(pieces: Sequence[bytes]) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest()
