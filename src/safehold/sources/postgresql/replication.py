"""The replication protocol, as far as a base needs it: asking the server, sending a manifest, and receiving a base.

Protocol: the chapter "Streaming Replication Protocol" of PostgreSQL's manual.  From 15 on a base comes as one COPY whose messages
say what follows; 13 and 14 send one COPY for each tablespace and one for the manifest.
"""

from __future__ import annotations

import queue
import select
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec

from safehold.core.errors import DatabaseFailed
from safehold.sources.postgresql.connecting import Server, first_line, parameters, require_known, unreachable
from safehold.sources.postgresql.positions import parse_lsn

if TYPE_CHECKING:
    from psycopg.pq.abc import PGconn, PGresult

GATHER = 1024 * 1024
"""Bytes of messages handed over at once."""
AHEAD = 24
"""So many of those may wait to be worked on."""
POLL_SECONDS = 0.5
_UNITS = {"B": 1, "kB": 1024, "MB": 1024**2, "GB": 1024**3, "TB": 1024**4}
_DAMAGED = "XX001"
"""SQLSTATE of a base whose pages failed their checksums: all of it was sent."""


class ServerRefused(Exception):
    """The server answered a command with an error: its words, and the SQLSTATE."""

    def __init__(self, message: str, state: str) -> None:
        super().__init__(message)
        self.state = state


class Archive(msgspec.Struct, frozen=True):
    """What follows is a tar archive: of the data directory (``oid`` is empty), or of a tablespace that lies at ``path``."""

    oid: str
    path: str


class Manifest(msgspec.Struct, frozen=True):
    """What follows is the manifest."""


class End(msgspec.Struct, frozen=True):
    """The base is whole.  ``stop``: where it is consistent."""

    stop: int
    timeline: int
    warnings: list[str]


Item = Archive | Manifest | End | bytes | Exception


class Replication:
    """A connection in replication mode.  Use as a context manager."""

    def __init__(self, url: str) -> None:
        """Raises ``DatabaseUnreachable``."""
        import psycopg
        from psycopg import pq

        self._pq = pq
        self._connection: PGconn = pq.PGconn.connect(parameters(url, replication="true").encode())
        if self._connection.status != pq.ConnStatus.OK:
            error = psycopg.OperationalError(_text(self._connection.error_message))
            self._connection.finish()
            raise unreachable(url, error)
        self.warnings: list[str] = []
        self._stopped = threading.Event()
        self._connection.notice_handler = self._notice

    def __enter__(self) -> Replication:
        return self

    def __exit__(self, *exception: object) -> None:
        self._connection.finish()

    def server(self) -> Server:
        """Ask the server about itself.  Raises ``DatabaseUnreachable``, ``DatabaseFailed``."""
        system = self.rows("IDENTIFY_SYSTEM")[0][0]
        number = int(self.show("server_version_num"))
        page = _size(self.show("block_size"))
        return require_known(
            Server(
                system=system,
                number=number,
                version=self.show("server_version").split()[0],
                segment=_size(self.show("wal_segment_size")),
                page=page,
                relation_pages=_size(self.show("segment_size")) // page,
                checksums=self.show("data_checksums") == "on",
                standby=number >= 140000 and self.show("in_hot_standby") == "on",
                settings={"summarize_wal": self.show("summarize_wal")} if number >= 170000 else {},
            )
        )

    def show(self, setting: str) -> str:
        """A setting's value.  Raises ``DatabaseFailed``."""
        return self.rows(f"SHOW {setting}")[0][0]

    def rows(self, command: str) -> list[list[str]]:
        """What a command answers.  Raises ``ServerRefused`` or ``DatabaseFailed``."""
        self._send(command)
        found: list[list[str]] = []
        while (result := self._result()) is not None:
            found += _rows(result)
        return found

    def keep_log(self, slot: str) -> bool:
        """Have the server keep its log from now on for as long as this connection lives; whether it does."""
        try:
            self.rows(f"CREATE_REPLICATION_SLOT {slot} TEMPORARY PHYSICAL RESERVE_WAL")
        except ServerRefused:
            return False  # no slots configured: if the log is recycled too early the server says so at the end
        return True

    def upload_manifest(self, manifest: bytes) -> None:
        """Say what an incremental base shall build upon.  Raises ``ServerRefused``."""
        self._send("UPLOAD_MANIFEST")
        result = self._result()
        assert result is not None
        for at in range(0, len(manifest), GATHER):
            self._connection.put_copy_data(manifest[at : at + GATHER])
        self._connection.put_copy_end()
        while self._result() is not None:
            pass

    def base(self, command: str) -> Stream:
        """Begin a base; its contents as they come.  The connection is in use until the stream is closed."""
        return Stream(lambda put: self._receive(command, put), self._stopped)

    def _receive(self, command: str, put: Callable[[Item], None]) -> None:
        """Everything that the server sends, handed over item by item."""
        self._send(command)
        tuples: list[list[list[str]]] = []
        archives: list[Archive] = []
        copies = 0
        modern = self._connection.server_version >= 150000
        stop: list[list[str]] = []
        while (result := self._last_result(bool(stop))) is not None:
            if result.status == self._pq.ExecStatus.COPY_OUT:
                if not modern:
                    put(archives[copies] if copies < len(archives) else Manifest())
                self._copy(put, modern)
                copies += 1
                continue
            rows = _rows(result)
            if not rows:
                continue
            tuples.append(rows)
            if len(tuples) == 2:
                archives = [Archive(oid, path) for oid, path, *_ in rows]
            elif len(tuples) == 3:
                stop = rows
        if not stop:
            raise DatabaseFailed("The server ended the base before its end; no snapshot was made.", "See the server's log.")
        put(End(parse_lsn(stop[0][0]), int(stop[0][1]), self.warnings))

    def _last_result(self, ended: bool) -> PGresult | None:
        """The next result; after the end of a base the server may still complain that pages were damaged."""
        try:
            return self._result()
        except ServerRefused as error:
            if ended and error.state == _DAMAGED:
                return None
            raise

    def _copy(self, put: Callable[[Item], None], modern: bool) -> None:
        parts: list[bytes] = []
        size = 0
        connection = self._connection
        while True:
            length, data = connection.get_copy_data(1)
            if length == 0:
                self._wait()
                continue
            if length == -2:
                raise self._gone()
            kind = data[:1] if modern and length > 0 else b"d"
            if size and (length < 0 or size >= GATHER or kind in (b"n", b"m")):
                put(b"".join(parts))
                parts, size = [], 0
            if length < 0:
                return
            if kind == b"d":
                piece = bytes(data[1:] if modern else data)
                parts.append(piece)
                size += len(piece)
            elif kind == b"n":
                name, path, *_ = bytes(data[1:]).split(b"\0")
                put(Archive(_text(name).removesuffix(".tar").replace("base", ""), _text(path)))
            elif kind == b"m":
                put(Manifest())

    def _send(self, command: str) -> None:
        import psycopg

        try:
            self._connection.send_query(command.encode())
        except psycopg.Error as error:
            raise self._gone() from error

    def _result(self) -> PGresult | None:
        """The next result of a command, None after the last.  Raises ``ServerRefused``, ``DatabaseFailed``."""
        while self._connection.is_busy():
            self._wait()
        result = self._connection.get_result()
        if result is not None and result.status in (self._pq.ExecStatus.FATAL_ERROR, self._pq.ExecStatus.BAD_RESPONSE):
            state = result.error_field(self._pq.DiagnosticField.SQLSTATE)
            if state is None or state.startswith((b"57P", b"08")):
                raise self._gone(_text(result.error_message))
            message = result.error_field(self._pq.DiagnosticField.MESSAGE_PRIMARY) or b"it refused"
            with suppress(DatabaseFailed):
                while self._connection.get_result() is not None:
                    pass
            raise ServerRefused(_text(message), _text(state))
        return result

    def _wait(self) -> None:
        import psycopg

        if self._stopped.is_set():
            raise _Stopped
        try:
            select.select([self._connection.socket], [], [], POLL_SECONDS)
            self._connection.consume_input()
        except (psycopg.Error, OSError, ValueError) as error:
            raise self._gone() from error

    def _gone(self, text: str = "") -> DatabaseFailed:
        words = text or _text(self._connection.error_message)
        return DatabaseFailed(
            f"The PostgreSQL server went away in the middle of the base, no snapshot was made: {first_line(Exception(words))}.",
            "See the server's log, and run the backup again.",
        )

    def _notice(self, result: PGresult) -> None:
        field = self._pq.DiagnosticField
        if result.error_field(field.SEVERITY_NONLOCALIZED) == b"WARNING":
            self.warnings.append(_text(result.error_field(field.MESSAGE_PRIMARY) or b""))


