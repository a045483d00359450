"""Real file systems in small images, and a household to back them up with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from disks import memory_disk, mounted_image
from homes import Home

_SIZES = {"ext4": "520M", "xfs": "600M", "btrfs": "800M"}
_OPTIONS = {"ext4": ["-b", "4096", "-N", "100000"]}
"""By default so small a disk would have blocks, and so lists of attributes, of 1024 bytes, and too few inodes."""


@pytest.fixture(scope="session", params=sorted(_SIZES))
def disk(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A freshly made file system of each kind."""
    kind = request.param
    with mounted_image(tmp_path_factory.mktemp(kind), kind, _SIZES[kind], *_OPTIONS.get(kind, [])) as mount:
        yield mount


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Path]:
    """A folder with a file system of its own, in ``source``."""
    with memory_disk(tmp_path / "source" / "mounted", "4m") as mount:
        yield mount


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A repository in memory."""
    return Home(tmp_path)
