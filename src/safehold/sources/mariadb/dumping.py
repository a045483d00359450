"""Binary logs over a connection, as a replica gets them: ``COM_BINLOG_DUMP``.

Read by ourselves and not by ``mariadb-binlog --raw``: so it is known after each event how far the log is held, and a file that
grows can be stored in pieces.  Source: MariaDB Knowledge Base, "COM_BINLOG_DUMP" and "5-Slave-Registration".
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

import msgspec

from safehold.core.errors import DatabaseUnreachable
from safehold.sources.mariadb import binlog
from safehold.sources.mariadb.connecting import GRANTS, Address, Connection, connect, said

COM_BINLOG_DUMP = 0x12
NON_BLOCK = 1
ANNOTATIONS = 2
"""Send the events too that only say from which statement row events came: without them it is not the file as it is."""
MOST_PACKET = 0xFFFFFF
NO_SUCH_LOG = 1236
"""The server's error where a log, or a position in it, is not there."""
_EOF, _ERROR = 0xFE, 0xFF
_VARIABLES = (
    "set @master_binlog_checksum = @@global.binlog_checksum, @source_binlog_checksum = @@global.binlog_checksum",
    "set @mariadb_slave_capability = 4",
)


class Next(msgspec.Struct, frozen=True):
    """The log goes on in this file."""

    name: str
    position: int
    created: int
    """When it was begun, in seconds since 1970."""
    checksums: bool


class LogPurged(Exception):
    """The server no longer has the file, or not that position in it."""


def follow(where: Address, name: str, position: int) -> Iterator[Next | binlog.Event]:
    """The log from there to its end as of now: before each file's first event comes a ``Next``.

    Raises ``LogPurged``, and ``DatabaseUnreachable`` where the user may not, or the connection breaks.
    """
    import pymysql

    connection = connect(where)  # the server ends each after a dump
    try:
        with connection.cursor() as cursor:
            for statement in _VARIABLES:
                cursor.execute(statement)
        connection._execute_command(COM_BINLOG_DUMP, struct.pack("<IHI", position, NON_BLOCK | ANNOTATIONS, 0) + name.encode())
        yield from _parsed(_packets(connection))
    except pymysql.err.MySQLError as error:
        if error.args and error.args[0] == NO_SUCH_LOG:
            raise LogPurged(said(error)) from error
        raise DatabaseUnreachable(f"The binary log cannot be read: {said(error)}.", GRANTS) from error
    except OSError as error:
        raise DatabaseUnreachable(f"The connection broke while the binary log was read: {error}.", "Run it again.") from error
    finally:
        connection.close()


def _parsed(packets: Iterator[bytes]) -> Iterator[Next | binlog.Event]:
    """Events, without those that the server made up: rotations that name a file, and its format again where that went before."""
    name, position = "", 0
    for packet in packets:
        event = binlog.event(packet[1:])
        if event.kind == binlog.ROTATE and event.flags & binlog.ARTIFICIAL:
            name, position = binlog.rotated_to(event)
        elif name and event.kind == binlog.FORMAT:
            yield Next(name, position, event.time, binlog.has_checksums(event.data))
            if position <= len(binlog.MAGIC):
                yield event
            name = ""
        elif not event.flags & binlog.ARTIFICIAL:
            yield event


def _packets(connection: Connection) -> Iterator[bytes]:
    """The packets of an answer, up to the one that ends it."""
    import pymysql

    read = connection._rfile.read
    while True:
        data = b""
        while True:
            head = read(4)
            length = int.from_bytes(head[:3], "little")
            part = read(length)
            if len(head) < 4 or len(part) < length:
                raise ConnectionError("it ended early")
            data = data + part if data else part
            if length < MOST_PACKET:
                break
        if data[0] == _EOF and len(data) < 9:
            return
        if data[0] == _ERROR:
            pymysql.err.raise_mysql_exception(data)
        yield data
