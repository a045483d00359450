"""A disk that becomes full while a base is brought back."""

from __future__ import annotations

import errno
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safehold.core.errors import DatabaseFailed, TargetError

_FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}
TIGHT = 16 << 20
"""Bytes: where fewer are free, a program failed for want of room.  A server takes 12 MiB at once for temporary tables."""
_SAID = re.compile(r"no space left|errcode: 28\b|error number 28\b|cannot set log file \S+ size|disk is full", re.IGNORECASE)
"""How the engine's programs put it."""


@contextmanager
def watched(folder: Path) -> Iterator[None]:
    """Say that the disk of a folder is full, whoever found it so.  Raises ``TargetError``."""
    try:
        yield
    except (OSError, DatabaseFailed, TargetError) as error:
        if _is_full(folder, error):
            raise TargetError(
                f"The disk that holds {folder.parent} has too little room.", "Nothing was left there: make room."
            ) from error
        raise


def _is_full(folder: Path, error: Exception) -> bool:
    if isinstance(error, OSError):
        return error.errno in _FULL
    if _SAID.search(str(error)):
        return True
    try:
        return shutil.disk_usage(folder).free < TIGHT
    except OSError:
        return False
