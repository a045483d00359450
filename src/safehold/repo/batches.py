"""A file of the local cache that grows by sealed batches.  ``docs/architecture.md``, "The local cache".

    magic (8 bytes) | any number of: length (u32) | nonce (12) | sealed batch

A batch is sealed under a key that only this device has, and bound to the one before it, so what opens was written by this
device, for this use, in this order.  It is a hint: what does not open, and all that follows it, counts as not there, and goes
with the next change.  Of two programs that add a batch at the same time, one may lose its.
"""

from __future__ import annotations

import os
import struct
from contextlib import suppress
from pathlib import Path

from safehold.codec import compression, sealing
from safehold.core.errors import DamageError
from safehold.repo.seals import Seals

MAGIC = b"SHBATCH1"
LIMIT = 1 << 30
"""No batch is larger when it is unpacked."""
MOST = 32
"""With more batches than that, they had better be made one."""
_LENGTH = struct.Struct("<I")


class Batches:
    """One such file.  Belongs to one thread."""

    def __init__(self, seals: Seals, folder: Path, name: str) -> None:
        """``name``: what it is for."""
        slot = seals.keyring.slot_id
        self._path = folder / f"{name}-{slot.hex()[:16]}"
        self._key = sealing.derive(seals.cache_key, b"safehold/1 batches " + name.encode())
        self._bound = seals.repository_id + slot
        self._random = seals.random
        self._good = 0
        self._count = 0
        self._last = b""

    @property
    def crowded(self) -> bool:
        """Whether ``replace`` is due: there is no file, there are many batches, or some that don't open."""
        return not self._good or self._count >= MOST or self._size() != self._good

    def read(self) -> list[bytes]:
        """The batches that open, in order."""
        try:
            data = self._path.read_bytes()
        except OSError:
            data = b""
        self._good, self._count, self._last = 0, 0, b""
        if not data.startswith(MAGIC):
            return []
        self._good = at = len(MAGIC)
        found = []
        while at < len(data):
            length = int.from_bytes(data[at : at + _LENGTH.size], "little")
            sealed = data[at + _LENGTH.size : at + _LENGTH.size + length]
            batch = self._open(sealed) if len(sealed) == length else None
            if batch is None:
                break
            found.append(batch)
            at += _LENGTH.size + length
            self._good, self._count, self._last = at, self._count + 1, sealed[-sealing.TAG_SIZE :]
        return found

    def add(self, batch: bytes) -> None:
        """One more, after those that were read."""
        if not self._good or self._size() != self._good:
            return  # somebody else was quicker, or nothing was read yet
        framed = self._framed(batch, self._last)
        with suppress(OSError), self._path.open("ab") as file:
            file.write(framed)
            self._good, self._count, self._last = self._good + len(framed), self._count + 1, framed[-sealing.TAG_SIZE :]

    def replace(self, batch: bytes) -> None:
        """This one instead of all.  Atomic, and not durable: what a crash tears does not open."""
        partial = self._path.with_name(f"{self._path.name}.{self._random(8).hex()}.tmp")
        framed = self._framed(batch, b"")
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(MAGIC + framed)
            partial.replace(self._path)
            self._good, self._count, self._last = len(MAGIC) + len(framed), 1, framed[-sealing.TAG_SIZE :]
        except OSError:  # a machine that can't keep that goes without
            with suppress(OSError):
                partial.unlink(missing_ok=True)

    def _framed(self, batch: bytes, last: bytes) -> bytes:
        nonce = self._random(sealing.NONCE_SIZE)
        sealed = nonce + sealing.aead_seal(self._key, nonce, compression.pack(batch, 1), self._bound + last)
        return _LENGTH.pack(len(sealed)) + sealed

    def _open(self, sealed: bytes) -> bytes | None:
        if len(sealed) < sealing.NONCE_SIZE + sealing.TAG_SIZE:
            return None
        nonce, body = sealed[: sealing.NONCE_SIZE], sealed[sealing.NONCE_SIZE :]
        try:
            return compression.unpack(sealing.aead_open(self._key, nonce, body, self._bound + self._last), LIMIT)
        except DamageError:
            return None

    def _size(self) -> int:
        try:
            return self._path.stat().st_size
        except OSError:
            return 0
