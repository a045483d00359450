"""What mariadb-backup and XtraBackup stream: chunks of many files, interleaved.

A chunk, little-endian: magic ``XBSTCK01``, flags (1 byte; bit 0: one of an unknown type may be skipped), type (1), length of the
path (4), path.  Type ``E``: that file ends, nothing follows.  Types ``P`` and ``S``: [``S``: entries of the sparse map (4)],
length of the payload (8), offset in the file (8), CRC-32 of map and payload (4), [``S``: the map, (skip 4, length 4) each],
payload.  Chunks of one file come in the order of their offsets.  Source: Percona XtraBackup, ``xbstream_read.cc``, and the
description of the format in its repository.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator

import msgspec

from safehold.core.errors import DatabaseFailed

MAGIC = b"XBSTCK01"
PAYLOAD, SPARSE, END = b"P", b"S", b"E"
PART = 1 << 20
"""Files are stored by blocks of so many bytes."""
MOST_PATH = 4096
MOST_PAYLOAD = 1 << 30
MOST_MAP = 1 << 20
_HINT = "No snapshot was made."
_HEAD = struct.Struct("<8sccI")
_BODY = struct.Struct("<QQI")


class Chunk(msgspec.Struct, frozen=True):
    """A piece of a file.  ``ends``: there is no more of it, and no data in this."""

    path: bytes
    offset: int = 0
    data: bytes = b""
    holes: tuple[tuple[int, int], ...] = ()
    """(skip, length) pairs of a sparse chunk: so many bytes are zeros, so many come from ``data``."""
    ends: bool = False


def chunks(read: Callable[[int], bytes]) -> Iterator[Chunk]:
    """The chunks of a stream.  ``read(count)`` gives that many bytes, fewer at the end only.  Raises ``DatabaseFailed``."""
    while head := read(_HEAD.size):
        if len(head) < _HEAD.size or not head.startswith(MAGIC):
            raise _broken("it is cut off, or not of the format xbstream")
        _, flags, kind, length = _HEAD.unpack(head)
        if length > MOST_PATH:
            raise _broken(f"a path of {length} bytes")
        path = _exactly(read, length)
        if kind == END:
            yield Chunk(path, ends=True)
        elif kind == PAYLOAD:
            yield from _content(read, path)
        elif kind == SPARSE:
            yield _sparse(read, path)
        elif not flags[0] & 1:
            raise _broken(f"a chunk of the unknown type {kind!r}")


def _content(read: Callable[[int], bytes], path: bytes) -> Iterator[Chunk]:
    """The parts of a chunk, each in one block of its file: they need not be cut out of it later, which would copy them.

    Its checksum is compared with that of all parts when they have been given: the stream is not whole without that.
    """
    length, offset, checksum = _body(read)
    found, end = 0, offset + length
    while offset < end:
        data = _exactly(read, min(PART - offset % PART, end - offset))
        found = zlib.crc32(data, found)
        yield Chunk(path, offset, data)
        offset += len(data)
    if found != checksum:
        raise _damaged(path)


def _sparse(read: Callable[[int], bytes], path: bytes) -> Chunk:
    entries = int.from_bytes(_exactly(read, 4), "little")
    length, offset, checksum = _body(read)
    if entries > MOST_MAP:
        raise _broken(f"a map of {entries} entries")
    encoded = _exactly(read, 8 * entries)
    data = _exactly(read, length)
    if zlib.crc32(data, zlib.crc32(encoded)) != checksum:
        raise _damaged(path)
    holes = tuple(struct.iter_unpack("<II", encoded))
    if sum(pair[1] for pair in holes) > length:
        raise _broken("a sparse chunk with less data than its map says")
    return Chunk(path, offset, data, holes)


def _body(read: Callable[[int], bytes]) -> tuple[int, int, int]:
    length, offset, checksum = _BODY.unpack(_exactly(read, _BODY.size))
    if length > MOST_PAYLOAD:
        raise _broken(f"a chunk of {length} bytes")
    return length, offset, checksum


def _damaged(path: bytes) -> DatabaseFailed:
    return _broken(f"a chunk of {path.decode(errors='replace')} does not have its checksum")


def _exactly(read: Callable[[int], bytes], count: int) -> bytes:
    data = read(count)
    if len(data) != count:
        raise _broken("it is cut off")
    return data


def _broken(what: str) -> DatabaseFailed:
    return DatabaseFailed(f"The backup program's stream cannot be read: {what}.", _HINT)
