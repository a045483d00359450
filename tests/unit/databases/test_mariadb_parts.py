"""The formats that MariaDB's backups and logs come in: streams of interleaved files, events, transactions."""

from __future__ import annotations

import io
import struct
import zlib

import pytest

from safehold.core.errors import DatabaseFailed
from safehold.ops.databases.mariadb import state as states
from safehold.ops.databases.mariadb.state import State
from safehold.ops.databases.mariadb.storing import filled, page_of
from safehold.sources.mariadb import binlog
from safehold.sources.mariadb.server import Server
from safehold.sources.mariadb.xbstream import PART, Chunk, chunks


def _chunk(path: bytes, offset: int, data: bytes, holes: tuple[tuple[int, int], ...] = (), flip: int = 0) -> bytes:
    encoded = b"".join(struct.pack("<II", *pair) for pair in holes)
    head = b"XBSTCK01\0" + (b"S" if holes else b"P") + struct.pack("<I", len(path)) + path
    head += struct.pack("<I", len(holes)) if holes else b""
    return head + struct.pack("<QQI", len(data), offset, zlib.crc32(encoded + data) ^ flip) + encoded + data


def _end(path: bytes) -> bytes:
    return b"XBSTCK01\0E" + struct.pack("<I", len(path)) + path


def _read(data: bytes) -> list[Chunk]:
    return list(chunks(io.BytesIO(data).read))


