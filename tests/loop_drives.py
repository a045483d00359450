"""Drives that are plugged in and out: file systems in images, mounted by loop devices."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

MADE = {
    "ext4": ("mkfs.ext4", "-q", "-m", "0", "-O", "^has_journal"),
    "ntfs": ("mkntfs", "-q", "-Q", "-F"),
    "exfat": ("mkfs.exfat",),
}
"""Kind of a file system -> the command that makes it."""
BY_PROGRAM = {"ntfs": "ntfs-3g", "exfat": "exfat-fuse"}
"""Those that a program mounts, by FUSE; ``mount -t`` knows it by this name."""


class LoopDrives:
    """Drives by name; each is mounted at ``media/NAME``."""

    def __init__(self, folder: Path) -> None:
        self.media = folder / "media"
        self._images = folder / "images"
        self._images.mkdir(parents=True)
        self.mounted: set[str] = set()
        self._kinds: dict[str, str] = {}

    def image(self, name: str) -> Path:
        """The drive's bytes."""
        return self._images / name

    def new(self, name: str, size: str = "24M", kind: str = "ext4") -> Path:
        """Make a drive and plug it in; where it is mounted."""
        image = self._images / name
        subprocess.run(["truncate", "-s", size, image], check=True)
        subprocess.run([*MADE[kind], image], check=True, capture_output=True)
        self._kinds[name] = kind
        return self.plug(name)

    def clone(self, name: str, other: str) -> None:
        """Copy a drive bit by bit."""
        subprocess.run(["cp", "--sparse=always", self._images / name, self._images / other], check=True)
        self._kinds[other] = self._kinds[name]

    def plug(self, name: str, options: str = "loop") -> Path:
        """Mount it."""
        place = self.media / name
        place.mkdir(parents=True, exist_ok=True)
        kind = self._kinds[name]
        subprocess.run(["mount", "-t", BY_PROGRAM.get(kind, kind), "-o", options, self._images / name, place], check=True)
        self.mounted.add(name)
        return place

    def unplug(self, name: str) -> None:
        """Take it away, whoever uses it; the empty mount point stays."""
        subprocess.run(["umount", "-l", self.media / name], check=True)
        self.mounted.discard(name)

    def kill(self, name: str) -> None:
        """End the program that mounts it, as a crash would; the dead mount stays."""
        place = os.fsencode(self.media / name)
        program = BY_PROGRAM[self._kinds[name]].encode()
        for process in Path("/proc").glob("[0-9]*"):
            try:
                words = (process / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if place in words and program in words[0]:
                os.kill(int(process.name), signal.SIGKILL)

    def ejected(self, name: str) -> None:
        """The program has unmounted it."""
        self.mounted.discard(name)

    def close(self) -> None:
        for name in list(self.mounted):
            self.unplug(name)
