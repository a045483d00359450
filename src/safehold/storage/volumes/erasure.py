"""The erasure code of volumes: zfec's, k data blocks and m parity blocks of which any k give back all.

It is the systematic code over GF(2^8) (polynomial 0x11d) that zfec makes from a Vandermonde matrix, so that any zfec decodes it.
A block of the data that is not there at all (a short row, a group with volumes still to come) counts as zeros.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from functools import lru_cache

import zfec

from safehold.storage.volumes.galois import Isal, Place, isal


class Code:
    """``k`` + ``m``.  Blocks are addresses of equally many bytes; 0 to k-1 are data, k to k+m-1 parity."""

    def __init__(self, k: int, m: int, library: Isal | None) -> None:
        self.k = k
        self.m = m
        self._library = library
        units = [bytes(number == other for other in range(k)) for number in range(k)]
        self._rows: list[bytes] = zfec.Encoder(k, k + m).encode(units, list(range(k, k + m)))
        """Per parity block, the coefficient of each data block."""

    def encode(self, data: Mapping[int, Place], parity: Mapping[int, Place], length: int) -> None:
        """Make parity blocks (by number, from k on) of the data blocks that are there; the others are zeros."""
        if not data:
            for place in parity.values():
                ctypes.memset(place, 0, length)
        elif self._library is not None:
            rows = [bytes(self._rows[number - self.k][column] for column in data) for number in parity]
            self._library.combine(rows, list(data.values()), list(parity.values()), length)
        else:
            blocks = self._blocks(data, length)
            self._give(zfec.Encoder(self.k, self.k + self.m).encode(blocks, list(parity)), parity)

    def decode(self, known: Mapping[int, Place], zeros: Sequence[int], wanted: Mapping[int, Place], length: int) -> None:
        """Make the wanted data blocks of the known blocks; ``zeros`` are data blocks that are nothing but zeros.

        Raises ``ValueError`` where fewer than k are known.
        """
        chosen = self.choose(known, zeros)
        if self._library is None:
            self._decode_slowly(chosen, known, wanted, length)
            return
        inverse = _inverse(self, self._library, tuple(chosen))
        real = [(column, number) for column, number in enumerate(chosen) if number in known]
        rows = [bytes(inverse[data * self.k + column] for column, _ in real) for data in wanted]
        self._library.combine(rows, [known[number] for _, number in real], list(wanted.values()), length)

    def choose(self, known: Mapping[int, object], zeros: Sequence[int]) -> list[int]:
        """Which k blocks a decoding uses: data where it is there, the rest parity."""
        data = sorted({*(number for number in known if number < self.k), *zeros})
        parity = sorted(number for number in known if number >= self.k)
        chosen = (data + parity)[: self.k]
        if len(chosen) < self.k:
            raise ValueError(f"Only {len(chosen)} of {self.k} blocks are there.")
        return chosen

    def row(self, number: int) -> bytes:
        """The coefficients of a block, data or parity."""
        return bytes(number == other for other in range(self.k)) if number < self.k else self._rows[number - self.k]

    def _decode_slowly(self, chosen: list[int], known: Mapping[int, Place], wanted: Mapping[int, Place], length: int) -> None:
        blocks = [ctypes.string_at(known[number], length) if number in known else bytes(length) for number in chosen]
        data = zfec.Decoder(self.k, self.k + self.m).decode(*_in_place(blocks, chosen, self.k))
        self._give([data[number] for number in wanted], wanted)

    def _blocks(self, data: Mapping[int, Place], length: int) -> list[bytes]:
        return [ctypes.string_at(data[number], length) if number in data else bytes(length) for number in range(self.k)]

    def _give(self, blocks: Sequence[bytes], places: Mapping[int, Place]) -> None:
        for block, place in zip(blocks, places.values(), strict=True):
            ctypes.memmove(place, block, len(block))


def _in_place(blocks: list[bytes], numbers: list[int], k: int) -> tuple[list[bytes], list[int]]:
    """The same blocks with each data block at its own position, which zfec asks for."""
    data = {number: block for number, block in zip(numbers, blocks, strict=True) if number < k}
    parity = [(number, block) for number, block in zip(numbers, blocks, strict=True) if number >= k]
    placed = [(number, data[number]) if number in data else parity.pop() for number in range(k)]
    return [block for _, block in placed], [number for number, _ in placed]


@lru_cache(512)
def _inverse(code: Code, library: Isal, chosen: tuple[int, ...]) -> bytes:
    return library.invert(b"".join(code.row(number) for number in chosen), code.k)


@lru_cache(16)
def code_of(k: int, m: int) -> Code:
    """The code, by the fastest means of this machine."""
    return Code(k, m, isal())
