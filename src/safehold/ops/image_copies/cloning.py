"""Clones of image copies."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from safehold.core.errors import TargetError
from safehold.ops.image_copies import engines
from safehold.ops.image_copies.images import DATA, Image


def cloned(image: Image, folder: Path) -> Image:
    """A copy of an image copy's files in a folder that is empty or absent; by reflink where the file system has it."""
    if folder.exists() and any(folder.iterdir()):
        raise TargetError(f"{folder} is not empty.", "Name a folder that is empty, or is not there yet.")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    parts = [path for path in image.folder.iterdir() if path.name in (DATA, "wal", "tablespaces")]
    done = subprocess.run(
        ["cp", "-a", "--reflink=auto", "--", *map(str, parts), str(folder)], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise TargetError(f"The image copy could not be cloned: {done.stderr.strip().splitlines()[-1]}.", "Name another folder.")
    st = image.data.stat()
    shutil.chown(folder, st.st_uid, st.st_gid)
    made = Image(folder.absolute())
    engines.module(image.load().engine).relocate(image, made)
    return made
