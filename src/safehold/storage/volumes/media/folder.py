"""A volume as a folder of files: a small drive, or a disc that the system has mounted.

The files are ``DATA/D0000001.SHD`` and so on, all smaller than 4 GiB.  Which address a file begins at, its own frames say.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from pathlib import Path

from safehold.core.errors import StoreUnreachable
from safehold.storage import filesystem as fs
from safehold.storage.volumes import frames
from safehold.storage.volumes.media.image import ImageMedium

DATA_FOLDER = "DATA"
FILE_BYTES = 1 << 30
"""Bytes of a file that is written here."""
_PROBE = 4 << 20
"""Bytes of a file that are looked at, at once, for a frame that says where the file lies."""
_NAME = re.compile(r"D\d{7}\.SHD", re.IGNORECASE)


class FolderMedium:
    """The volume in the folder ``root``; ``write``: more may be added."""

    def __init__(self, root: Path, *, write: bool = False, create: bool = False) -> None:
        self.root = root
        self._write = write or create
        if create:
            fs.make_folders(root / DATA_FOLDER)
        folder = find_data(root)
        if folder is None:
            raise StoreUnreachable(f"There is no volume in {root}.", "Is the disc or drive mounted there?")
        self._folder = folder
        self._parts: dict[int, ImageMedium] = {}
        """Address at which a file begins -> the file."""
        for path in sorted(each for each in folder.iterdir() if _NAME.fullmatch(each.name)):
            part = ImageMedium(path, write=self._write)
            base = (int(path.name[1:8]) - 1) * FILE_BYTES if self._write else _begins_at(part)
            if base is not None:
                self._parts[base] = part

    @property
    def location(self) -> str:
        return str(self.root)

    @property
    def used(self) -> int:
        return max((base + part.used for base, part in self._parts.items()), default=0)

    def read(self, offset: int, buffer: memoryview) -> None:
        bases = sorted(self._parts)
        while buffer:
            number = bisect_right(bases, offset) - 1
            following = bases[number + 1] if number + 1 < len(bases) else offset + len(buffer)
            here = buffer[: following - offset]
            if number < 0:
                here[:] = bytes(len(here))
            else:
                self._parts[bases[number]].read(offset - bases[number], here)
            buffer, offset = buffer[len(here) :], offset + len(here)

    def write(self, offset: int, data: bytes | bytearray | memoryview) -> None:
        view = memoryview(data)
        while view:
            base = offset // FILE_BYTES * FILE_BYTES
            here = view[: base + FILE_BYTES - offset]
            self._part(base).write(offset - base, here)
            view, offset = view[len(here) :], offset + len(here)

    def flush(self) -> None:
        for part in self._parts.values():
            part.flush()

    def cut(self, size: int) -> None:
        for base, part in self._parts.items():
            part.cut(max(0, size - base))

    def close(self) -> None:
        for part in self._parts.values():
            part.close()

    def _part(self, base: int) -> ImageMedium:
        if base not in self._parts:
            path = self._folder / f"D{base // FILE_BYTES + 1:07}.SHD"
            self._parts[base] = ImageMedium(path, create=True, write=True)
        return self._parts[base]


def find_data(root: Path) -> Path | None:
    """The folder of a volume's data files, whichever way the system spells it."""
    for name in (DATA_FOLDER, DATA_FOLDER.lower()):
        if (root / name).is_dir():
            return root / name
    return None


def _begins_at(part: ImageMedium) -> int | None:
    """The address of a file's first byte, by the first whole frame in it; None: there is none."""
    for offset in range(0, part.used, _PROBE):
        buffer = bytearray(min(_PROBE, part.used - offset))
        part.read(offset, memoryview(buffer))
        for size in frames.SIZES:
            for at, frame in frames.whole(buffer, size):
                return frame.slot * size - offset - at
    return None
