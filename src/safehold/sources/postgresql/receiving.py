"""Receiving a server's log as it is written, into the spool: what pg_receivewal does, without the program.

A permanent slot makes the server keep what was not received.  The current segment grows in ``partial/NAME.partial`` of the spool;
what the server is told to be safe is on this disk.  After an interruption the current segment is received again from its
beginning, over the same bytes.  Protocol: "Streaming Replication Protocol" of PostgreSQL's manual.
"""

from __future__ import annotations

import os
import select
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, BinaryIO

from safehold.core.clock import Clock
from safehold.core.errors import DatabaseFailed, LogGap, UsageError
from safehold.sources.postgresql.connecting import first_line
from safehold.sources.postgresql.positions import format_lsn, parse_lsn, segment_name
from safehold.sources.postgresql.replication import Replication, ServerRefused
from safehold.sources.postgresql.spool import PARTIAL, Spool, sync_folder, write

if TYPE_CHECKING:
    from psycopg.pq.abc import PGresult

RECEIVED = "received"
"""A file of the spool: timeline and position up to which whole segments are in it."""
WAIT_SECONDS = 1.0
ANSWER_SECONDS = 10.0
"""At least so often the server is told how far we are."""
_EPOCH = 946_684_800
_DATA = struct.Struct(">cQQQ")
_KEEPALIVE = struct.Struct(">cQQB")
_STATUS = struct.Struct(">cQQQQB")
_EXISTS, _GONE, _NO_SLOT_LEFT = "42710", "58P01", "53400"


