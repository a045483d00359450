"""What happened in a WAL segment: times and numbers of transactions that ended, named restore points.

Records are followed one by one from the first that begins in the segment; page headers are taken out beforehand, so that
records may cross pages.  The parts that are looked at (``XLogRecord``, the first field of ``xl_xact_commit``, ``xl_xact_abort``
and ``xl_restore_point``, the place of ``time`` in ``CheckPoint``) are the same in PostgreSQL 13 to 18.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from safehold.sources.postgresql.wal import LONG_HEADER, PAGE, SHORT_HEADER, Header, read_header

EPOCH_NS = 946_684_800 * 10**9
"""PostgreSQL counts microseconds from 2000-01-01; this is that moment."""
_XLOG, _XACT = 0, 1
_ENDS = {0x00, 0x20, 0x30, 0x40}
"""Commit, abort, and both of prepared transactions: ``XLOG_XACT_OPMASK`` is 0x70."""
_RESTORE_POINT = 0x70
_CHECKPOINTS = {0x00, 0x10}
"""At a shutdown, and of a running server."""
_CHECKPOINT_TIME = 64
"""Where in a ``CheckPoint`` its ``time`` stands: seconds since 1970."""
_MOMENT = struct.Struct("<q")
_PAGE = struct.Struct("<HHIQI")


class Point(NamedTuple):
    """A named restore point."""

    name: str
    position: int
    """Where its record ends: the server stops there."""
    time_ns: int


class Content(NamedTuple):
    """What a segment says."""

    header: Header
    first_ns: int
    """When the first transaction that ended in it did; 0: none did."""
    last_ns: int
    lowest: int
    """The lowest number of a transaction that ended in it; 0: none did."""
    highest: int
    points: list[Point]
    end: int
    """Where the last whole record ends: in a partial segment, how far it goes."""
    last: int
    """Where that one begins; 0: none is whole."""
    checkpoint_ns: int = 0
    """When the last checkpoint that is recorded in it began; 0: none is."""


def scan(data: bytes, name: str) -> Content:
    """Follow the records of a segment.  Raises ``FormatError`` if it does not begin as one."""
    header = read_header(data, name)
    return _Walk(header, _without_page_headers(data, header)).content()


def _without_page_headers(data: bytes, header: Header) -> bytes:
    """The records' bytes, as far as pages follow each other: beyond, a recycled file holds an older stretch of the log."""
    view = memoryview(data)
    parts = [view[LONG_HEADER:PAGE]]
    for at in range(PAGE, len(data) - PAGE + 1, PAGE):
        magic, _, timeline, address, _ = _PAGE.unpack_from(data, at)
        if magic >> 8 != 0xD1 or address != header.address + at or timeline > header.timeline:
            break
        parts.append(view[at + SHORT_HEADER : at + PAGE])
    return b"".join(parts)


class _Walk:
    def __init__(self, header: Header, records: bytes) -> None:
        self._header = header
        self._records = records
        self._times: list[int] = []
        self._xids: list[int] = []
        self._points: list[Point] = []
        self._last = 0
        self._checkpoint_ns = 0

    def content(self) -> Content:
        end = self._follow()
        times, xids = self._times or [0], self._xids or [0]
        position = self._position(end)
        moments, numbers = (times[0], times[-1]), (min(xids), max(xids))
        return Content(self._header, *moments, *numbers, self._points, position, self._last, self._checkpoint_ns)

    def _follow(self) -> int:
        """Look at every record that begins here; where the last whole one ends, in ``records``."""
        records, size = self._records, len(self._records)
        lengths = memoryview(records)[: size & ~7].cast("I")
        place, last = _aligned(self._header.remaining), None
        if place >= size:
            return 0
        while place + 24 <= size:
            length = lengths[place >> 2]
            if length < 24:
                break
            kind = records[place + 17]
            if kind <= _XACT:
                self._look(place, length, kind)
            after = (place + length + 7) & ~7
            if after > size:
                break
            place, last = after, place
        self._last = 0 if last is None else self._position(last)
        return place

    def _look(self, place: int, length: int, kind: int) -> None:
        info = self._records[place + 16]
        if kind == _XACT and info & 0x70 in _ENDS:
            self._end_of_transaction(place, length)
        elif kind == _XLOG and info & 0xF0 == _RESTORE_POINT:
            self._restore_point(place, length)
        elif kind == _XLOG and info & 0xF0 in _CHECKPOINTS:
            self._checkpoint(place, length)

    def _end_of_transaction(self, place: int, length: int) -> None:
        main = _main_data(self._records, place, length)
        if main is None or main + 8 > len(self._records):
            return
        self._times.append(_moment(self._records, main))
        xid = int.from_bytes(self._records[place + 4 : place + 8], "little")
        if xid:
            self._xids.append(xid)

    def _restore_point(self, place: int, length: int) -> None:
        main = _main_data(self._records, place, length)
        if main is None or main + 72 > len(self._records):
            return
        name = self._records[main + 8 : main + 72].split(b"\0", 1)[0].decode("utf-8", "replace")
        end = self._position(_aligned(place + length))
        self._points.append(Point(name, end, _moment(self._records, main)))

    def _checkpoint(self, place: int, length: int) -> None:
        main = _main_data(self._records, place, length)
        if main is not None and main + _CHECKPOINT_TIME + 8 <= min(place + length, len(self._records)):
            self._checkpoint_ns = _MOMENT.unpack_from(self._records, main + _CHECKPOINT_TIME)[0] * 10**9

    def _position(self, place: int) -> int:
        """From a place in ``records`` to a position of the log."""
        first = PAGE - LONG_HEADER
        if place <= first:
            return self._header.address + LONG_HEADER + place
        pages, rest = divmod(place - first, PAGE - SHORT_HEADER)
        inside = SHORT_HEADER + rest if rest else 0
        return self._header.address + PAGE * (1 + pages) + inside


def _aligned(place: int) -> int:
    return (place + 7) & ~7


def _moment(records: bytes, place: int) -> int:
    microseconds: int = _MOMENT.unpack_from(records, place)[0]
    return EPOCH_NS + microseconds * 1000


def _main_data(records: bytes, place: int, length: int) -> int | None:
    """Where the main data of a record without pages begin: after their marker, which origin and top transaction precede."""
    at, stop = place + 24, min(place + length, len(records))
    while at < stop:
        marker = records[at]
        if marker == 255:
            return at + 2
        if marker == 254:
            return at + 5
        if marker == 253:
            at += 3
        elif marker == 252:
            at += 5
        else:
            return None
    return None
