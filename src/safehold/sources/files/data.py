"""The bytes of one file, as a restore and a comparison are fed with them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol


class Data(Protocol):
    """The bytes of one file, fetched as they are needed."""

    @property
    def size(self) -> int:
        """All bytes, holes included."""

    def read(self, offset: int, length: int) -> bytes:
        """Exactly ``length`` bytes from ``offset``."""

    def pieces(self) -> Iterator[tuple[int, int]]:
        """Offset and length of parts that are well read at once (below some MiB), ascending.

        What no piece covers is zero; the parts of a sparse file that are holes may be left out.
        """
