"""Sets of discs on image files, small enough for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safehold.storage.volumes.catalogue import Catalogue, VolumeSet
from safehold.storage.volumes.discs.opening import Reach, open_discs
from safehold.storage.volumes.discs.store import DiscStore

SET_ID = "00112233445566778899aabbccddeeff"


def make_set(root: Path, capacity: int = 6 << 20, inner: str = "100+15", parity: str = "4+2", **values: Any) -> Catalogue:
    """A new set ``home`` whose catalogue and images lie below ``root``."""
    images = root / "images"
    images.mkdir(parents=True)
    catalogue = Catalogue(root / "state" / "home", create=True)
    catalogue.put_set(
        VolumeSet(
            id=SET_ID,
            name="home",
            kind="discs",
            media=values.pop("media", "cd"),
            capacity=capacity,
            inner=inner,
            parity=parity,
            settings={"images": str(images), **values},
        )
    )
    return catalogue


def open_set(root: Path, reach: Reach | None = None, **values: Any) -> DiscStore:
    """The set's store, from what lies on the disk."""
    return open_discs(Catalogue(root / "state" / "home"), reach=reach, **values)


def images(root: Path) -> list[Path]:
    """The image files, by their numbers."""
    return sorted((root / "images").iterdir())
