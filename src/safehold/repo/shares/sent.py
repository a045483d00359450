"""Files that somebody sends in by a request link, sealed for who asked.  ``docs/format/shares.md``.

    magic (8) | request id (16) | wrapped key (80) | length of the sealed header (u32) | sealed header | sealed blocks

Each block has a key of its own, which says its number and whether it is the last, so that none is left out, moved or added.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import BinaryIO

import msgspec

from safehold.codec import sealing
from safehold.core.errors import DamageError, FormatError

MAGIC = b"SHSENT01"
HEAD = struct.Struct("<8s16s80sI")
BLOCK = 1024 * 1024
MOST_HEADER = 64 * 1024
MOST_NAME = 255


class SentHeader(msgspec.Struct, array_like=True, frozen=True):
    """What a sent file is called."""

    name: bytes
    size: int
    mtime_ns: int
    sender: str = ""
    """As the sender says."""


def sealed_size(header: SentHeader) -> int:
    """Bytes of the object for a file."""
    blocks = max(1, -(-header.size // BLOCK))
    return HEAD.size + len(msgspec.msgpack.encode(header)) + sealing.TAG_SIZE + header.size + blocks * sealing.TAG_SIZE


def seal(public: bytes, request: bytes, header: SentHeader, file: BinaryIO, random: Callable[[int], bytes]) -> Iterator[bytes]:
    """The object, piece by piece.  Raises ``DamageError`` if the file does not have the size that the header says."""
    key = random(32)
    wrapped = sealing.wrap_key(public, "request", request, b"", key)
    encoded = msgspec.msgpack.encode(header)
    sealed = sealing.aead_seal(_key(key, 0, False), sealing.ZERO_NONCE, encoded, _aad(request))
    yield HEAD.pack(MAGIC, request, wrapped, len(sealed)) + sealed
    left, number = header.size, 1
    while True:
        data = file.read(min(BLOCK, left))
        if len(data) != min(BLOCK, left):
            raise DamageError("The file became shorter while it was sent.", "Send it again.")
        left -= len(data)
        if not left and file.read(1):
            raise DamageError("The file became longer while it was sent.", "Send it again.")
        yield sealing.aead_seal(_key(key, number, not left), sealing.ZERO_NONCE, data, _aad(request))
        if not left:
            return
        number += 1


class SentFile:
    """A sent file, being opened (``sources.files.data.Data``)."""

    def __init__(self, private: bytes, request: bytes, fetch: Callable[[int, int], bytes], size: int) -> None:
        """``fetch``: (offset, length) -> bytes of the object, which has ``size``.  Raises ``DamageError``."""
        begin = fetch(0, min(size, HEAD.size + MOST_HEADER))
        magic, named, wrapped, length = HEAD.unpack_from(begin) if len(begin) >= HEAD.size else (b"", b"", b"", 0)
        if magic != MAGIC or named != request or length > MOST_HEADER:
            raise FormatError("What was sent is no file that Safehold sealed for this request.")
        self._request = request
        self._fetch = fetch
        self._key = sealing.unwrap_key(private, "request", request, b"", wrapped)
        self._begins = HEAD.size + length
        sealed = begin[HEAD.size : self._begins]
        encoded = sealing.aead_open(_key(self._key, 0, False), sealing.ZERO_NONCE, sealed, _aad(request), "sent file")
        try:
            self.header = msgspec.msgpack.decode(encoded, type=SentHeader)
        except (ValueError, RecursionError) as error:
            raise FormatError(f"The name of a sent file cannot be read: {error}.") from error
        if self.header.size < 0 or sealed_size(self.header) != size or len(self.header.name) > MOST_NAME:
            raise FormatError("A sent file does not have the size that it should.")
        self.size = self.header.size
        self._blocks = max(1, -(-self.size // BLOCK))

    def read(self, offset: int, length: int) -> bytes:
        """Bytes from ``offset``; fewer at the end.  Raises ``DamageError``."""
        end = min(offset + length, self.size)
        parts = []
        while offset < end:
            number, inside = divmod(offset, BLOCK)
            block = self._block(number)
            parts.append(block[inside : inside + end - offset])
            offset += len(parts[-1])
        return b"".join(parts)

    def check_empty(self) -> None:
        """Of a file without content: prove that it ends there.  Raises ``DamageError``."""
        self._block(0)

    def pieces(self) -> Iterator[tuple[int, int]]:
        """Offset and length of each block."""
        for offset in range(0, self.size, BLOCK):
            yield offset, min(BLOCK, self.size - offset)

    def _block(self, number: int) -> bytes:
        length = min(BLOCK, self.size - number * BLOCK)
        sealed = self._fetch(self._begins + number * (BLOCK + sealing.TAG_SIZE), length + sealing.TAG_SIZE)
        key = _key(self._key, number + 1, number + 1 == self._blocks)
        return sealing.aead_open(key, sealing.ZERO_NONCE, sealed, _aad(self._request), "sent file")


def _key(key: bytes, number: int, last: bool) -> bytes:
    return sealing.derive(key, b"safehold/1 sent " + struct.pack("<IB", number, last))


def _aad(request: bytes) -> bytes:
    return b"safehold/1 sent\0" + request
