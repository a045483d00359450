"""Packing again what lies in segments with somebody else's: under fresh keys, for one share.  ``docs/sharing.md``."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Protocol

import msgspec

from safehold.codec import compression, sealing
from safehold.core.errors import ObjectExists
from safehold.repo.seals import DATA, Seals
from safehold.repo.segments import TARGET
from safehold.repo.shares.manifest import Segment
from safehold.storage.store import Store, Upload

OBJECT_TARGET = 32 * 1024 * 1024
"""A share object is closed when it has grown past this."""


class Sink(Protocol):
    """Where sealed segments go that belong to a share alone."""

    def write(self, body: bytes) -> tuple[int, int]:
        """Take a segment; the number of its object (from 1), and where it lies in that."""

    def finish(self) -> None:
        """Nothing more comes; what came is durable when this returns."""

    def abort(self) -> None:
        """Forget what is not finished.  Never raises."""


class Packed(msgspec.Struct, array_like=True, frozen=True):
    """A share object that is stored."""

    sha256: bytes
    size: int


class StoreSink:
    """Objects in the repository's store.  Belongs to one thread."""

    def __init__(self, store: Store, key_of: Callable[[bytes], str]) -> None:
        """``key_of``: the key of an object by its SHA-256."""
        self._store = store
        self._key_of = key_of
        self._upload: Upload | None = None
        self._hash = hashlib.sha256()
        self._size = 0
        self.objects: list[Packed] = []

    def write(self, body: bytes) -> tuple[int, int]:
        """Take a segment."""
        if self._upload is None:
            self._upload = self._store.upload()
        place = (len(self.objects) + 1, self._size)
        self._upload.write(body)
        self._hash.update(body)
        self._size += len(body)
        if self._size >= OBJECT_TARGET:
            self.finish()
        return place

    def finish(self) -> None:
        """Commit the object that is open."""
        upload, self._upload = self._upload, None
        if upload is None:
            return
        digest = self._hash.digest()
        try:
            upload.commit(self._key_of(digest))
        except ObjectExists:
            upload.abort()  # the same bytes: it was repeated
        self.objects.append(Packed(digest, self._size))
        self._hash, self._size = hashlib.sha256(), 0

    def abort(self) -> None:
        """Forget the object that is open."""
        if self._upload is not None:
            self._upload.abort()


class SharePacker:
    """Gathers pieces into segments, and hands these to a sink.  Belongs to one thread."""

    def __init__(self, seals: Seals, sink: Sink) -> None:
        self._seals = seals
        self._sink = sink
        self.segments: list[Segment] = []
        self._pieces: list[bytes] = []
        self._gathered = 0

    def add(self, data: bytes) -> tuple[int, int]:
        """Take bytes in; the number (in ``segments``) of the segment that will hold them, and where in it."""
        if self._gathered and self._gathered + len(data) > TARGET:
            self._seal()
        place = (len(self.segments), self._gathered)
        self._pieces.append(data)
        self._gathered += len(data)
        return place

    def finish(self) -> None:
        """Seal the rest."""
        if self._gathered:
            self._seal()

    def _seal(self) -> None:
        raw = b"".join(self._pieces)
        self._pieces, self._gathered = [], 0
        segment_id, key = self._seals.random(16), self._seals.random(32)
        aad = self._seals.segment_aad(b"segment", DATA, segment_id)
        body = sealing.aead_seal(key, sealing.ZERO_NONCE, compression.pack(raw), aad)
        number, offset = self._sink.write(body)
        self.segments.append(Segment(segment_id, key, len(raw), len(body), number, offset))
