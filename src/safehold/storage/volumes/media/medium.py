"""The interface of media: an address space of bytes, read and written in whole frames.

An address is the same wherever a volume lies: ``slot * frame size``, counted from the first byte of the disc, image or floppy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

SECTOR = 2048
"""Bytes: the unit of an ISO 9660 directory's addresses."""
LARGEST_FILE = 4 * 1024 * 1024 * 1024 - 64 * 1024
"""Bytes of a file of a volume at most, in whole frames: FAT32 and many readers of ISO 9660 hold no file of 4 GiB."""


@dataclass(frozen=True, slots=True)
class Extent:
    """A run of a volume's bytes that its directory shows as a file."""

    name: str
    """Such as ``DATA/D0000001.SHD``: 8.3, upper case."""
    sector: int
    """The first of its sectors of 2 KiB."""
    size: int
    """Bytes."""


class Medium(Protocol):
    """Raises ``StoreFull``, ``StoreUnreachable``, ``StoreError``.  Reading is safe from several threads."""

    @property
    def location(self) -> str:
        """Where it is, as a user would say it."""

    @property
    def used(self) -> int:
        """The address behind the last byte that may hold anything."""

    def read(self, offset: int, buffer: memoryview) -> None:
        """Fill the buffer.  What cannot be read, and what lies behind the end, is zeros: a frame of them is none."""

    def write(self, offset: int, data: bytes | bytearray | memoryview) -> None:
        """Write whole sectors."""

    def flush(self) -> None:
        """Return when what was written survives a loss of power."""

    def cut(self, size: int) -> None:
        """Forget what lies from an address on, where the medium can."""

    def close(self) -> None:
        """Let go of it.  Never raises."""


def data_extents(runs: list[tuple[int, int]], first_number: int = 1) -> list[Extent]:
    """Files ``DATA/D0000001.SHD`` ... for runs (offset, bytes) of a volume, none of 4 GiB."""
    found: list[Extent] = []
    for offset, size in runs:
        for at in range(0, size, LARGEST_FILE):
            name = f"DATA/D{first_number + len(found):07}.SHD"
            found.append(Extent(name, (offset + at) // SECTOR, min(LARGEST_FILE, size - at)))
    return found
