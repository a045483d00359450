"""Where the servers of tests live, and as whom: they refuse to run as root."""

from __future__ import annotations

import os
import pwd
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def as_user(user: str) -> list[str]:
    """What to put before a command so that it runs as that user."""
    if os.geteuid() != 0:
        return []
    record = pwd.getpwnam(user)
    return ["setpriv", f"--reuid={record.pw_uid}", f"--regid={record.pw_gid}", "--clear-groups"]


_MEMORY = Path("/dev/shm")
_ROOM = 4 << 30


def place() -> str:
    """Where servers live: in memory, where there is enough of it that programs may run from.

    They sync much, copies of them as well, and no test of theirs asks whether a disk keeps what was synced.
    """
    try:
        found = os.statvfs(_MEMORY)
    except OSError:
        return "/tmp"
    return str(_MEMORY) if found.f_bavail * found.f_frsize >= _ROOM and not found.f_flag & os.ST_NOEXEC else "/tmp"


@contextmanager
def folder_of(user: str, prefix: str) -> Iterator[Path]:
    """A short path (sockets allow about 100 bytes) that the servers' user owns."""
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=place()))
    if os.geteuid() == 0:
        record = pwd.getpwnam(user)
        os.chown(folder, record.pw_uid, record.pw_gid)
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
