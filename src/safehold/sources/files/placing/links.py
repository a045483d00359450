"""Hard links: the first name of a file is placed, the others are linked to it, also from other threads."""

from __future__ import annotations

import sys
import threading

assert sys.platform != "win32"

from safehold.core.entries import Entry
from safehold.sources.files.placing.folders import Folder


class Group:
    """The names of one file.  ``lock`` is held while one of them is being placed."""

    __slots__ = ("folder", "identity", "lock", "name")

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.folder: Folder | None = None
        """Where the first name lies; None as long as it is not placed."""
        self.name = b""
        self.identity: tuple[int, int] | None = None


class Groups:
    """All groups met so far, by (device, inode) at capture."""

    def __init__(self) -> None:
        self._groups: dict[tuple[int, int], Group] = {}
        self._lock = threading.Lock()

    def of(self, entry: Entry) -> Group | None:
        """The group of an entry; None if it has one name only."""
        if entry.more is None or entry.more.link is None:
            return None
        with self._lock:
            return self._groups.setdefault(entry.more.link, Group())
