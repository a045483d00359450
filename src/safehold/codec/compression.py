"""Compression: zstd (RFC 8878), or nothing where that is not smaller.  ``docs/format/segments.md``.

A packed payload is ``method`` (1 byte: 0 stored, 1 zstd), ``raw`` (u32 little-endian, the length before compression),
``packed`` (u32, the length of the body), the body, and then zero bytes of padding.
"""

from __future__ import annotations

import struct
import sys

from safehold.core.errors import FormatError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

HEADER = struct.Struct("<BII")
STORED = 0
ZSTD = 1
DEFAULT_LEVEL = 3


def pack(data: bytes, level: int | dict[int, int] = DEFAULT_LEVEL, *, pad: bool = False) -> bytes:
    """``data`` with its header, compressed if that makes it smaller, padded by Padme if ``pad``.

    ``level``: a number, or zstd's parameters (``ZSTD_cParameter`` of zstd.h).
    """
    body = zstd.compress(data, level) if isinstance(level, int) else zstd.compress(data, options=level)
    if len(body) >= len(data):
        packed = HEADER.pack(STORED, len(data), len(data)) + data
    else:
        packed = HEADER.pack(ZSTD, len(data), len(body)) + body
    return packed + bytes(padme(len(packed)) - len(packed)) if pad else packed


def unpack(packed: bytes, limit: int) -> bytes:
    """The data of ``pack``.  Raises ``FormatError`` on anything else, and before unpacking more than ``limit`` bytes."""
    if len(packed) < HEADER.size:
        raise FormatError("A sealed payload is shorter than its header.")
    method, raw, length = HEADER.unpack_from(packed)
    if raw > limit or length > len(packed) - HEADER.size:
        raise FormatError(f"A sealed payload claims {raw} bytes in {length}, which cannot be.")
    body = memoryview(packed)[HEADER.size : HEADER.size + length]
    if method == STORED:
        data = bytes(body)
    elif method == ZSTD:
        data = _decompress(body, raw)
    else:
        raise FormatError(f"A sealed payload uses compression method {method}, which this program does not know.")
    if len(data) != raw:
        raise FormatError(f"A sealed payload holds {len(data)} bytes where it claims {raw}.")
    return data


def padme(length: int) -> int:
    """The padded length that leaks O(log log n) bits of ``length``: Nikitin et al., PURBs, PoPETs 2019, algorithm 1."""
    if length < 2:
        return length
    exponent = length.bit_length() - 1
    mask = (1 << (exponent - exponent.bit_length())) - 1
    return (length + mask) & ~mask


def _decompress(body: memoryview, raw: int) -> bytes:
    """One whole frame; at most ``raw`` + 1 bytes are produced, whatever the frame says of itself."""
    decompressor = zstd.ZstdDecompressor()
    try:
        data = decompressor.decompress(body, max_length=raw + 1)
    except zstd.ZstdError as error:
        raise FormatError(f"A compressed payload cannot be unpacked: {error}.") from error
    if len(data) <= raw and (not decompressor.eof or decompressor.unused_data):
        raise FormatError("A compressed payload is not one whole frame.")
    return data
