"""How the slots of a volume are divided, and what still fits."""

from __future__ import annotations

from dataclasses import dataclass

from safehold.storage.volumes.catalogue import VolumeSet
from safehold.storage.volumes.discs.ledger import Session
from safehold.storage.volumes.frames import SET_BYTES, Stamp, count_of
from safehold.storage.volumes.media.medium import SECTOR
from safehold.storage.volumes.profiles import profile
from safehold.storage.volumes.rows import Rows

RESERVED_FIRST = 1 << 20
"""Bytes at the start of an optical volume that belong to its directory."""
RESERVED_LATER = 256 << 10
"""The same at the start of each later session."""
PACK = 32 << 20
"""Bytes of a pack, ``repo.packs.TARGET``, which storage does not know."""
NEXT_SECTOR = "next_sector"
"""In the settings of a volume that was burned: where its disc's next session begins."""
WHOLE_FROM = 16 * PACK
"""On volumes of fewer bytes objects are cut into pieces."""


@dataclass(frozen=True, slots=True)
class Layout:
    """What all volumes of a set have in common."""

    set_id: bytes
    capacity: int
    """Bytes of a volume."""
    frame: int
    """Bytes of a frame."""
    optical: bool
    inside: tuple[int, int]
    """Data and parity frames of a row; (100, 0): there is no parity."""
    across: tuple[int, int]

    @property
    def slots(self) -> int:
        return self.capacity // self.frame

    @property
    def cuts(self) -> bool:
        """Whether objects are cut into pieces."""
        return self.capacity < WHOLE_FROM

    def reserved(self, session: int) -> int:
        """Slots for a session's directory."""
        if not self.optical:
            return 0
        return (RESERVED_FIRST if session == 1 else RESERVED_LATER) // self.frame

    def count(self, size: int) -> int:
        """Frames of an object of ``size`` bytes."""
        return count_of(size, self.frame)

    def stamp(self, volume: int, session: int) -> Stamp:
        """What the frames of a session have in common."""
        return Stamp(self.set_id, volume, session, *self.inside, self.frame)

    def rows(self, session: Session) -> Rows:
        """The rows of a session."""
        return Rows(session.frames, *self.inside)

    def next_session(self, before: list[Session], volume: int, sector: int = 0) -> Session:
        """A new session behind those that there are, or the first.  ``sector``: where the burned disc can take one."""
        number = len(before) + 1
        begin = max(before[-1].end, -(-sector * SECTOR // self.frame)) if before else 0
        return Session(volume, number, begin, begin + self.reserved(number), 0)

    def end(self, session: Session, frames: int, extras: int) -> int:
        """The slot behind a session that has so many more frames and is closed then."""
        frames += session.frames
        return session.start + frames + Rows(frames, *self.inside).parity + -(-extras // self.frame)

    def room(self, session: Session, reserve: int, extras: int) -> int:
        """How many more frames fit, if ``reserve`` frames are to follow."""
        low, high = 0, max(0, self.slots - session.start - session.frames)
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if self.end(session, middle + reserve, extras) <= self.slots else (low, middle - 1)
        return low if self.end(session, low + reserve, extras) <= self.slots else 0


def layout_of(volume_set: VolumeSet) -> Layout:
    """The layout of a set's volumes."""
    media = profile(volume_set.media, volume_set.capacity)
    inside = _code(volume_set.inner) or (100, 0)
    return Layout(
        bytes.fromhex(volume_set.id)[:SET_BYTES],
        media.capacity // SECTOR * SECTOR,
        media.frame,
        media.optical,
        inside,
        _code(volume_set.parity) or (1, 0),
    )


def _code(text: str) -> tuple[int, int] | None:
    data, _, parity = text.partition("+")
    return (int(data), int(parity)) if parity else None
