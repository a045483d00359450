"""Shares on a repository in memory, and what a friend gets of them."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import msgspec

from safehold.codec.share_secret import ShareSecret
from safehold.core.entries import DIRECTORY
from safehold.core.events import Event
from safehold.ops import share
from safehold.ops.share import Made, Options
from safehold.repo.packs import read_tail
from safehold.repo.repository import Repository
from safehold.repo.shares import records
from safehold.repo.shares.keys import ShareKey, share_key
from safehold.repo.shares.manifest import Entry, Part, Segment
from safehold.repo.shares.opening import OpenShare
from safehold.repo.snapshots import Stored
from safehold.storage.store import Store

ORIGIN = "https://safehold.example"


class Told:
    """A registry that keeps what it is told, and gives out what a server would."""

    origin = ORIGIN

    def __init__(self) -> None:
        self.created: list[bytes] = []
        self.published: dict[bytes, records.Record] = {}
        self.revoked: set[bytes] = set()

    def create(self, record: records.Record) -> None:
        self.created.append(record.share)

    def publish(self, record: records.Record) -> None:
        assert record.share in self.created
        self.published[record.share] = record

    def revoke(self, share: bytes) -> None:
        self.revoked.add(share)

    def generation(self, share: bytes) -> int:
        return self.published[share].generation if share in self.published else -1


class Shelf:
    """Gives a friend the objects and segments of one share, as they lie in a store now."""

    def __init__(self, store: Store, record: records.Record) -> None:
        self.store = store
        self.record = record
        self.fetched: list[bytes] = []

    def manifest(self, offset: int, length: int) -> bytes:
        data = self.store.get(records.key_of(self.record.share, self.record.manifest, records.MANIFEST))
        return data[offset : offset + length]

    def segment(self, segment: Segment) -> bytes:
        if segment.object:
            name, _ = self.record.objects[segment.object - 1]
            key = records.key_of(self.record.share, name, records.DATA)
            return self.store.get_range(key, segment.offset, segment.length)
        assert segment.id in self.record.segments
        self.fetched.append(segment.id)
        return sealed_segments(self.store)[segment.id]


def sealed_segments(store: Store) -> dict[bytes, bytes]:
    """Every sealed segment in a store's packs, found as a server finds them: by the clear footers."""
    found = {}
    for info in store.list("packs/"):
        for each in read_tail(store, info.key).footer.segments:
            found[each.id] = store.get_range(info.key, each.offset, each.length)
    return found


def key_for(made: Made, password: str = "") -> ShareKey:
    """What the friend makes of link and password."""
    record = made.record
    secret = ShareSecret(record.secret) if record.secret else None
    return share_key(record.share, record.lock, secret, password)


def open_made(store: Store, made: Made, password: str = "") -> OpenShare:
    return OpenShare(key_for(made, password), Shelf(store, made.record))


def contents(opened: OpenShare) -> dict[bytes, bytes]:
    """Path -> bytes of each file."""
    found = {}
    walk = opened.walk()
    stack: list[tuple[bytes, tuple[int, int]]] = [(b"", (0, 0))]
    while stack:
        path, place = stack.pop()
        for part, entry in walk.folder(place):
            if entry.kind == DIRECTORY:
                assert entry.below is not None
                stack.append((path + entry.name + b"/", entry.below))
            elif entry.kind == 0:
                found[path + entry.name] = opened.content(part, entry).read(0, entry.size)
    return found


def parts(opened: OpenShare) -> Iterator[Part]:
    return (opened.part(number) for number in range(len(opened.root.parts) + 1))


def entries(opened: OpenShare) -> list[Entry]:
    return [entry for part in parts(opened) for node in part.nodes for entry in node.entries]


def keys_of(opened: OpenShare) -> dict[bytes, bytes]:
    """Every segment key that a share hands out."""
    return {segment.id: segment.key for part in parts(opened) for segment in part.segments}


def make(
    repository: Repository, stored: Stored, path: Path | str | bytes, registry: Told | None = None, **options: object
) -> Made:
    where = path if isinstance(path, bytes) else os.fsencode(str(path)).strip(b"/")
    return share.create(repository, stored, where, Options(name="it", **options), registry or Told())  # type: ignore[arg-type]


class Words:
    """Text that compresses as people's does, always other text, with a mark to search for."""

    def __init__(self, seed: int = 1) -> None:
        self._random = random.Random(seed)
        self._words = [self._random.randbytes(self._random.randint(8, 30)).hex().encode() for _ in range(3000)]

    def text(self, size: int, mark: bytes = b"") -> bytes:
        chosen = self._random.choices(self._words, k=size // 16 + 1)
        return (mark + b" ".join(chosen))[:size]


class Heard:
    """Events, kept."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def __call__(self, event: Event) -> None:
        self.events.append(event)

    def codes(self) -> list[str]:
        return [getattr(event, "code", "") for event in self.events if getattr(event, "code", "")]


def encoded(value: object) -> bytes:
    return msgspec.msgpack.encode(value)
