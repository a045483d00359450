"""Real file systems in small images, and a household to back them up with."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from homes import Home

_SIZES = {"ext4": "520M", "xfs": "600M", "btrfs": "800M"}
_OPTIONS = {"ext4": ["-b", "4096", "-N", "100000"]}
"""By default so small a disk would have blocks, and so lists of attributes, of 1024 bytes, and too few inodes."""


@pytest.fixture(scope="session", params=sorted(_SIZES))
def disk(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A freshly made file system of each kind."""
    kind = request.param
    folder = tmp_path_factory.mktemp(kind)
    image, mount = folder / "image", folder / "mount"
    mount.mkdir()
    subprocess.run(["truncate", "-s", _SIZES[kind], image], check=True)
    subprocess.run([f"mkfs.{kind}", "-q", *_OPTIONS.get(kind, []), image], check=True, capture_output=True)
    subprocess.run(["mount", "-o", "loop", image, mount], check=True)
    try:
        yield mount
    finally:
        subprocess.run(["umount", mount], check=True)


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Path]:
    """A folder with a file system of its own, in ``source``."""
    mount = tmp_path / "source" / "mounted"
    mount.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", mount], check=True)
    try:
        yield mount
    finally:
        subprocess.run(["umount", mount], check=True)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A repository in memory."""
    return Home(tmp_path)
