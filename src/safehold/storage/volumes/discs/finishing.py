"""What makes a volume readable by a person and by other programs: plain files, and a directory in front."""

from __future__ import annotations

from typing import Protocol

from safehold.storage.volumes.catalogue import Volume
from safehold.storage.volumes.media.medium import Extent

RESERVED_FIRST = 1 << 20
"""Bytes at the start of an optical volume that belong to its directory."""
RESERVED_LATER = 256 << 10
"""The same at the start of each later session."""


class Finisher(Protocol):
    """Called when a session closes."""

    @property
    def extras_bytes(self) -> int:
        """The plain files take at most so many bytes, each rounded up to 2 KiB."""

    def extras(self, volume: Volume) -> list[tuple[str, bytes]]:
        """Plain files that go onto the volume, README.TXT and the like: name and content."""

    def directory(self, volume: Volume, reserved: int, start_sector: int, extents: list[Extent]) -> bytes:
        """What goes into the reserved bytes (at most so many), which begin at that sector, so that the extents, those of
        earlier sessions too, are files."""


class Plain:
    """No plain files and no directory: frames alone."""

    extras_bytes = 0

    def extras(self, volume: Volume) -> list[tuple[str, bytes]]:
        return []

    def directory(self, volume: Volume, reserved: int, start_sector: int, extents: list[Extent]) -> bytes:
        return b""
