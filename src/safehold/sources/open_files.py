"""Who has a file open."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path


def users(path: Path) -> Iterator[int]:
    """The other processes that have a file open, as far as this system and this user can see.  Raises ``OSError``."""
    wanted = path.stat()
    for pid in os.listdir("/proc") if os.path.isdir("/proc/self/fd") else ():
        if pid.isdecimal() and int(pid) != os.getpid() and _has_open(pid, wanted):
            yield int(pid)


def _has_open(pid: str, wanted: os.stat_result) -> bool:
    try:
        for name in os.listdir(f"/proc/{pid}/fd"):
            with suppress(OSError):
                if os.path.samestat(os.stat(f"/proc/{pid}/fd/{name}"), wanted):
                    return True
    except OSError:
        pass
    return False
