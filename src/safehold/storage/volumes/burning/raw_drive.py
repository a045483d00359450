"""A floppy drive, or any device that is written sector by sector."""

from __future__ import annotations

from pathlib import Path

from safehold.core.errors import UsageError
from safehold.storage.volumes.burning.burner import PIECE, InDrive, Job, Progress, file_of
from safehold.storage.volumes.media.medium import SECTOR
from safehold.storage.volumes.media.raw import RawMedium

_LOOKED_AT = 64 << 10
"""Bytes at the start that must be empty on a blank medium."""


class RawDrive:
    """The device, whose medium is written in place."""

    def __init__(self, device: str) -> None:
        self.device = device

    def look(self) -> InDrive:
        if self.readable().is_dir():
            raise UsageError(f"{self.device} is no drive.", "Name one, such as /dev/fd0, or a file that stands for a floppy.")
        medium = RawMedium(self.readable())
        try:
            buffer = bytearray(min(_LOOKED_AT, medium.used))
            medium.forget()
            medium.read(0, memoryview(buffer))
            return InDrive("raw", not any(buffer), True, True, 0, medium.used)
        finally:
            medium.close()

    def burn(self, job: Job, progress: Progress) -> None:
        if job.simulate:
            return
        medium = RawMedium(self.readable(), write=True)
        try:
            with job.image.open("rb") as image:
                image.seek(job.first * SECTOR)
                for done in range(0, job.bytes, PIECE):
                    piece = image.read(min(PIECE, job.bytes - done))
                    if piece:
                        medium.write(job.first * SECTOR + done, piece)
                    progress(min(job.bytes, done + PIECE))
            medium.flush()
        finally:
            medium.close()

    def reload(self) -> None:
        """Nothing but a person moves a floppy; the system's memory of it is dropped before it is read."""

    def readable(self) -> Path:
        return file_of(self.device)