def test_a_long_chunk_comes_in_parts_that_end_with_blocks() -> None:
    data = bytes(range(256)) * (10 << 10)
    stream = _chunk(b"a", PART // 2, data) + _end(b"a")
    *parts, last = _read(stream)
    assert [(c.offset, len(c.data)) for c in parts] == [(PART // 2, PART // 2), (PART, PART), (2 * PART, PART)]
    assert b"".join(c.data for c in parts) == data
    assert last.ends
    with pytest.raises(DatabaseFailed, match="does not have its checksum"):
        _read(stream.replace(b"\x00\x01\x02\x03", b"\x00\x01\x02\x04", 1))


def test_chunks_of_several_files_come_apart() -> None:
    stream = _chunk(b"a", 0, b"one") + _chunk(b"d/b", 0, b"two") + _chunk(b"a", 3, b"more") + _end(b"a") + _end(b"d/b")
    assert [(c.path, c.offset, c.data, c.ends) for c in _read(stream)] == [
        (b"a", 0, b"one", False),
        (b"d/b", 0, b"two", False),
        (b"a", 3, b"more", False),
        (b"a", 0, b"", True),
        (b"d/b", 0, b"", True),
    ]


def test_sparse_chunks_are_filled_with_zeros() -> None:
    (chunk,) = _read(_chunk(b"t.ibd", 0, b"abcdef", ((4, 3), (2, 3))))
    assert filled(chunk) == b"\0\0\0\0abc\0\0def"


@pytest.mark.parametrize(
    ("stream", "said"),
    [
        (_chunk(b"a", 0, b"one", flip=1), "checksum"),
        (_chunk(b"a", 0, b"one")[:-1], "cut off"),
        (_chunk(b"a", 0, b"one")[:10], "cut off"),
        (b"PK\3\4" + bytes(40), "not of the format"),
        (_chunk(b"a", 0, b"one").replace(b"01\0P", b"01\0Z"), "unknown type"),
        (_chunk(b"a", 0, b"ab", ((0, 5),)), "less data"),
        (b"XBSTCK01\0P" + b"\xff" * 4 + bytes(30), "a path of"),
    ],
)
def test_a_stream_that_is_not_whole_is_refused(stream: bytes, said: str) -> None:
    with pytest.raises(DatabaseFailed, match=said):
        _read(stream)


def test_files_are_kept_by_the_pages_of_their_engine() -> None:
    assert [page_of(name, 32768) for name in (b"shop/t.ibd", b"ibdata1", b"undo001", b"undo_002")] == [32768] * 4
    assert page_of(b"shop/t.MAD", 16384) == 8192
    assert page_of(b"shop/t.MYI", 16384) == 4096
    assert page_of(b"ib_logfile0", 16384) == 1 << 20


def _event(kind: int, body: bytes, at: int, time: int = 100, flags: int = 0) -> bytes:
    length = 19 + len(body) + 4
    data = binlog.HEADER.pack(time, kind, 1, length, at + length, flags) + body
    return data + struct.pack("<I", zlib.crc32(data))


def _query(text: bytes) -> bytes:
    return struct.pack("<IIBHH", 1, 0, 1, 0, 0) + b"s\0" + text


def _gtid(sequence: int, flags: int) -> bytes:
    return struct.pack("<QIB", sequence, 0, flags) + bytes(6)


def _file(*bodies: tuple[int, bytes, int]) -> bytes:
    data = binlog.MAGIC + _event(binlog.FORMAT, bytes(57 + 20) + b"\1", 4)
    for kind, body, time in bodies:
        data += _event(kind, body, len(data), time)
    return data


LOG = _file(
    (binlog.GTID, _gtid(1, 1), 200),
    (binlog.QUERY, _query(b"create table t (id int)"), 201),
    (binlog.GTID, _gtid(2, 0), 202),
    (binlog.QUERY, _query(b"insert into t values (1)"), 202),
    (binlog.XID, bytes(8), 203),
    (binlog.GTID, _gtid(3, 0), 204),
    (binlog.QUERY, _query(b"insert into m values (1)"), 204),
    (binlog.QUERY, _query(b"COMMIT"), 205),
)


@pytest.mark.parametrize("step", [1, 7, 64, 1 << 20])
def test_transactions_are_found_whatever_the_pieces(step: int) -> None:
    found = list(binlog.transactions(LOG[at : at + step] for at in range(0, len(LOG), step)))
    assert [(t.gtid, t.time_ns // 10**9) for t in found] == [("0-1-1", 201), ("0-1-2", 203), ("0-1-3", 205)]
    assert [t.start for t in found[1:]] == [t.end for t in found[:-1]]
    assert found[-1].end == len(LOG)


def test_a_transaction_that_is_cut_off_is_none() -> None:
    assert len(list(binlog.transactions([LOG[:-1]]))) == 2


def test_events_that_are_missing_or_damaged_show() -> None:
    first, second = (t for t in list(binlog.transactions([LOG]))[:2])
    with pytest.raises(DatabaseFailed, match="did not come"):
        list(binlog.transactions([LOG[: first.start] + LOG[second.start :]]))
    damaged = bytearray(LOG)
    damaged[first.start + 25] ^= 1
    with pytest.raises(DatabaseFailed, match="checksum"):
        list(binlog.transactions([bytes(damaged)]))
    with pytest.raises(DatabaseFailed, match="does not begin"):
        list(binlog.transactions([b"no log at all"]))


def test_timelines_grow_where_numbering_begins_anew() -> None:
    known = State("bin.000007", 4711, 1000, 2, "x")
    assert states.timeline_of(None, 3, 500) == 0
    assert states.timeline_of(known, 7, 1000) == 2
    assert states.timeline_of(known, 9, 2000) == 2
    assert states.timeline_of(known, 7, 1500) == 3
    assert states.timeline_of(known, 1, 1500) == 3


def test_a_system_is_told_from_another_on_the_same_machine() -> None:
    one = Server({"version": "10.11.1-MariaDB", "server_uid": "u", "datadir": "/a/"})
    other = Server({"version": "10.11.1-MariaDB", "server_uid": "u", "datadir": "/b/"})
    assert one.system() != other.system()
    assert one.system("shop") == other.system("shop")
    assert Server({"version": "8.0.36", "server_uuid": "5f6d"}).system() == "5f6d"
