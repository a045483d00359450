"""Compression: zstd (RFC 8878), or nothing where that is not smaller.  ``docs/format/segments.md``.

A packed payload is ``method`` (1 byte: 0 stored, 1 zstd, 2 zstd of columns), ``raw`` (u32 little-endian, the length before
compression), ``packed`` (u32, the length of the body), the body, and then zero bytes of padding.

In columns lies first every 16th byte from the first on, then every 16th from the second on, and so forth.  Pages of databases are
made of records of like length: what counts up from one to the next, which zstd cannot see, comes to lie side by side.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable

from safehold.core.errors import FormatError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

HEADER = struct.Struct("<BII")
STORED = 0
ZSTD = 1
COLUMNS = 2
WIDTH = 16
"""Columns.  Of index pages of PostgreSQL 8 and 16 are best (a tenth of what zstd makes of them at the same level), of its tables
16 and 32 (a fourth)."""
DEFAULT_LEVEL = 3
_SAMPLE = 32 * 1024
"""Bytes of the middle by which it is told whether columns are smaller: four pages, or two."""
_GAIN = (7, 8)
"""They have to be smaller than so much, to be worth the time that they take (0.7 ms for each MB, either way)."""


def pack(
    data: bytes,
    level: int = DEFAULT_LEVEL,
    *,
    pad: bool = False,
    columns: int = 0,
    suits: Callable[[bytes], bool] | None = None,
) -> bytes:
    """``data`` with its header, compressed if that makes it smaller, padded by Padme if ``pad``.

    ``columns``: the level for data that is smaller in columns, as ``suits`` says; 0: that is not tried.
    """
    method = COLUMNS if columns and (suits or suits_columns)(data) else ZSTD
    body = zstd.compress(to_columns(data), columns) if method == COLUMNS else zstd.compress(data, level)
    if len(body) >= len(data):
        packed = HEADER.pack(STORED, len(data), len(data)) + data
    else:
        packed = HEADER.pack(method, len(data), len(body)) + body
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
    elif method == COLUMNS:
        data = from_columns(_decompress(body, raw))
    else:
        raise FormatError(f"A sealed payload uses compression method {method}, which this program does not know.")
    if len(data) != raw:
        raise FormatError(f"A sealed payload holds {len(data)} bytes where it claims {raw}.")
    return data


def suits_columns(data: bytes) -> bool:
    """Whether the middle of ``data`` is clearly smaller in columns."""
    middle = max(0, (len(data) - _SAMPLE) // 2)
    sample = data[middle : middle + _SAMPLE]
    return length_at(to_columns(sample), 1) * _GAIN[1] < length_at(sample, 1) * _GAIN[0]


def length_at(data: bytes, level: int) -> int:
    """The bytes that zstd makes of ``data``."""
    return len(zstd.compress(data, level))


def to_columns(data: bytes) -> bytes:
    """Every 16th byte from the first on, then from the second on, and so forth."""
    return b"".join([data[first::WIDTH] for first in range(WIDTH)])


def from_columns(columns: bytes) -> bytes:
    """Undo ``to_columns``."""
    data = bytearray(len(columns))
    view, at = memoryview(columns), 0
    for first in range(WIDTH):
        length = len(range(first, len(columns), WIDTH))
        data[first::WIDTH] = view[at : at + length]
        at += length
    return bytes(data)


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
