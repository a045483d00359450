"""Real file systems in small images, mounted for one test session."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from disks import memory_disk, mounted_image

_SIZES = {"ext4": "64M", "xfs": "320M", "btrfs": "128M"}


@pytest.fixture(scope="session", params=sorted(_SIZES))
def disk(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A freshly made file system of each kind."""
    kind = request.param
    with mounted_image(tmp_path_factory.mktemp(kind), kind, _SIZES[kind]) as mount:
        yield mount


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with room for 1 MiB."""
    with memory_disk(tmp_path / "small", "1m") as mount:
        yield mount
