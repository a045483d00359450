"""A repository on a server of ours, as a store."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import msgspec

from safehold.core.errors import StoreError, StoreUnreachable
from safehold.storage.keys import check_key, check_prefix
from safehold.storage.online.address import Address
from safehold.storage.online.api import CONNECTIONS, Api
from safehold.storage.online.chain import Entry, Head, compare, follow
from safehold.storage.online.direct import LEAST, Direct
from safehold.storage.store import Buffer, Capabilities, Composition, ObjectInfo


class About(msgspec.Struct):
    """What a server says of a repository."""

    id: str
    rights: list[str]
    chain: dict[str, int | str]
    warnings: list[str] = []
    direct: bool = False
    """Whether packs go straight to the server's bucket."""
    composes: bool = False
    """Whether it puts packs together of stored segments, for who asks."""

    @property
    def head(self) -> Head:
        """The last entry of its chain."""
        return Head(int(self.chain["number"]), str(self.chain["head"]))


class _Listing(msgspec.Struct):
    objects: list[tuple[str, int, int]]
    next: str | None


class _Composed(msgspec.Struct):
    key: str


class _History(msgspec.Struct):
    entries: list[Entry]
    complete: bool


class OnlineStore:
    """The store of ``https://HOST/ACCOUNT/REPOSITORY``.  Nothing is asked of the server here."""

    def __init__(self, address: Address, api: Api) -> None:
        self._address = address
        self._api = api
        self._direct: Direct | None = None
        self._composes = False
        self.has_moved = False
        """Whether this client added to the repository's chain, whose head is then another."""

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(stamps=True, composes=self._composes, uploads=CONNECTIONS // 2)

    @property
    def location(self) -> str:
        return self._address.text

    def about(self) -> About:
        """What there is, and what one may do.  Raises ``ObjectMissing`` where there is no such repository."""
        told = self._api.call("GET", self._address.base, About)
        if told.direct and self._direct is None:
            self._direct = Direct(self._api, self._address.base)
        self._composes = told.composes
        return told

    def follow(self, known: Head, told: Head) -> Head:
        """The newest head, which continues the one that was known.  Raises ``RolledBack`` if none can."""
        compare(told, known, self.location)
        while known.number < told.number:
            page = self._api.call("GET", f"{self._address.base}/chain?after={known.number}", _History)
            known = follow(known, page.entries, self.location)
            if not page.entries:
                break
        if known.number == told.number:
            compare(told, known, self.location)
        return known

    def put(self, key: str, data: Buffer) -> None:
        check_key(key)
        body = bytes(data)
        digest = hashlib.sha256(body).hexdigest()
        if len(body) >= LEAST and self._goes_direct(key) and self._direct is not None and self._direct.put(key, body, digest):
            return
        headers = {"X-Content-SHA256": digest, "Content-Type": "application/octet-stream"}
        self._api.send("PUT", self._object(key), body, headers, what=key)
        self.has_moved |= not key.startswith(("packs/", "index/", "sessions/"))

    def upload(self) -> OnlineUpload:
        return OnlineUpload(self)

    def get(self, key: str) -> bytes:
        check_key(key)
        answer = self._api.send("GET", self._object(key), what=key)
        told = answer.headers.get("X-Content-SHA256", "")
        if told and hashlib.sha256(answer.data).hexdigest() != told:
            raise StoreUnreachable(f"Reading {key} from {self.location} broke off.", "Check the network.")
        return answer.data

    def get_range(self, key: str, offset: int, length: int) -> bytes:
        check_key(key)
        if offset < 0:
            size = self.size(key)
            start = max(0, size + offset)
            length = min(length, size - start)
            offset = start
        if not length:
            if self.size(key) < offset:
                raise self._outside(key, offset, length)
            return b""
        if self._goes_direct(key) and self._direct is not None:
            found = self._direct.get_range(key, offset, length)
            if found is not None:
                return found
        try:
            answer = self._api.send("GET", self._object(key), None, {"Range": f"bytes={offset}-{offset + length - 1}"}, what=key)
        except StoreError as error:
            if type(error) is StoreError:  # 416
                raise self._outside(key, offset, length) from error
            raise
        if len(answer.data) == length:
            return answer.data
        total = answer.headers.get("Content-Range", "").rpartition("/")[2]
        if total.isdecimal() and offset + length > int(total):
            raise self._outside(key, offset, length)
        raise StoreUnreachable(f"Reading {key} from {self.location} broke off.", "Check the network.")

    def size(self, key: str) -> int:
        check_key(key)
        answer = self._api.send("HEAD", self._object(key), what=key)
        return int(answer.headers["Content-Length"])

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        check_prefix(prefix)
        return self._listed(prefix)

    def _listed(self, prefix: str) -> Iterator[ObjectInfo]:
        after: str | None = ""
        while after is not None:
            page = self._api.call("GET", f"{self._address.base}/objects?prefix={prefix}&after={after}", _Listing)
            for key, size, received_ns in page.objects:
                yield ObjectInfo(key, size, received_ns)
            after = page.next

    def delete(self, key: str) -> None:
        check_key(key)
        self._api.send("DELETE", self._object(key), what=key)
        self.has_moved |= not key.startswith("sessions/")

    def quarantine(self, key: str) -> None:
        check_key(key)
        self._api.tell("POST", f"{self._address.base}/quarantine", {"key": key})

    def compose(self, wanted: Composition) -> str:
        made = self._api.call("POST", f"{self._address.base}/compose", _Composed, wanted)
        check_key(made.key)
        return made.key

    def report(self, value: object) -> None:
        """Say how a backup went.  Raises as any request does."""
        self._api.tell("POST", f"{self._address.base}/reports", value)

    def close(self) -> None:
        if self._direct is not None:
            self._direct.close()
        self._api.close()

    def _goes_direct(self, key: str) -> bool:
        return self._direct is not None and self._direct.works and key.startswith("packs/")

    def _object(self, key: str) -> str:
        return f"{self._address.base}/objects/{key}"

    def _outside(self, key: str, offset: int, length: int) -> StoreError:
        return StoreError(f"{key} in the store {self.location} is shorter than {offset} + {length} bytes, which were asked for.")


class OnlineUpload:
    """An object whose name is known at its end: kept in memory till then, so that its hash goes before it."""

    def __init__(self, store: OnlineStore) -> None:
        self._store = store
        self._taken: bytearray | None = bytearray()

    def write(self, data: Buffer) -> None:
        if self._taken is None:
            raise StoreError("This upload has ended.")
        self._taken += data

    def commit(self, key: str) -> None:
        if self._taken is None:
            raise StoreError("This upload has ended.")
        taken, self._taken = self._taken, None
        check_key(key)
        self._store.put(key, taken)

    def abort(self) -> None:
        self._taken = None
