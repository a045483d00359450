"""From what a user writes for a repository's place to a store."""

from __future__ import annotations

import re
from pathlib import Path

from safehold.core.errors import UsageError
from safehold.storage.local import LocalStore
from safehold.storage.store import Store

_SCHEME = re.compile(r"([a-z][a-z0-9+.-]+):(.*)", re.DOTALL | re.IGNORECASE)
_KNOWN = {
    "s3": "S3",
    "sftp": "SFTP",
    "ssh": "SFTP",
    "http": "online servers",
    "https": "online servers",
    "volumes": "volume sets",
}


def open_store(location: str, create: bool = False) -> Store:
    """The store at ``location``: a path (``~`` is the home folder; a name with a colon may be written ``./a:b``).

    Raises ``UsageError`` for a place of a kind that is not known, ``StoreUnreachable`` for a folder that is not there.
    """
    if not location:
        raise UsageError("The place of a repository is empty.", "Give a folder, such as /mnt/backup/safehold.")
    match = _SCHEME.fullmatch(location)
    if match and match[1].lower() in _KNOWN:
        raise UsageError(
            f"This version of Safehold can't yet reach {_KNOWN[match[1].lower()]} ({match[1]}:...).",
            "Use a folder on a disk or drive.",
        )
    if match and match[2].startswith("//"):
        raise UsageError(f"{match[1]}: is no kind of place that Safehold knows.", "Use a folder, such as /mnt/backup/safehold.")
    return LocalStore(Path(location).expanduser(), create)
