"""The checksums of InnoDB's pages, as its own program checks them."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

from safehold.core.errors import DamageError, ProgramMissing
from safehold.sources.mariadb import programs

PAGE = 16384
_EXTENT = 1 << 20
_SYSTEM_PAGE = 5
"""The page of the system tablespace that says where the doublewrite buffer is.  Source: MariaDB, ``trx0sys.h``."""
_FROM_END = 200
_MAGIC = 536853855


def check(path: Path, first: int = 0, last: int = -1) -> None:
    """Check a file's pages from ``first`` to ``last`` (-1: the end).  Raises ``DamageError``, ``ProgramMissing``."""
    program = shutil.which("innochecksum")
    if program is None:
        raise ProgramMissing(
            "There is no innochecksum on this machine.", "Install the package mariadb-server-core, or use --deep."
        )
    words = [program, f"--start-page={first}", *([f"--end-page={last}"] if last >= 0 else []), str(path)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = programs.last_words(done.stderr.splitlines())
        raise DamageError(f"{path} is damaged: {said.rstrip('.')}.", "Make it anew.")


def beside_doublewrite(path: Path, page: int) -> list[tuple[int, int]]:
    """The ranges of the system tablespace's pages, without the doublewrite buffer: what lies there may be torn.

    ``page``: bytes of a page.
    """
    with path.open("rb") as file:
        file.seek(_SYSTEM_PAGE * page + page - _FROM_END + 10)
        magic, one, other = struct.unpack(">III", file.read(12))
    if magic != _MAGIC:
        return [(0, -1)]
    extent, pages = max(64, _EXTENT // page), path.stat().st_size // page
    ranges, at = [], 0
    for block in sorted((one, other)):
        ranges.append((at, block - 1))
        at = block + extent
    ranges.append((at, pages - 1))
    return [(first, last) for first, last in ranges if first <= last]