class Receiver(Replication):
    """A connection that receives.  Use as a context manager; belongs to one thread."""

    def __init__(self, url: str, spool: Spool, slot: str, clock: Clock) -> None:
        """Raises ``DatabaseUnreachable``."""
        super().__init__(url)
        self._spool = spool
        self._slot = slot
        self._clock = clock
        self._folder = spool.path(PARTIAL)
        self._file: BinaryIO | None = None
        self._name = ""
        self._segment = 0
        self._timeline = 0
        self._written = 0
        self._flushed = 0
        self._answered = 0.0

    def __enter__(self) -> Receiver:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._file is not None:
            self._file.close()
        super().__exit__(*exception)

    @property
    def position(self) -> str:
        """How far everything is safe on this disk."""
        return format_lsn(self._flushed)

    def receive(self, stop: Callable[[], bool], *, after_gap: bool = False) -> None:
        """Receive until ``stop``.  ``after_gap``: go on where the server is, not where this spool ended.

        Raises ``LogGap`` if the server no longer has what comes next, ``LogConflict`` if it is another server, ``StoreFull``,
        ``DatabaseFailed`` when the connection ends, ``OSError``.
        """
        server = self.server()
        self._segment = server.segment
        self._spool.set_system(server.system, server.segment)
        os.makedirs(self._folder, mode=0o700, exist_ok=True)
        self._make_slot()
        timeline, position = self._begin(after_gap)
        while not stop():
            following = self._follow(timeline, position, stop)
            if following is None:
                return
            timeline, position = following

    def _make_slot(self) -> None:
        if not self._slot.replace("_", "").isalnum() or self._slot != self._slot.lower():
            raise UsageError(f"{self._slot!r} is no name of a slot.", "Use lower-case letters, digits and _.")
        try:
            self.rows(f"CREATE_REPLICATION_SLOT {self._slot} PHYSICAL RESERVE_WAL")
        except ServerRefused as error:
            if error.state == _EXISTS:
                return
            hint = "Raise max_replication_slots." if error.state == _NO_SLOT_LEFT else "The user needs the right REPLICATION."
            raise DatabaseFailed(f"The slot {self._slot} could not be made: {error}.", hint) from error

    def _begin(self, after_gap: bool) -> tuple[int, int]:
        """Timeline and position, the first of a segment, where receiving begins."""
        if not after_gap:
            with suppress(FileNotFoundError, ValueError, IndexError), open(self._spool.path(RECEIVED), encoding="ascii") as file:
                words = file.read().split()
                return int(words[0]), parse_lsn(words[1])
        identity = self.rows("IDENTIFY_SYSTEM")[0]
        timeline, position = int(identity[1]), parse_lsn(identity[2])
        with suppress(ServerRefused, ValueError, IndexError):  # from 15 on; before, receiving begins where the server is
            row = self.rows(f"READ_REPLICATION_SLOT {self._slot}")[0]
            timeline, position = int(row[2]), parse_lsn(row[1])
        return timeline, position - position % self._segment

    def _follow(self, timeline: int, position: int, stop: Callable[[], bool]) -> tuple[int, int] | None:
        """Receive one timeline to its end; where the next begins, or None when it was stopped."""
        self._timeline, self._written, self._flushed = timeline, position, position
        self._keep_history(timeline)
        command = f"START_REPLICATION SLOT {self._slot} PHYSICAL {format_lsn(position)} TIMELINE {timeline}"
        try:
            self._send(command)
            result = self._result()
        except ServerRefused as error:
            raise self._refused(error, position) from error
        if result is not None and result.status == self._pq.ExecStatus.COPY_BOTH:
            if not self._copy_log(stop):
                return None
            result = self._next_row(position)
        if result is None or not result.ntuples:
            raise self._gone()
        following, switch = int(result.get_value(0, 0) or b"0"), parse_lsn((result.get_value(0, 1) or b"").decode())
        while self._result() is not None:
            pass
        self._end_of_timeline()
        return following, switch - switch % self._segment

    def _next_row(self, position: int) -> PGresult | None:
        """What the server says of the next timeline, once it has ended this one; or why it ended."""
        try:
            result = self._result()
            if result is not None and result.status == self._pq.ExecStatus.COPY_IN:
                self._connection.put_copy_end()
                result = self._result()
        except ServerRefused as error:
            raise self._refused(error, position) from error
        return result

    def _refused(self, error: ServerRefused, position: int) -> Exception:
        if error.state == _GONE or "has already been removed" in str(error) or "can no longer" in str(error):
            name = segment_name(self._timeline, position, self._segment)
            return LogGap(
                f"The server no longer has its log from {format_lsn(position)} on, so {name} cannot be received: {error}.",
                "Take a new base, then go on with --after-gap; recovery across the gap is not possible.",
            )
        return DatabaseFailed(f"The server does not send its log: {error}.", "See the server's log.")

    def _copy_log(self, stop: Callable[[], bool]) -> bool:
        """Take what comes; True at the end of the timeline, False when it was stopped."""
        self._answer()
        while True:
            length, data = self._connection.get_copy_data(1)
            if length > 0:
                self._message(bytes(data))
                continue
            if length == 0:
                self._sync()
                if stop():
                    return False
                self._wait_for_more()
                continue
            if length == -2:
                raise self._gone()
            self._sync()
            return True

    def _wait_for_more(self) -> None:
        import psycopg

        due = self._answered + ANSWER_SECONDS - self._clock.monotonic()
        if due <= 0:
            self._answer()
        try:
            select.select([self._connection.socket], [], [], WAIT_SECONDS)
            self._connection.consume_input()
        except (psycopg.Error, OSError, ValueError) as error:
            raise self._gone() from error

    def _message(self, data: bytes) -> None:
        if data[:1] == b"w":
            _, start, _, _ = _DATA.unpack_from(data)
            self._take(start, memoryview(data)[_DATA.size :])
        elif data[:1] == b"k" and _KEEPALIVE.unpack(data)[3]:
            self._sync()
            self._answer()

    def _take(self, start: int, data: memoryview) -> None:
        """Write a piece of the log; segments that it completes go on into the spool."""
        if start != self._written:
            raise DatabaseFailed(
                f"The server sent its log from {format_lsn(start)} on, not from {format_lsn(self._written)}.", "Try again."
            )
        while data:
            left = self._segment - self._written % self._segment
            piece, data = data[:left], data[left:]
            file = self._current()
            file.write(piece)
            self._written += len(piece)
            if self._written % self._segment == 0:
                self._complete()

    def _current(self) -> BinaryIO:
        if self._file is None:
            self._name = segment_name(self._timeline, self._written, self._segment)
            path = os.path.join(self._folder, f"{self._name}.partial")
            # Not cut off: until it has been received again, it may be the only copy of what the server was told to be safe.
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
            self._file = os.fdopen(descriptor, "r+b", buffering=0)
            if os.fstat(descriptor).st_size < self._segment:
                os.ftruncate(descriptor, self._segment)
            sync_folder(self._folder)
        return self._file

    def _complete(self) -> None:
        file = self._current()
        os.fsync(file.fileno())
        file.close()
        self._file = None
        whole = os.path.join(self._folder, self._name)
        os.replace(f"{whole}.partial", whole)
        self._spool.add(whole)
        self._spool.replace(RECEIVED, f"{self._timeline} {format_lsn(self._written)}\n".encode())
        os.unlink(whole)
        self._flushed = self._written
        self._answer()

    def _sync(self) -> None:
        """Make durable what was written, and tell the server."""
        if self._flushed < self._written and self._file is not None:
            os.fsync(self._file.fileno())
            self._flushed = self._written
            self._answer()

    def _answer(self) -> None:
        import psycopg

        now = self._clock.monotonic()
        microseconds = (self._clock.now_ns() // 1000) - _EPOCH * 1_000_000
        try:
            self._connection.put_copy_data(_STATUS.pack(b"r", self._written, self._flushed, 0, microseconds, 0))
            self._connection.flush()
        except psycopg.Error as error:
            raise self._gone() from error
        self._answered = now

    def _end_of_timeline(self) -> None:
        """What there is of the last segment of a timeline is kept as the partial segment that it is."""
        if self._file is not None:
            self._file.close()
            self._file = None
            partial = os.path.join(self._folder, f"{self._name}.partial")
            self._spool.add(partial)
            os.unlink(partial)

    def _keep_history(self, timeline: int) -> None:
        if timeline < 2:
            return
        name, content = self.rows(f"TIMELINE_HISTORY {timeline}")[0][:2]
        write(self._folder, name, content.encode("utf-8", "surrogateescape"))
        path = os.path.join(self._folder, name)
        self._spool.add(path)
        os.unlink(path)

    def _gone(self, text: str = "") -> DatabaseFailed:
        words = text or bytes(self._connection.error_message).decode(errors="replace")
        return DatabaseFailed(f"The connection to the server ended: {first_line(Exception(words))}.", "It is tried again.")
