"""The erasure code: the fast library and zfec give the same bytes; any k blocks give back the data."""

from __future__ import annotations

import zlib
from random import Random

import pytest
import zfec

from safehold.storage.volumes.erasure import Code
from safehold.storage.volumes.galois import address, crc_of, isal
from safehold.storage.volumes.rows import Rows


@pytest.mark.parametrize(("k", "m"), [(100, 15), (8, 2), (4, 1), (1, 1)])
def test_the_fast_code_is_zfecs(k: int, m: int) -> None:
    random = Random(k)
    length = 1000
    data = [bytearray(random.randbytes(length)) for _ in range(k)]
    theirs = zfec.Encoder(k, k + m).encode([bytes(each) for each in data], list(range(k, k + m)))
    library = isal()
    assert library is not None, "pyeclib's wheel brings it"
    for code in (Code(k, m, library), Code(k, m, None)):
        parity = [bytearray(length) for _ in range(m)]
        places = {number: address(each) for number, each in enumerate(data)}
        code.encode(places, {k + number: address(each) for number, each in enumerate(parity)}, length)
        assert [bytes(each) for each in parity] == theirs
        lost = random.sample(range(k), min(k, m))
        known = {**places, **{k + number: address(each) for number, each in enumerate(parity)}}
        made = {number: bytearray(length) for number in lost}
        code.decode(
            {number: place for number, place in known.items() if number not in lost},
            [],
            {number: address(each) for number, each in made.items()},
            length,
        )
        assert all(made[number] == data[number] for number in lost)


def test_blocks_that_do_not_exist_are_zeros() -> None:
    random = Random(1)
    data = [bytearray(random.randbytes(64)) for _ in range(3)]
    for library in (isal(), None):
        code, parity = Code(8, 2, library), [bytearray(64), bytearray(64)]
        places = {number: address(each) for number, each in enumerate(data)}
        code.encode(places, {8: address(parity[0]), 9: address(parity[1])}, 64)
        blocks = [bytes(each) for each in data] + [bytes(64)] * 5
        assert [bytes(each) for each in parity] == zfec.Encoder(8, 10).encode(blocks, [8, 9])
        made = {0: bytearray(64), 2: bytearray(64)}
        known = {1: places[1], 8: address(parity[0]), 9: address(parity[1])}
        code.decode(known, range(3, 8), {number: address(each) for number, each in made.items()}, 64)
        assert (made[0], made[2]) == (data[0], data[2])
        with pytest.raises(ValueError, match="Only 7 of 8"):
            code.decode({1: places[1], 8: places[1]}, range(3, 8), {0: address(made[0])}, 64)


def test_checksums_are_zlibs() -> None:
    data = bytearray(Random(2).randbytes(5000))
    assert crc_of()(address(data) + 8, 4000) == zlib.crc32(data[8:4008])


@pytest.mark.parametrize("n", [1, 2, 7, 99, 100, 101, 555, 9700])
def test_rows_hold_every_frame_once(n: int) -> None:
    rows = Rows(n, 100, 15)
    places = {(number % rows.rows, number // rows.rows) for number in range(n)}
    assert len(places) == n
    assert all(row < rows.height(column) for row, column in places)
    assert rows.columns <= 100
    assert 2 <= rows.each <= 15
    assert n < 100 or rows.parity >= n * 0.149
