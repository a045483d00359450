"""Putting a pack together of segments that are stored here already, for a prune: no bytes go over a wire, no key is needed.

Each segment is compared with its digest on the way, so that what has rotted is not given a new name that vouches for it.
"""

from __future__ import annotations

import msgspec
from blake3 import blake3

from safehold.repo.packs import HEADER, MAGIC, TAIL
from safehold.repo.segments import LIMIT
from safehold.server.asking import Asker, Place
from safehold.server.errors import Mismatch, NotFound, Refusal, TooLarge
from safehold.server.objects import holdings, receiving, rules
from safehold.server.objects.receiving import BATCH, Promise, Taking
from safehold.server.objects.rules import Right
from safehold.server.service import Service
from safehold.storage.store import Composition, Store
from safehold.storage.store import Place as Part

MOST = 256 << 20
"""Bytes of a pack that is put together; those of Safehold have some 32 MiB."""
_SEALED = LIMIT + 1024


def compose(service: Service, place: Place, asker: Asker, wanted: Composition) -> str:
    """Store the pack; its key, also when it is there already.  Raises ``Refusal``; then nothing is stored."""
    place.require(Right.ADD | Right.PACKS, "put packs together")
    size = _size(service, place, wanted)
    promise = Promise("packs/composed", size, "", receiving.reserve(service, place, size))
    try:
        with receiving.as_refusal(promise):
            taking = Taking(service.store(place.id), promise)
            try:
                _fill(taking, wanted)
            except BaseException:
                taking.upload.abort()
                raise
            digest = taking.sha256()
            promise = msgspec.structs.replace(promise, key=f"packs/{digest[:2]}/{digest}", sha256=digest)
            if _is_stored(service, place, promise.key):
                taking.upload.abort()
            else:
                receiving.finish(service, place, asker, promise, taking)
    finally:
        if promise.reservation:
            receiving.release(service, promise)
    return promise.key


def _size(service: Service, place: Place, wanted: Composition) -> int:
    """Bytes of the pack, if all its parts are there.  Raises ``Refusal``."""
    if not 0 <= wanted.kind < 256 or not wanted.segments or len(wanted.end) < TAIL.size:
        raise Refusal("That is no pack.", "It has a kind, segments, and a footer with its tail.")
    with service.database.read() as connection:
        sizes = {key: _size_of(holdings.find(connection, place.id, key), key) for key in {each.key for each in wanted.segments}}
    for each in wanted.segments:
        _check(each, sizes[each.key])
    size = HEADER.size + sum(each.length + each.table_length for each in wanted.segments) + len(wanted.end)
    if size > MOST:
        raise TooLarge(f"The pack would have {size} bytes; it has {MOST} at most.")
    return size


def _size_of(row: object, key: str) -> int:
    if row is None or rules.top_of(key) != "packs":
        raise NotFound(f"There is no pack {key}.")
    return int(row.size)  # type: ignore[attr-defined]


def _check(part: Part, size: int) -> None:
    for offset, length in ((part.offset, part.length), (part.table_offset, part.table_length)):
        if offset < 0 or not 0 < length <= _SEALED or offset + length > size:
            raise Refusal(f"{part.key} has no {length} bytes from {offset} on that could be a segment.")


def _fill(taking: Taking, wanted: Composition) -> None:
    taking.take(HEADER.pack(MAGIC, wanted.kind))
    tables = [_take(taking, each) for each in wanted.segments]
    for data in (*tables, wanted.end):
        taking.take(data)


def _take(taking: Taking, part: Part) -> bytes:
    """Take a segment's body in; its table, for later.  Raises ``Mismatch`` if it is not as its digest says."""
    table = taking.store.get_range(part.key, part.table_offset, part.table_length)
    digest = blake3()
    for data in _pieces(taking.store, part):
        digest.update(data)
        taking.take(data)
    if digest.update(table).digest() != part.digest:
        raise Mismatch(f"A segment in {part.key} is damaged.", "`safehold check --read-data` tells what is affected.")
    return table


def _pieces(store: Store, part: Part) -> list[bytes]:
    body = store.get_range(part.key, part.offset, part.length)
    return [body[at : at + BATCH] for at in range(0, len(body), BATCH)]


def _is_stored(service: Service, place: Place, key: str) -> bool:
    with service.database.read() as connection:
        return holdings.find(connection, place.id, key) is not None
