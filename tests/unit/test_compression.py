"""Payloads: every method gives back what went in, and columns are taken where they help."""

from __future__ import annotations

import random
import struct
from pathlib import Path

import pytest

from safehold.codec import compression
from safehold.codec.compression import COLUMNS, HEADER, STORED, ZSTD, from_columns, pack, to_columns, unpack
from safehold.codec.levels import EVERY, QUICK, Levels
from safehold.core.errors import FormatError

ROWS = struct.pack("<16384Q", *range(1 << 40, (1 << 40) + 16384 * 7, 7))
"""An index: numbers that count up, in which zstd sees little."""
TEXT = (Path(__file__).parents[2] / "docs" / "mariadb.md").read_bytes() * 4


def _tokens(count: int) -> bytes:
    return random.Random(1).randbytes(count).hex().encode()


@pytest.mark.parametrize("length", [*range(50), 255, 256, 4095, 4096, 40_001])
def test_columns_come_back_at_every_length(length: int) -> None:
    data = random.Random(length).randbytes(length)
    assert from_columns(to_columns(data)) == data


def test_the_first_column_is_every_sixteenth_byte() -> None:
    assert to_columns(bytes(range(35))) == bytes(
        [0, 16, 32, 1, 17, 33, 2, 18, 34, *(n for k in range(3, 16) for n in (k, k + 16))]
    )


def test_numbers_that_count_up_are_smaller_in_columns() -> None:
    packed, plain = pack(ROWS, columns=6), pack(ROWS, 6)
    assert (packed[0], plain[0]) == (COLUMNS, ZSTD)
    assert len(packed) * 4 < len(plain)
    assert unpack(packed, len(ROWS)) == ROWS


@pytest.mark.parametrize("data", [b"", b"x", TEXT, bytes(100_000)], ids=["empty", "byte", "text", "zeros"])
def test_other_data_is_not_laid_in_columns(data: bytes) -> None:
    packed = pack(data, columns=6)
    assert packed[0] in (ZSTD, STORED)
    assert unpack(packed, 1 << 20) == data


def test_columns_are_only_tried_when_asked_for() -> None:
    assert pack(ROWS)[0] == ZSTD


@pytest.mark.parametrize("claimed", [len(ROWS) - 1, len(ROWS) + 1, 0])
def test_columns_of_another_length_than_claimed_are_refused(claimed: int) -> None:
    packed = pack(ROWS, columns=6)
    body = packed[HEADER.size :]
    with pytest.raises(FormatError):
        unpack(HEADER.pack(COLUMNS, claimed, len(body)) + body, 1 << 20)


def test_tokens_are_compressed_quickly_and_text_is_not() -> None:
    """Whatever came before: a later trial finds that the data is of another kind."""
    levels, tokens, text = Levels(), _tokens(500_000), (TEXT * 200)[:1_000_000]
    every = EVERY // len(tokens)
    assert [levels.choose(tokens) for _ in range(every)] == [QUICK] * every
    assert [levels.choose(text) for _ in range(every)] == [compression.DEFAULT_LEVEL] * every
    assert levels.choose(tokens) == QUICK


def test_small_pieces_that_follow_each_other_are_looked_at_together() -> None:
    levels = Levels()
    pieces = [ROWS, TEXT * 20, ROWS, TEXT]
    assert [levels.suits_columns(piece) for piece in pieces] == [True, False, True, True]
