"""Kinds of media: what they hold, and how they want to be written.

Capacities are those of the smallest medium of a kind that is sold, in whole sectors: a CD of 79 min 50 s with 75 sectors a
second, DVD and BD as dvdisaster's tables and public ones have them (BD with its spare areas), floppies by their geometry
(80 x 2 x 18 x 512).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from safehold.core.errors import UsageError

SECTOR = 2048
"""Bytes of a sector of CD, DVD and BD."""
FLOPPY_SECTOR = 512
FRAME = 64 * 1024
"""Bytes of a frame; ``docs/format/volumes.md``."""
SMALL_FRAME = 8 * 1024
"""The same on floppies."""
DRIVES = "drives"
DISCS = "discs"
_SMALL = 16 << 20
"""Bytes of capacity below which frames are small."""
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(i?)B?", re.IGNORECASE)
_POWERS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}


@dataclass(frozen=True, slots=True)
class Profile:
    """One kind of medium."""

    name: str
    """What is written after ``--media``."""
    title: str
    """What people call it."""
    capacity: int
    """Bytes; 0: as much as is there (a drive's file system), or as ``--capacity`` says."""
    kind: str = DISCS
    """``drives`` or ``discs``: which kind of set it makes."""
    sector: int = SECTOR
    frame: int = FRAME
    optical: bool = True
    """Burned, and never changed after."""

    def with_capacity(self, capacity: int) -> Profile:
        """The same kind of medium with so many bytes."""
        frame = SMALL_FRAME if capacity < _SMALL else self.frame
        return Profile(self.name, self.title, capacity, self.kind, self.sector, frame, self.optical)


PROFILES = (
    Profile("drive", "flash drive or hard disk", 0, DRIVES, FLOPPY_SECTOR, optical=False),
    Profile("cd", "CD-R (80 minutes)", 359_424 * SECTOR),
    Profile("dvd", "DVD", 2_295_104 * SECTOR),
    Profile("dvd-r", "DVD-R", 2_298_496 * SECTOR),
    Profile("dvd+r", "DVD+R", 2_295_104 * SECTOR),
    Profile("dvd-dl", "DVD, two layers", 4_171_712 * SECTOR),
    Profile("dvd-r-dl", "DVD-R DL", 4_171_712 * SECTOR),
    Profile("dvd+r-dl", "DVD+R DL", 4_173_824 * SECTOR),
    Profile("bd", "Blu-ray", 11_826_176 * SECTOR),
    Profile("bd-dl", "Blu-ray, two layers", 23_652_352 * SECTOR),
    Profile("bdxl", "Blu-ray, three layers", 47_305_728 * SECTOR),
    Profile("bdxl-ql", "Blu-ray, four layers", 60_403_712 * SECTOR),
    Profile("floppy", "floppy disk, 1.44 MB", 2880 * FLOPPY_SECTOR, sector=FLOPPY_SECTOR, frame=SMALL_FRAME, optical=False),
    Profile("floppy-720", "floppy disk, 720 KB", 1440 * FLOPPY_SECTOR, sector=FLOPPY_SECTOR, frame=SMALL_FRAME, optical=False),
    Profile("other", "medium of another size", 0, optical=False),
)
BY_NAME = {each.name: each for each in PROFILES}


def profile(name: str, capacity: int = 0) -> Profile:
    """The kind of medium of that name, with that many bytes if any are given.

    Raises ``UsageError`` for a name that is none, and where a disc's capacity is not known.
    """
    found = BY_NAME.get(name.lower())
    if found is None:
        raise UsageError(f"{name} is no kind of medium that Safehold knows.", f"There are: {', '.join(BY_NAME)}.")
    if found.kind == DISCS and not (capacity or found.capacity):
        raise UsageError("How much one medium holds is not known.", "Say so, such as --capacity 700M.")
    if capacity and found.capacity and capacity > found.capacity:
        raise UsageError(
            f"A {found.title} holds {found.capacity:,} bytes, not {capacity:,}.", "Leave out --capacity, or give less."
        )
    return found.with_capacity(capacity) if capacity else found


def parse_capacity(text: str) -> int:
    """Bytes from ``700M`` (powers of 1000), ``650MiB`` (of 1024) or a plain number.  Raises ``UsageError``."""
    match = _SIZE.fullmatch(text.strip())
    size = int(float(match[1]) * (1024 if match[3] else 1000) ** _POWERS[match[2].upper()]) if match else 0
    if size <= 0:
        raise UsageError(f"{text!r} is no size.", "Write a number of bytes, or such as 700M, 4.7G or 650MiB.")
    return size
