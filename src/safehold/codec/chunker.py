"""Content-defined chunking: FastCDC 2020 (Xia et al., IEEE TPDS 2020), seeded so that cut points are the repository's own.

Two sets of sizes.  Small files are cut finely, because their chunks are compressed together and so cost next to nothing:
over Linux 6.1 and then 6.12, an average of 8 KiB stores 344 MB where whole files would store 379 MB.  Large files are cut
into pieces of about 1 MiB, each a segment of its own, so that the index stays small.  The sizes are parameters of a repository:
``docs/format/config.md``.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
from pyfastcdc import Chunk, FastCDC


class ChunkerSizes(msgspec.Struct, array_like=True, frozen=True):
    """Least, average and most bytes of a chunk; parameters of a repository, fixed when it is made."""

    fine: tuple[int, int, int] = (4096, 8192, 65536)
    """For files below ``large``."""
    coarse: tuple[int, int, int] = (256 * 1024, 1024 * 1024, 8 * 1024 * 1024)
    """For larger ones."""
    large: int = 256 * 1024
    """From this size on a file shares no segment with others."""


SEED_MASK = (1 << 63) - 1
"""The library shifts the seed left by one in 64 bits."""


class Chunker:
    """Cuts files.  Belongs to one thread."""

    def __init__(self, seed: bytes, sizes: ChunkerSizes) -> None:
        """``seed``: 8 bytes derived from the id key."""
        number = int.from_bytes(seed[:8], "little") & SEED_MASK
        self.sizes = sizes
        self._fine = _fastcdc(sizes.fine, number)
        self._coarse = _fastcdc(sizes.coarse, number)

    def fine(self, data: bytes | memoryview) -> Iterator[Chunk]:
        """The chunks of a small file, in order; ``data`` of each is a view."""
        return self._fine.cut_buf(data)

    def coarse(self, data: bytes | memoryview) -> Iterator[Chunk]:
        """The chunks of a stretch of a large file, in order; the last one ends where ``data`` ends, not at a cut point."""
        return self._coarse.cut_buf(data)


def _fastcdc(sizes: tuple[int, int, int], seed: int) -> FastCDC:
    least, average, most = sizes
    return FastCDC(average, min_size=least, max_size=most, seed=seed)
