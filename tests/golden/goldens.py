"""The golden repositories, unpacked for a test."""

from __future__ import annotations

import json
import lzma
import tarfile
from functools import cache
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "repositories"
SUMS = Path(__file__).parent / "SHA256SUMS"
NAMES = sorted(path.name.removesuffix(".tar.xz") for path in FOLDER.glob("*.tar.xz"))


@cache
def manifest(name: str) -> dict[str, Any]:
    """``credentials``, ``trash`` and ``snapshots`` (id -> path -> record)."""
    found: dict[str, Any] = json.loads(lzma.decompress((FOLDER / f"{name}.json.xz").read_bytes()))
    return found


def unpack(name: str, place: Path) -> Path:
    """The repository's folder."""
    with tarfile.open(FOLDER / f"{name}.tar.xz") as tar:
        tar.extractall(place, filter="data")
    return place / "repository"


SNAPSHOTS = [(name, snapshot) for name in NAMES for snapshot in manifest(name)["snapshots"]]
IDS = [f"{name}-{snapshot[:8]}" for name, snapshot in SNAPSHOTS]
