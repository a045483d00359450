"""What burns: the interface of drives that write discs, and what a drive says of the medium in it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from safehold.core.errors import StoreUnreachable, UsageError
from safehold.storage.volumes.media.medium import SECTOR

STDIO = "stdio:"
"""What xorriso calls a file that stands for a drive: for trying, and for files that are to be burned elsewhere."""
PIECE = 1 << 20
"""Bytes that are handed over at once."""
Progress = Callable[[int], None]
"""Told how many bytes were handed over in all."""


@dataclass(frozen=True, slots=True)
class InDrive:
    """The medium in a drive."""

    kind: str = ""
    """As the drive calls it: CD-R, BD-R sequential recording; empty: there is none, or none that can be written."""
    blank: bool = False
    appendable: bool = False
    """Another session can follow."""
    overwritable: bool = False
    """What is on it can be written over."""
    next_sector: int = 0
    """Where the next session would begin."""
    room: int = 0
    """Bytes that can still be written; 0: not known."""


@dataclass(frozen=True, slots=True)
class Job:
    """What is to be written: sectors ``first`` to ``end`` of an image, at the same place of the medium."""

    image: Path
    first: int
    end: int
    final: bool
    """No session is to follow."""
    speed: str = ""
    """As people write it: 4; empty: as fast as the drive likes."""
    simulate: bool = False

    @property
    def bytes(self) -> int:
        return (self.end - self.first) * SECTOR


class Burner(Protocol):
    """A drive that writes.  Raises ``ProgramMissing``, ``StoreUnreachable``, ``StoreError``."""

    device: str

    def look(self) -> InDrive:
        """What is in the drive."""

    def burn(self, job: Job, progress: Progress) -> None:
        """Write, and return when the drive has finished.  Raises ``StoreError`` when the medium is spoiled."""

    def reload(self) -> None:
        """Have the drive forget what it knows of the medium: out with the tray and in again, where it can."""

    def readable(self) -> Path:
        """What to read from, sector by sector."""


def feed(job: Job, sink: BinaryIO, progress: Progress) -> None:
    """Hand an image's sectors over, with zeros behind its end."""
    done = 0
    with job.image.open("rb") as image:
        image.seek(job.first * SECTOR)
        while done < job.bytes:
            piece = image.read(min(PIECE, job.bytes - done))
            if not piece:
                piece = bytes(min(PIECE, job.bytes - done))
            sink.write(piece)
            done += len(piece)
            progress(done)


def require_drive(device: str) -> None:
    """A mistyped drive is no file that a program makes and burns into.  Raises ``StoreUnreachable``, ``UsageError``."""
    place = file_of(device)
    if device.startswith(STDIO):
        if not place.exists():
            raise StoreUnreachable(f"There is no {place}.", "An empty file stands for a blank disc: make one.")
        if not place.is_file():
            raise UsageError(f"{place} is no file, which stdio: means.", "Name an empty file, or a drive such as /dev/sr0.")
    elif not place.exists():
        raise StoreUnreachable(f"There is no drive {place}.", "Is it plugged in?  Name another one: --device /dev/sr1.")
    elif not (place.is_block_device() or place.is_char_device()):
        raise UsageError(f"{place} is no drive.", f"If the file is to stand for a disc, write {STDIO}{place}.")


def file_of(device: str) -> Path:
    """The device or file behind ``/dev/sr0`` or ``stdio:FILE``."""
    return Path(device.removeprefix(STDIO))
