"""Real file systems in small images."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def mounted_image(folder: Path, kind: str, size: str, *options: str) -> Iterator[Path]:
    """Where a freshly made file system of a kind is mounted; ``size`` as of truncate(1)."""
    image = folder / "image"
    subprocess.run(["truncate", "-s", size, image], check=True)
    subprocess.run([f"mkfs.{kind}", "-q", *options, image], check=True, capture_output=True)
    with _mounted(folder / "mount", "-o", "loop", str(image)) as mount:
        yield mount


@contextmanager
def memory_disk(mount: Path, size: str) -> Iterator[Path]:
    """A file system in memory, mounted there."""
    with _mounted(mount, "-t", "tmpfs", "-o", f"size={size}", "tmpfs"):
        yield mount


@contextmanager
def _mounted(mount: Path, *what: str) -> Iterator[Path]:
    mount.mkdir(parents=True)
    subprocess.run(["mount", *what, mount], check=True)
    try:
        yield mount
    finally:
        subprocess.run(["umount", mount], check=True)