class Stream:
    """What a server sends, received in a thread of its own.  Use as a context manager."""

    def __init__(self, receive: Callable[[Callable[[Item], None]], None], stopped: threading.Event) -> None:
        """``stopped``: set when nobody takes the items any more."""
        self._queue: queue.Queue[Item] = queue.Queue(AHEAD)
        self._stopped = stopped
        self._receive = receive
        self._thread = threading.Thread(target=self._run, name="receive", daemon=True)

    def __enter__(self) -> Stream:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stopped.set()
        self._thread.join()

    def __iter__(self) -> Iterator[Archive | Manifest | End | bytes]:
        """Items as they come; the last is ``End``.  Raises ``ServerRefused``, ``DatabaseFailed``."""
        while True:
            item = self._queue.get()
            if isinstance(item, Exception):
                raise item
            yield item
            if isinstance(item, End):
                return

    def _run(self) -> None:
        try:
            self._receive(self._put)
        except _Stopped:
            pass
        except Exception as error:  # carried over to the thread that takes the items
            with suppress(_Stopped):
                self._put(error)

    def _put(self, item: Item) -> None:
        while True:
            if self._stopped.is_set():
                raise _Stopped
            with suppress(queue.Full):
                self._queue.put(item, timeout=POLL_SECONDS)
                return


class _Stopped(Exception):
    """Nobody takes the items any more."""


def base_command(major: int, *, incremental: bool, max_rate: int = 0) -> str:
    """The command that begins a base.  ``max_rate``: KiB a second, 0: as fast as it goes."""
    if major >= 15:
        options = ["LABEL 'safehold'", "CHECKPOINT 'fast'", "WAL", "WAIT false", "MANIFEST 'yes'", "MANIFEST_CHECKSUMS 'CRC32C'"]
        options += [f"MAX_RATE {max_rate}"] * bool(max_rate) + ["INCREMENTAL"] * incremental
        return f"BASE_BACKUP ({', '.join(options)})"
    rate = f" MAX_RATE {max_rate}" if max_rate else ""
    return f"BASE_BACKUP LABEL 'safehold' FAST WAL NOWAIT{rate} MANIFEST 'yes' MANIFEST_CHECKSUMS 'CRC32C'"


def _rows(result: PGresult) -> list[list[str]]:
    return [[_text(result.get_value(row, column) or b"") for column in range(result.nfields)] for row in range(result.ntuples)]


def _text(data: bytes) -> str:
    return data.decode(errors="surrogateescape")


def _size(text: str) -> int:
    """A size as SHOW gives it: ``16MB``, ``8192``, ``1GB``."""
    number = text.rstrip("BkMGT")
    return int(number) * _UNITS.get(text[len(number) :], 1)
