"""What an incremental of mariadb-backup streams of a file, read in pieces of any length; and what is no such thing."""

from __future__ import annotations

import random
import struct

import pytest

from safehold.core.errors import DatabaseFailed
from safehold.ops.databases.mariadb import merging
from safehold.sources.mariadb import delta, keys
from safehold.sources.mariadb.delta import BLOCK

PAGE = 1024


def _encoded(pages: list[tuple[int, bytes]]) -> bytes:
    """As ``write_filt.cc`` writes it: a buffer holds a quarter of a page's bytes of pages, its heading counted."""
    most = PAGE // 4 - 1
    parts = [pages[at : at + most] for at in range(0, len(pages), most)] or [[]]
    out = b""
    for part in parts:
        places = [place for place, _ in part] + ([0xFFFFFFFF] if len(part) < most else [])
        head = (b"XTRA" if part is parts[-1] else b"xtra") + struct.pack(f">{len(places)}I", *places)
        out += head.ljust(PAGE, b"\0") + b"".join(data for _, data in part)
    return out


@pytest.mark.parametrize("count", [0, 1, 7, 254, 255, 256, 700])
def test_pages_come_out_as_they_went_in(count: int) -> None:
    dice = random.Random(count)
    pages = [(place, dice.randbytes(PAGE)) for place in sorted(dice.sample(range(5000), count))]
    data = _encoded(pages)
    reader = delta.Delta(PAGE)
    found = []
    while data:
        length = dice.choice([1, 100, PAGE, 3 * PAGE + 5, 100 * PAGE])
        found += list(reader.feed(data[:length]))
        data = data[length:]
    reader.finish()
    assert all(at // BLOCK == (at + len(run) - 1) // BLOCK for at, run in found)
    single = [(at + n, run[n : n + PAGE]) for at, run in found for n in range(0, len(run), PAGE)]
    assert single == [(place * PAGE, page) for place, page in pages]


def test_pages_that_follow_each_other_come_together_up_to_the_end_of_their_block() -> None:
    data = b"".join(bytes([place % 251]) * PAGE for place in range(1020, 1030))
    pages = [(1020 + n, data[n * PAGE : (n + 1) * PAGE]) for n in range(10) if n != 7]
    assert list(delta.Delta(PAGE).feed(_encoded(pages))) == [
        (1020 * PAGE, data[: 4 * PAGE]),
        (BLOCK, data[4 * PAGE : 7 * PAGE]),
        (1028 * PAGE, data[8 * PAGE :]),
    ]


def test_what_is_cut_off_or_out_of_order_is_refused() -> None:
    whole = _encoded([(place, bytes([place]) * PAGE) for place in range(3, 9)])
    for end in range(0, len(whole), PAGE // 2):
        reader = delta.Delta(PAGE)
        with pytest.raises(DatabaseFailed, match="cut off"):
            list(reader.feed(whole[:end]))
            reader.finish()
    for bad in (b"XTRB" + whole[4:], whole + whole, _encoded([(4, bytes(PAGE)), (4, bytes(PAGE))])):
        with pytest.raises(DatabaseFailed):
            list(delta.Delta(PAGE).feed(bad))


def test_descriptions() -> None:
    assert delta.meta(b"page_size = 16384\nzip_size = 0 \nspace_id = 12\n") == delta.Meta(12, 16384)
    assert delta.meta(b"page_size = 16384\nzip_size = 4096\nspace_id = 7\n") == delta.Meta(7, 4096)
    for bad in (b"", b"page_size = 16384\n", b"page_size = 7\nspace_id = 1\n", b"page_size = x\nspace_id = 1\n"):
        with pytest.raises(DatabaseFailed):
            delta.meta(bad)


@pytest.mark.parametrize(("flags", "size"), [(0x15, 16384), (0x21, 16384), (0x21 | 3 << 1, 4096), (0x21 | 2 << 1, 2048)])
def test_the_page_size_of_a_compressed_table(flags: int, size: int) -> None:
    first = bytes(38) + struct.pack(">IIIII", 9, 0, 100, 64, flags) + bytes(100)
    assert (delta.physical(first, 16384), delta.space_of(first), delta.size_of(first, size)) == (size, 9, 100 * size)


def test_what_is_remembered_is_believed_only_if_it_can_be_read() -> None:
    since = merging.Since(5, 6, 7, 8, {b"a/b.ibd": 3}, {3: 40})
    assert merging.decode(merging.encode(since)) == since
    for nothing in (None, b"", b"\xc0", b"junk", merging.encode(None)):
        assert merging.decode(nothing) is None


def test_a_server_that_encrypts_nothing_needs_no_keys() -> None:
    assert keys.options({"innodb_page_size": "16384"}, ["/nowhere"]) == {}
