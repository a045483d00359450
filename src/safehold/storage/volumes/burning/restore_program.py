"""RESTORE.PYZ: a program of two files of plain Python that restores from volumes without Safehold."""

from __future__ import annotations

import functools
import io
import zipfile
from pathlib import Path

NAME = "RESTORE.PYZ"
LIMIT = 64 << 10
"""Bytes that it takes at most."""
_PACKED = Path(__file__).parent
"""Where an installed Safehold has the files; in a source tree they are in ``tools/``."""
_SOURCES = Path(__file__).parents[5] / "tools"
_FILES = {"__main__.py": "volume_reader.py", "emergency_reader.py": "emergency_reader.py"}
_DATE = (1980, 1, 1, 0, 0, 0)
"""The same bytes from the same files, whenever it is made."""


@functools.cache
def restore_program() -> bytes:
    """The zipapp of discs, which any ``python3`` runs."""
    return _zipapp(_FILES)


@functools.cache
def drive_program() -> bytes:
    """The same for a drive, whose folder is a repository as it is."""
    return _zipapp({"__main__.py": "emergency_reader.py"})


def _zipapp(files: dict[str, str]) -> bytes:
    packed = io.BytesIO()
    packed.write(b"#!/usr/bin/env python3\n")
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, source in files.items():
            archive.writestr(zipfile.ZipInfo(name, _DATE), _source(source), zipfile.ZIP_DEFLATED)
    return packed.getvalue()


def _source(name: str) -> bytes:
    packed = _PACKED / name
    return (packed if packed.is_file() else _SOURCES / name).read_bytes()
