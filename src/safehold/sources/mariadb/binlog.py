"""Binary logs: events, and the transactions they make up.

A file is ``\\xfebin`` and events.  An event, little-endian: time (4, s), type (1), server id (4), length with this header (4),
position after it (4), flags (2), body, and a CRC-32 of all before it where the file's format event says so.  Sources: MariaDB
Knowledge Base, "Replication Protocol" and "Binlog Event Header"; for MySQL its documentation of ``libbinlogevents``.
"""

from __future__ import annotations

import struct
import uuid
import zlib
from collections.abc import Iterable, Iterator

import msgspec

from safehold.core.clock import NS
from safehold.core.errors import DatabaseFailed

MAGIC = b"\xfebin"
HEADER = struct.Struct("<IBIIIH")
QUERY, ROTATE, FORMAT, XID, LOAD_QUERY, INCIDENT = 2, 4, 15, 16, 18, 26
MYSQL_GTID, MYSQL_ANONYMOUS, XA_PREPARE = 33, 34, 38
GTID, QUERY_COMPRESSED, START_ENCRYPTION = 162, 165, 164
ARTIFICIAL = 0x20
"""Flag of events that the server made up for a reader: they are in no file."""
STANDALONE = 1
"""Flag of a MariaDB GTID event: one statement follows, without COMMIT."""
_ENDS = (b"COMMIT", b"ROLLBACK")
_BEGINS = (b"BEGIN", b"XA START")
MOST_EVENT = 1 << 31


class Event(msgspec.Struct, frozen=True, gc=False):
    """One event as it lies in a file."""

    time: int
    """Seconds since 1970."""
    kind: int
    server: int
    after: int
    """Where the next begins in the file."""
    flags: int
    data: bytes
    """All of it, header and checksum too."""


class Transaction(msgspec.Struct, frozen=True, gc=False):
    """What took effect at once: from its first event to its last.  Offsets in the file."""

    start: int
    end: int
    time_ns: int
    """When it was committed, to the second."""
    gtid: str


def event(data: bytes) -> Event:
    """An event from its bytes.  Raises ``DatabaseFailed``."""
    if len(data) < HEADER.size:
        raise DatabaseFailed("An event of the binary log is cut off.", _HINT)
    time, kind, server, length, after, flags = HEADER.unpack_from(data)
    if length != len(data):
        raise DatabaseFailed("An event of the binary log does not have the length it says.", _HINT)
    return Event(time, kind, server, after, flags, data)


def events(data: Iterable[bytes]) -> Iterator[Event]:
    """The events of a file, from pieces of any size, beginning with its magic.  What is cut off at the end is left out."""
    buffer = b""
    begun = False
    for piece in data:
        buffer += piece
        if not begun:
            if len(buffer) < len(MAGIC):
                continue
            if not buffer.startswith(MAGIC):
                raise DatabaseFailed("A stored binary log does not begin as one does.", _HINT)
            buffer, begun = buffer[len(MAGIC) :], True
        at = 0
        while at + HEADER.size <= len(buffer):
            length = int.from_bytes(buffer[at + 9 : at + 13], "little")
            if not HEADER.size <= length <= MOST_EVENT:
                raise DatabaseFailed("A stored binary log holds an event of no possible length.", _HINT)
            if at + length > len(buffer):
                break
            yield event(buffer[at : at + length])
            at += length
        buffer = buffer[at:]


