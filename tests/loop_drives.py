"""Drives that are plugged in and out: file systems in images, mounted by loop devices."""

from __future__ import annotations

import subprocess
from pathlib import Path


class LoopDrives:
    """Drives by name; each is mounted at ``media/NAME``."""

    def __init__(self, folder: Path) -> None:
        self.media = folder / "media"
        self._images = folder / "images"
        self._images.mkdir(parents=True)
        self.mounted: set[str] = set()

    def new(self, name: str, size: str = "24M") -> Path:
        """Make a drive and plug it in; where it is mounted."""
        image = self._images / name
        subprocess.run(["truncate", "-s", size, image], check=True)
        subprocess.run(["mkfs.ext4", "-q", "-m", "0", "-O", "^has_journal", image], check=True)
        return self.plug(name)

    def clone(self, name: str, other: str) -> None:
        """Copy a drive bit by bit."""
        subprocess.run(["cp", "--sparse=always", self._images / name, self._images / other], check=True)

    def plug(self, name: str) -> Path:
        """Mount it."""
        place = self.media / name
        place.mkdir(parents=True, exist_ok=True)
        subprocess.run(["mount", "-o", "loop", self._images / name, place], check=True)
        self.mounted.add(name)
        return place

    def unplug(self, name: str) -> None:
        """Take it away, whoever uses it; the empty mount point stays."""
        subprocess.run(["umount", "-l", self.media / name], check=True)
        self.mounted.discard(name)

    def ejected(self, name: str) -> None:
        """The program has unmounted it."""
        self.mounted.discard(name)

    def close(self) -> None:
        for name in list(self.mounted):
            self.unplug(name)
