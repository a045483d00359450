"""What makes a volume readable by a person and by other programs: plain files, and a directory in front."""

from __future__ import annotations

from typing import Protocol

import msgspec

from safehold.storage.volumes.catalogue import Volume
from safehold.storage.volumes.discs.layout import Layout
from safehold.storage.volumes.discs.ledger import Session
from safehold.storage.volumes.media.medium import SECTOR, Extent, Medium, data_extents

Placed = list[tuple[str, int, int]]
"""Name, first sector and bytes of each plain file."""


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


def write_extras(medium: Medium, volume: Volume, slot: int, layout: Layout, finisher: Finisher) -> tuple[Placed, int]:
    """Write the plain files from a slot on; where they are, and the slot behind them."""
    placed: Placed = []
    offset = slot * layout.frame
    for name, data in finisher.extras(volume):
        sectors = -(-len(data) // SECTOR)
        medium.write(offset, data.ljust(sectors * SECTOR, b"\0"))
        placed.append((name, offset // SECTOR, len(data)))
        offset += sectors * SECTOR
    return placed, -(-offset // layout.frame)


def write_directory(medium: Medium, volume: Volume, sessions: list[Session], layout: Layout, finisher: Finisher) -> None:
    """Write the directory of a volume's last session into the room at its beginning."""
    last = sessions[-1]
    reserved = layout.reserved(last.session) * layout.frame
    if reserved:
        start = last.reserved * layout.frame
        data = finisher.directory(volume, reserved, start // SECTOR, extents(sessions, layout))
        if len(data) > reserved:
            raise ValueError("The directory is too large.")
        if data:
            medium.write(start, data)


def extents(sessions: list[Session], layout: Layout) -> list[Extent]:
    """What a volume's directory shows: the plain files of its last session, and its frames."""
    runs = [
        (each.start * layout.frame, (each.frames + layout.rows(each).parity * each.is_closed) * layout.frame) for each in sessions
    ]
    plain = msgspec.json.decode(sessions[-1].extras, type=Placed) if sessions else []
    return [*(Extent(*each) for each in plain), *data_extents(runs)]