class Reader:
    """Follows the events of one file, and tells its transactions as they end."""

    def __init__(self, position: int = len(MAGIC), checksums: bool = False) -> None:
        """``position``: of the next event; ``checksums``: what the file's format event said, where that went before."""
        self.position = position
        self.checksums = checksums
        self.created = 0
        """When the file was begun, as its format event says."""
        self.boundary = position
        """The end of the last whole transaction, or of what stands outside of any."""
        self._start = -1
        self._gtid = ""
        self._single: bool | None = False
        """The transaction is one statement; None: the next event tells."""

    def take(self, event: Event) -> Transaction | None:
        """The next event; the transaction that it ends.  Raises ``DatabaseFailed`` if its checksum is wrong."""
        if event.kind == FORMAT:
            self.created = event.time
            self.checksums = has_checksums(event.data)
        if self.checksums and zlib.crc32(event.data[:-4]) != int.from_bytes(event.data[-4:], "little"):
            raise DatabaseFailed(f"The event at {self.position} of a binary log does not have its checksum.", _HINT)
        start, self.position = self.position, self.position + len(event.data)
        if event.after and event.after != self.position & 0xFFFFFFFF:
            raise DatabaseFailed(f"Before {event.after} of a binary log there are bytes that did not come.", _HINT)
        if event.kind in (GTID, MYSQL_GTID, MYSQL_ANONYMOUS):
            self._begin(event, start)
        elif self._start < 0:
            self.boundary = self.position
        elif self._ends(event):
            return self._end(event)
        return None

    def _begin(self, event: Event, start: int) -> None:
        self._start = start
        self._gtid = gtid_of(event)
        self._single = bool(event.data[HEADER.size + 12] & STANDALONE) if event.kind == GTID else None

    def _ends(self, event: Event) -> bool:
        if event.kind in (XID, XA_PREPARE, INCIDENT):
            return True
        if event.kind not in (QUERY, QUERY_COMPRESSED, LOAD_QUERY):
            return False
        text = _statement(event, self.checksums)
        if self._single is None:
            self._single = not text.startswith(_BEGINS)
        return self._single or text in _ENDS

    def _end(self, event: Event) -> Transaction:
        start, self._start = self._start, -1
        self.boundary = self.position
        return Transaction(start, self.position, event.time * NS, self._gtid)


def transactions(data: Iterable[bytes]) -> Iterator[Transaction]:
    """The whole transactions of a file."""
    reader = Reader()
    for each in events(data):
        done = reader.take(each)
        if done is not None:
            yield done


def gtid_of(event: Event) -> str:
    """``domain-server-sequence`` of MariaDB, ``uuid:number`` of MySQL; empty for an anonymous transaction."""
    body = event.data[HEADER.size :]
    if event.kind == GTID:
        sequence, domain = struct.unpack_from("<QI", body)
        return f"{domain}-{event.server}-{sequence}"
    if event.kind == MYSQL_GTID:
        return f"{uuid.UUID(bytes=body[1:17])}:{int.from_bytes(body[17:25], 'little')}"
    return ""


def rotated_to(event: Event) -> tuple[str, int]:
    """The file that follows, and the position in it, from a rotate event, with or without a checksum."""
    data = event.data
    summed = zlib.crc32(data[:-4]) == int.from_bytes(data[-4:], "little")
    name = data[HEADER.size + 8 : -4 if summed else None]
    return name.decode(errors="replace"), int.from_bytes(data[HEADER.size : HEADER.size + 8], "little")


def created(head: bytes) -> int:
    """When a file that begins like that was begun (seconds since 1970); 0 if it does not begin like a binary log."""
    return int.from_bytes(head[4:8], "little") if head.startswith(MAGIC) and len(head) >= 9 and head[8] == FORMAT else 0


def _statement(event: Event, checksums: bool) -> bytes:
    """The beginning of a query's text; compressed ones are never COMMIT or BEGIN."""
    if event.kind != QUERY:
        return b""
    schema, _, status = struct.unpack_from("<BHH", event.data, HEADER.size + 8)
    at = HEADER.size + 13 + status + schema + 1
    return event.data[at : len(event.data) - (4 if checksums else 0)][:16]


def has_checksums(data: bytes) -> bool:
    """Of a format event: whether each event has a CRC-32.  Its last five bytes are the algorithm and its own checksum."""
    return len(data) > HEADER.size + 62 and data[-5] == 1


_HINT = "`safehold check`, and mariadb-binlog on the server, say more."
