"""Makes the builders beside this file importable from every test."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def deep_folder(tmp_path: Path) -> Iterator[Path]:
    """A place for trees so deep that pytest's own tidying, which recurses, would fail on them."""
    folder = tmp_path / "deep"
    yield folder
    subprocess.run(["rm", "-rf", folder], check=True)
