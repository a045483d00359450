"""Laying new extents over old ones."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safehold.core.errors import DamageError
from safehold.ops.backup.paged import splice
from safehold.repo.paged import Block, Extent, assemble

_SIZE = 64


@st.composite
def _extents(draw: st.DrawFn, prefix: bytes) -> list[Extent]:
    cuts = sorted(draw(st.sets(st.integers(0, _SIZE), max_size=10)))
    found = []
    for number, (start, end) in enumerate(zip(cuts[::2], cuts[1::2], strict=False)):
        found.append(Extent(start, prefix + b"%d" % number, draw(st.integers(0, 5)), end - start))
    return found


def _chunk(name: bytes) -> bytes:
    return bytes((name[0] * 31 + name[1] * 7 + at) % 255 + 1 for at in range(_SIZE + 8))


def _naive(*layers: list[Extent]) -> bytes:
    data = bytearray(_SIZE)
    for extents in layers:
        for extent in extents:
            piece = _chunk(extent.chunk)[extent.start : extent.start + extent.length]
            data[extent.offset : extent.offset + extent.length] = piece
    return bytes(data)


@given(_extents(b"o"), _extents(b"n"))
def test_spliced_extents_give_the_bytes_of_both_layers(old: list[Extent], new: list[Extent]) -> None:
    spliced = splice(old, new)
    at = 0
    for extent in spliced:
        assert extent.offset >= at
        assert extent.length > 0
        at = extent.offset + extent.length
    assert assemble(Block(b"", spliced), 0, _SIZE, _chunk) == _naive(old, new)


@given(_extents(b"o"), _extents(b"n"), st.integers(0, _SIZE), st.integers(0, _SIZE))
def test_any_part_can_be_assembled(old: list[Extent], new: list[Extent], one: int, other: int) -> None:
    start, stop = sorted((one, other))
    block = Block(b"", splice(old, new))
    assert assemble(block, start, stop, _chunk) == _naive(old, new)[start:stop]


def test_a_chunk_that_is_too_short_is_never_made_up_for_by_another() -> None:
    """Its bytes are not closed up with those of the next."""
    extents = [Extent(0, b"a0", 0, 10), Extent(10, b"b0", 0, 20), Extent(30, b"c0", 0, 34)]
    for short in (b"a0", b"b0", b"c0"):

        def chunk(name: bytes, short: bytes = short) -> bytes:
            return _chunk(name)[: 5 if name == short else None]

        for start, stop in ((0, _SIZE), (4, 40), (8, 36), (12, 33)):
            touched = [e for e in extents if e.offset < stop and e.offset + e.length > start]
            lacks = any(e.chunk == short and min(stop, e.offset + e.length) - e.offset > 5 for e in touched)
            with pytest.raises(DamageError) if lacks else nullcontext():
                assert assemble(Block(b"", extents), start, stop, chunk) == _naive(extents)[start:stop]


def test_a_chunk_that_many_extents_lie_in_is_read_once() -> None:
    """Reading a chunk proves its name, which costs as much as the whole of it has bytes."""
    extents = [Extent(at, b"a0" if at % 8 else b"b0", at, 4) for at in range(0, _SIZE, 4)]
    read: list[bytes] = []

    def chunk(name: bytes) -> bytes:
        read.append(name)
        return _chunk(name)

    assert assemble(Block(b"", extents), 0, _SIZE, chunk) == _naive(extents)
    assert sorted(read) == [b"a0", b"b0"]
