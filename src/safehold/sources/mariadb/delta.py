"""What an incremental of mariadb-backup streams of an InnoDB file: ``NAME.meta``, then ``NAME.delta``, the pages that changed.

A delta is made of buffers.  Each begins with a page of numbers, big-endian: ``xtra``, or ``XTRA`` for the last one; then the
places of the pages that follow, counted in pages, ended by 0xffffffff where there is room.  Source: MariaDB, ``write_filt.cc``
and ``xtrabackup_apply_delta``.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

import msgspec

from safehold.core.errors import DatabaseFailed
from safehold.sources.mariadb.taking import settings

META, DELTA = b".meta", b".delta"
_MORE, _LAST = b"xtra", b"XTRA"
_END = 0xFFFFFFFF
_SPACE_ID, _SIZE, _FLAGS = 38, 46, 54
"""Where the first page says the number of its tablespace, that of its pages, and how it is made.  Source: ``fsp0types.h``."""
_FULL_CRC = 1 << 4
_SIZES = frozenset(1 << bits for bits in range(10, 17))

BLOCK = 1 << 20
"""Files are stored by blocks of so many bytes."""
Run = tuple[int, bytes]
"""Pages that follow each other in a block: where they begin in their file, and their bytes."""


class Meta(msgspec.Struct, frozen=True):
    """Of which tablespace the pages of a delta are, and how large in its file."""

    space: int
    page: int


def meta(data: bytes) -> Meta:
    """Read a ``.meta``.  Raises ``DatabaseFailed``."""
    found = settings(data)
    try:
        page = int(found.get("zip_size") or 0) or int(found["page_size"])
        read = Meta(int(found["space_id"]), page)
    except (KeyError, ValueError):
        read = Meta(0, 0)
    if read.page not in _SIZES:
        raise _broken("its description cannot be read")
    return read


def space_of(first: bytes) -> int:
    """The number of the tablespace whose file begins so; -1 if that is too little to say."""
    return int.from_bytes(first[_SPACE_ID : _SPACE_ID + 4], "big") if len(first) >= _FLAGS else -1


def size_of(first: bytes, page: int) -> int:
    """The bytes that a file has at least, as its first page says."""
    return int.from_bytes(first[_SIZE : _SIZE + 4], "big") * page


def physical(first: bytes, page: int) -> int:
    """The page size of a table's file that begins so: with ROW_FORMAT=COMPRESSED a smaller one than the server's ``page``."""
    flags = int.from_bytes(first[_FLAGS : _FLAGS + 4], "big")
    shift = 0 if flags & _FULL_CRC else flags >> 1 & 15
    size = 512 << shift if shift else page
    return size if size in _SIZES and size <= page else page


class Delta:
    """Reads a delta as it comes, in pieces of any length."""

    def __init__(self, page: int) -> None:
        self._page = page
        self._rest = b""
        self._places: list[int] = []
        self._is_last = False
        self._before = -1

    def feed(self, data: bytes) -> Iterator[Run]:
        """The pages that are whole now, in order.  Raises ``DatabaseFailed``."""
        data = self._rest + data if self._rest else data
        size, at = self._page, 0
        while at + size <= len(data):
            if self._places:
                first = self._places.pop()
                end = at + size * (1 + self._following(first, (len(data) - at) // size - 1))
                yield first * size, data[at:end]
                at = end
            else:
                self._begin(data[at : at + size])
                at += size
        self._rest = data[at:]

    def _following(self, page: int, most: int) -> int:
        """Take places off as long as they follow that page in its block, and each other; how many they are."""
        places, count = self._places, 0
        most = min(most, (BLOCK - 1 - page * self._page % BLOCK) // self._page)
        while count < most and places and places[-1] == page + count + 1:
            places.pop()
            count += 1
        return count

    def finish(self) -> None:
        """Raises ``DatabaseFailed`` unless it came to its end."""
        if not self._is_last or self._places or self._rest:
            raise _broken("it is cut off")

    def _begin(self, head: bytes) -> None:
        if self._is_last or head[:4] not in (_MORE, _LAST):
            raise _broken("it has no heading where one should be")
        self._is_last = head[:4] == _LAST
        places = list(struct.unpack(f">{len(head) // 4 - 1}I", head[4:]))
        if _END in places:
            places = places[: places.index(_END)]
        if any(b <= a for a, b in zip([self._before, *places], places, strict=False)):
            raise _broken("its pages are not in order")
        self._before = places[-1] if places else self._before
        self._places = places[::-1]


def _broken(what: str) -> DatabaseFailed:
    return DatabaseFailed(f"What mariadb-backup streamed of changed pages cannot be read: {what}.", "No snapshot was made.")
