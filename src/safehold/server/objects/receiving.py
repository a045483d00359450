"""Taking an object in: hashed while it streams, durable before it is acknowledged, charged before it is taken.

A large body is hashed and written in a thread, a mebibyte at a time, so that other requests go on; a small one is taken in by
one call (``receive_whole``).
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager, suppress

import msgspec

from safehold.core.errors import FormatError, ObjectExists, ObjectMissing, SafeholdError, StoreFull
from safehold.repo.packs import HEADER, TAIL, Footer, parse_tail
from safehold.server.answers import threaded
from safehold.server.asking import Asker, Place
from safehold.server.errors import Exists, Full, Mismatch, NotAllowed, Refusal, TooLarge
from safehold.server.objects import holdings, quota, rules
from safehold.server.objects.holdings import Received
from safehold.server.service import Service
from safehold.storage.keys import is_key
from safehold.storage.store import Buffer, Store, Upload

MAX_OBJECT = 5 << 30
"""Bytes: what one request to S3 takes."""
BATCH = 1 << 20
"""Bytes that are hashed and written at once."""
_TRIES = 20
_PAUSE = 0.05
"""Seconds.  So often, and so long between, it is looked whether a row comes for bytes that are there."""
_FOOTER = 256 << 10
"""The end of a pack that is kept for its footer: that of a pack of 32 MiB has some 4 KiB."""


class Promise(msgspec.Struct, frozen=True):
    """What a request says it will send, and the room set aside for it."""

    key: str
    size: int
    sha256: str
    """As the name or the request promises; may be empty."""
    reservation: str


def begin(service: Service, place: Place, key: str, length: str, told: str) -> Promise:
    """Check what is to come, and set room aside.  Raises ``Refusal``."""
    promise = check(service, place, key, length, told)
    return msgspec.structs.replace(promise, reservation=reserve(service, place, promise.size))


def reserve(service: Service, place: Place, size: int) -> str:
    """Set room aside; empty where there is no quota.  Raises ``Refusal``."""
    if not place.has_quota:
        return ""
    with service.database.write(keeps_lookups=True) as connection:
        return quota.reserve(connection, place.account, size, service.clock.now_ns())


def check(service: Service, place: Place, key: str, length: str, told: str) -> Promise:
    """What is to come, if it may.  Raises ``Refusal``."""
    if not is_key(key) or not rules.is_known(key):
        raise Refusal(f"{key!r} is no place for an object.", "docs/format says which there are.")
    place.require(rules.to_put(key), f"store {rules.top_of(key)}")
    promised = rules.hash_in(key)
    if rules.must_be_hashed(key) and not promised:
        raise Mismatch(f"{key} is not named by a SHA-256.", "Objects there are named by their bytes.")
    if told and promised and told != promised:
        raise Mismatch(f"{key} and X-Content-SHA256 do not say the same.")
    if not length.isdecimal():
        raise Refusal("The request does not say how long the object is.", "Send Content-Length.")
    size = int(length)
    if size > MAX_OBJECT:
        raise TooLarge(f"{key} would have {size} bytes; an object has {MAX_OBJECT} at most.")
    with service.database.read() as connection:
        stored = holdings.find(connection, place.id, key)
    if stored is not None:
        raise Exists(f"{key} is stored already.", headers={"X-Content-SHA256": stored.sha256})
    return Promise(key, size, told or promised, "")


async def receive(service: Service, place: Place, asker: Asker, promise: Promise, body: AsyncGenerator[Buffer]) -> Received:
    """Take a body in, part by part, and record it.  Raises ``Refusal``; then nothing is stored, and the room is given back."""
    try:
        with as_refusal(promise):
            taking = await threaded(Taking, service.store(place.id), promise)
            try:
                async with aclosing(body):
                    async for data in body:
                        await threaded(taking.take, data)
            except BaseException:
                await threaded(taking.upload.abort)
                raise
            return await threaded(finish, service, place, asker, promise, taking)
    finally:
        if promise.reservation:
            await threaded(release, service, promise)


def receive_whole(service: Service, place: Place, asker: Asker, promise: Promise, body: Buffer) -> Received:
    """Take a body in that is here, and record it.  Raises ``Refusal``; then nothing is stored, and the room is given back."""
    try:
        with as_refusal(promise):
            taking = Taking(service.store(place.id), promise)
            try:
                taking.take(body)
            except BaseException:
                taking.upload.abort()
                raise
            return finish(service, place, asker, promise, taking)
    finally:
        if promise.reservation:
            release(service, promise)


@contextmanager
def as_refusal(promise: Promise) -> Iterator[None]:
    """Say errors of stores as refusals."""
    try:
        yield
    except StoreFull as error:
        raise Full(f"The server's disk is full: {promise.key} was not stored.", "Tell whoever runs the server.") from error
    except SafeholdError as error:
        raise Refusal(str(error), error.hint) from error


class Taking:
    """An object that is coming in."""

    def __init__(self, store: Store, promise: Promise) -> None:
        self.store = store
        self._promise = promise
        self.upload: Upload = store.upload()
        self.size = 0
        self._digest = hashlib.sha256()
        self._is_pack = rules.top_of(promise.key) == "packs"
        self._head = b""
        self._end = b""

    def take(self, data: Buffer) -> None:
        """Hash and write some bytes.  Raises ``TooLarge`` if more come than were announced."""
        self.size += len(data)
        if self.size > self._promise.size:
            raise TooLarge(f"{self._promise.key} is longer than the {self._promise.size} bytes that were announced.")
        self._digest.update(data)
        self.upload.write(data)
        if self._is_pack:
            if len(self._head) < HEADER.size:
                self._head += bytes(data[: HEADER.size])
            if self.size > self._promise.size - _FOOTER:
                self._end = (self._end + bytes(data[-_FOOTER:]))[-_FOOTER:]

    def sha256(self) -> str:
        return self._digest.hexdigest()

    def footer(self, key: str) -> Footer | None:
        """The clear footer of a pack.  Raises ``Mismatch`` if what came is no pack."""
        return _footer(key, self._head, self._end, self.size) if self._is_pack else None


def _footer(key: str, head: bytes, end: bytes, size: int) -> Footer:
    """Of a pack, by its beginning and its end.  Raises ``Mismatch``."""
    try:
        length = TAIL.unpack(end[-TAIL.size :])[2] if len(end) >= TAIL.size else 0
        if length + TAIL.size > len(end) and length < size:
            raise Mismatch(f"The footer of {key} is larger than any that Safehold writes.")
        return parse_tail(key, head, end, size).footer
    except FormatError as error:
        raise Mismatch(f"{key} is no pack: {error}") from error


def adopt(service: Service, place: Place, asker: Asker, promise: Promise, *, existed: bool) -> None:
    """Make a pack count whose bytes its device put into the bucket, by a request that was good for those bytes alone.

    ``existed``: the bytes were there before, and are compared with their name.  The room that was set aside for it may be too
    little by what the device says now, so it is set aside anew.  Raises ``Refusal``.
    """
    with as_refusal(promise):
        store = service.store(place.id)
        try:
            size = store.size(promise.key)
        except ObjectMissing:
            raise Refusal(f"{promise.key} is not in the bucket.", "Store it anew.") from None
        if size != promise.size:
            raise Mismatch(f"{promise.key} has {size} bytes in the bucket, not {promise.size}.")
        head = store.get_range(promise.key, 0, min(size, HEADER.size))
        end = store.get_range(promise.key, -_FOOTER, _FOOTER)
        footer = _footer(promise.key, head, end, size)
        received = Received(promise.key, size, promise.sha256, footer, service.lock(place.id, promise.key))
        if existed:
            _compare(store, received)
        with service.database.write(keeps_lookups=True) as connection:
            now = service.clock.now_ns()
            holdings.lock(connection, place.id)
            quota.release_of(connection, place.account, promise.reservation)
            quota.release(connection, quota.reserve(connection, place.account, size, now))
            holdings.record(connection, place, asker, received, now)
            _require(store, received)


def finish(service: Service, place: Place, asker: Asker, promise: Promise, taking: Taking) -> Received:
    """Store what came, and record it.  Raises ``Refusal``; then it is not stored."""
    try:
        return _store(service, place, asker, promise, taking)
    finally:
        taking.upload.abort()


def _store(service: Service, place: Place, asker: Asker, promise: Promise, taking: Taking) -> Received:
    if taking.size != promise.size:
        raise Refusal(f"{promise.key} ended after {taking.size} of {promise.size} bytes.", "Send it again.")
    digest = taking.sha256()
    if promise.sha256 and digest != promise.sha256:
        raise Mismatch(
            f"The bytes of {promise.key} have the SHA-256 {digest}.", "They were changed on their way; send them again."
        )
    received = Received(promise.key, taking.size, digest, taking.footer(promise.key))
    adopted = False
    try:
        taking.upload.commit(promise.key)
    except ObjectExists:
        _wait_for_row(service, place, promise.key)
        _compare(taking.store, received)
        adopted = True
    received = msgspec.structs.replace(received, locked_ns=service.lock(place.id, promise.key))
    with service.database.write(keeps_lookups=True) as connection:
        now = service.clock.now_ns()
        if promise.reservation:
            holdings.lock(connection, place.id)
            quota.settle(connection, place.account, promise.reservation, received.size, now)
        holdings.record(connection, place, asker, received, now)
        # Who removes bytes that have no row holds the same lock, and may have removed these since.
        _compare(taking.store, received) if adopted else _require(taking.store, received)
    return received


def _require(store: Store, received: Received) -> None:
    """Raises ``Refusal`` unless the bytes that were stored just now are there."""
    try:
        if store.size(received.key) == received.size:
            return
    except ObjectMissing:
        pass
    raise Refusal(f"{received.key} was being removed; it was not stored.", "Send it again.")


def _wait_for_row(service: Service, place: Place, key: str) -> None:
    """Another request may have stored that key just now, and be about to record it.  Raises ``Exists`` when it has."""
    for _ in range(_TRIES):
        with service.database.read() as connection:
            row = holdings.find(connection, place.id, key)
            left = holdings.in_trash(connection, place.id, key)
        if row is not None:
            raise Exists(f"{key} is stored already.", headers={"X-Content-SHA256": row.sha256})
        if left is not None:
            return
        service.clock.sleep(_PAUSE)


def _compare(store: Store, received: Received) -> None:
    """Bytes are there under that key, and no row: of a request that was cut off, or in the trash.

    They count only if they are the same.  Raises ``Refusal``.
    """
    try:
        same = store.size(received.key) == received.size and _digest(store, received) == received.sha256
    except ObjectMissing:
        raise Refusal(f"{received.key} was being removed; it was not stored.", "Send it again.") from None
    if not same:
        raise NotAllowed(f"Something else was stored as {received.key} before; it is not replaced.", "Use another name.")


def _digest(store: Store, received: Received) -> str:
    digest = hashlib.sha256()
    for offset in range(0, received.size, BATCH):
        digest.update(store.get_range(received.key, offset, min(BATCH, received.size - offset)))
    return digest.hexdigest()


def release(service: Service, promise: Promise) -> None:
    """Give back the room that was set aside, if it still is."""
    with suppress(SafeholdError), service.database.write() as connection:
        quota.release(connection, promise.reservation)
