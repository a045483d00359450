"""The parts that PostgreSQL's bases are made of, each by itself: archives, manifests, names, positions, changed blocks."""

from __future__ import annotations

import io
import struct
import tarfile
from collections.abc import Callable

import pytest

from safehold.core.errors import DatabaseFailed
from safehold.sources.postgresql import incremental, labels, manifest, names, positions, tarball
from safehold.sources.postgresql.tarball import Feed, Members


def _reader(data: bytes) -> Callable[[int], bytes]:
    return io.BytesIO(data).read


def _feed(data: bytes, step: int) -> Feed:
    pieces = iter([data[at : at + step] for at in range(0, len(data), step)])
    return Feed(lambda: next(pieces, b""))


@pytest.mark.parametrize("step", [1000, 511, 1 << 20])
def test_an_archive_is_read_in_whatever_pieces_it_comes(step: int) -> None:
    made = io.BytesIO()
    contents = {"base/1/12": b"x" * 8192, "PG_VERSION": b"15\n", "empty": b"", "odd": b"y" * 777}
    with tarfile.open(fileobj=made, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in contents.items():
            info = tarfile.TarInfo(name)
            info.size, info.mtime, info.mode = len(content), 1_700_000_000, 0o600
            tar.addfile(info, io.BytesIO(content))
    members = Members(_feed(made.getvalue(), step))
    found = {}
    for member in members:
        assert (member.mtime, member.mode, member.kind) == (1_700_000_000, 0o600, tarball.FILE)
        if member.name != b"odd":  # not every content is taken
            found[member.name.decode()] = members.read(member.size)
    assert found == {name: content for name, content in contents.items() if name != "odd"}


def test_an_archive_that_is_cut_off_or_damaged_is_no_archive() -> None:
    info = tarfile.TarInfo("file")
    info.size = 5000
    whole = info.tobuf(tarfile.USTAR_FORMAT) + b"z" * 5000
    with pytest.raises(DatabaseFailed, match="ends in the middle"):
        list(Members(_feed(whole[:3000], 512)))
    with pytest.raises(DatabaseFailed, match="damaged"):
        list(Members(_feed(b"\1" + whole[1:], 512)))


def test_a_large_size_in_a_tar_header_is_binary() -> None:
    info = tarfile.TarInfo("large")
    info.size = 9 << 30
    header = info.tobuf(tarfile.GNU_FORMAT)
    member = next(iter(Members(_feed(header, 512))))
    assert member.size == 9 << 30


def test_a_manifest_is_read_again_as_it_was_written() -> None:
    files = [
        manifest.file(b"base/5/1259", 8192, 1_700_000_000_000_000_000, "ab" * 32),
        manifest.file(b"odd \xff name", 3, 0),
        manifest.file(b"empty", 0, 0, "cd" * 32),
    ]
    for major in (15, 18):
        made = manifest.made(major, "7001", files, 1, 0x2000028, 0x2000100)
        data = manifest.encode(made)
        assert manifest.parse(data) == made
        assert list(made.by_path()) == [b"base/5/1259", b"odd \xff name", b"empty"]
        assert (b"System-Identifier" in data) == (major == 18)
        with pytest.raises(DatabaseFailed):
            manifest.parse(data.replace(b"8192", b"8193"))


def test_positions_and_segments() -> None:
    assert positions.parse_lsn("1/2F000028") == 0x1_2F000028
    assert positions.format_lsn(0x1_2F000028) == "1/2F000028"
    with pytest.raises(ValueError):
        positions.parse_lsn("1-2")
    size = 16 << 20
    assert positions.segment_name(3, 0x1_2F000028, size) == "00000003000000010000002F"
    assert list(positions.segment_names(1, 0x2000028, 0x4000000, size)) == [
        "000000010000000000000002",
        "000000010000000000000003",
    ]
    assert positions.segment_name(1, 0x1_00000000, 1 << 30) == "000000010000000100000000"


def test_what_a_base_leaves_out() -> None:
    assert names.is_left_out(b"", b"postmaster.pid")
    assert names.is_left_out(b"base/5", b"pg_internal.init.77")
    assert names.is_left_out(b"base/5", b"t3_16384_fsm")
    assert names.is_left_out(b"base", b"pgsql_tmp")
    assert names.is_left_out(b"pg_replslot", b"slot")
    assert not names.is_left_out(b"base/5", b"16384")
    assert not names.is_left_out(b"base/5", b"backup_label")
    numbers = names.unlogged([b"16384", b"16384_init", b"16390"])
    assert [names.is_reset(name, numbers) for name in (b"16384", b"16384.1", b"16384_fsm", b"16384_init", b"16390")] == [
        True,
        True,
        True,
        False,
        False,
    ]


def test_which_files_have_pages() -> None:
    assert names.relation(b"base/5/16384") == 0
    assert names.relation(b"base/5/16384_vm.3") == 3
    assert names.relation(b"pg_tblspc/16500/PG_15_202209061/5/16384.12") == 12
    assert names.relation(b"global/1262") == 0
    for other in (b"global/pg_control", b"base/5/PG_VERSION", b"pg_xact/0000", b"base/5/pg_filenode.map"):
        assert names.relation(other) is None


def _incremental(numbers: list[int], truncation: int) -> bytes:
    head = struct.pack(f"<III{len(numbers)}I", incremental.MAGIC, len(numbers), truncation, *numbers)
    body = b"".join(bytes([number % 251]) * 8192 for number in numbers)
    return head + (bytes(-len(head) % 8192) + body if numbers else b"")


def test_changed_blocks_come_in_runs_that_end_at_a_mebibyte() -> None:
    numbers = [0, 1, 126, 127, 128, 129, 300]
    read = _reader(_incremental(numbers, 200))
    changes = incremental.read_head(read, 8192)
    assert changes.size(8192) == 301 * 8192
    runs = [(offset // 8192, len(data) // 8192) for offset, data in incremental.runs(changes, read, 8192)]
    assert runs == [(0, 2), (126, 2), (128, 2), (300, 1)]
    nothing = incremental.read_head(_reader(_incremental([], 7)), 8192)
    assert (nothing.blocks, nothing.size(8192)) == ((), 7 * 8192)


def test_a_file_of_changes_that_is_none_is_refused() -> None:
    with pytest.raises(DatabaseFailed):
        incremental.read_head(_reader(b"something else" * 10), 8192)
    with pytest.raises(DatabaseFailed, match="not in order"):
        incremental.read_head(_reader(_incremental([5, 4], 9)), 8192)
    read = _reader(_incremental([1, 2], 9)[:-1])
    with pytest.raises(DatabaseFailed, match="cut off"):
        list(incremental.runs(incremental.read_head(read, 8192), read, 8192))


def test_names_of_incremental_files() -> None:
    assert incremental.whole_name(b"base/5/INCREMENTAL.16384") == b"base/5/16384"
    assert incremental.whole_name(b"base/5/16384") is None


def test_labels() -> None:
    text = b"START WAL LOCATION: 0/2000028 (file 000000020000000000000002)\nCHECKPOINT LOCATION: 0/2000060\nSTART TIMELINE: 2\n"
    more = b"INCREMENTAL FROM LSN: 0/1000028\nINCREMENTAL FROM TLI: 1\n"
    assert labels.parse(text) == labels.Label(0x2000028, 2)
    assert labels.without_incremental(text + more) == text
    with pytest.raises(DatabaseFailed):
        labels.parse(b"nothing")
