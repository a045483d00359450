"""Packing again what lies in segments with somebody else's: under fresh keys, for one share.  ``docs/sharing.md``."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import msgspec

from safehold.codec import compression, sealing
from safehold.repo.seals import DATA, Seals
from safehold.repo.segments import TARGET
from safehold.repo.shares.manifest import Segment
from safehold.storage.store import Store, Upload

OBJECT_TARGET = 32 * 1024 * 1024
"""A share object is closed when it has grown past this."""


class Packed(msgspec.Struct, frozen=True):
    """A share object that is stored."""

    sha256: bytes
    size: int


class SharePacker:
    """Gathers pieces into segments, and these into objects ``shares/SHARE/SHA256.data``.  Belongs to one thread."""

    def __init__(self, seals: Seals, store: Store, key_of: Callable[[bytes], str], numbers_from: int = 1) -> None:
        """``key_of``: the key of an object by its SHA-256."""
        self._seals = seals
        self._store = store
        self._key_of = key_of
        self._upload: Upload | None = None
        self._hash = hashlib.sha256()
        self._size = 0
        self._first = numbers_from
        self.objects: list[Packed] = []
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
        """Store the rest, durably."""
        if self._gathered:
            self._seal()
        if self._upload is not None:
            self._commit(self._upload)

    def abort(self) -> None:
        """Forget what is not stored."""
        if self._upload is not None:
            self._upload.abort()

    def _seal(self) -> None:
        raw = b"".join(self._pieces)
        self._pieces, self._gathered = [], 0
        segment_id, key = self._seals.random(16), self._seals.random(32)
        aad = self._seals.segment_aad(b"segment", DATA, segment_id)
        body = sealing.aead_seal(key, sealing.ZERO_NONCE, compression.pack(raw), aad)
        number = self._first + len(self.objects)
        self.segments.append(Segment(segment_id, key, len(raw), len(body), number, self._size))
        self._write(body)

    def _write(self, body: bytes) -> None:
        if self._upload is None:
            self._upload = self._store.upload()
        self._upload.write(body)
        self._hash.update(body)
        self._size += len(body)
        if self._size >= OBJECT_TARGET:
            self._commit(self._upload)

    def _commit(self, upload: Upload) -> None:
        digest = self._hash.digest()
        self._upload = None
        upload.commit(self._key_of(digest))
        self.objects.append(Packed(digest, self._size))
        self._hash, self._size = hashlib.sha256(), 0
