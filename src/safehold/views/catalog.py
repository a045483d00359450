"""All snapshots of a repository as folders: by time, by id, by host, by tag.  New ones appear, forgotten ones go."""

from __future__ import annotations

import threading
from datetime import datetime
from typing import TypeAlias

from safehold.core.errors import SafeholdError
from safehold.core.events import Warn
from safehold.repo import snapshots
from safehold.repo.repository import Repository
from safehold.views.tree import Library, SnapshotView

FRESH_SECONDS = 5.0
"""A listing younger than this is shown again without asking the store."""
ID_LENGTH = 8
NAME_MOST = 255
"""Bytes that a name may have on Linux and macOS."""

Shelf: TypeAlias = "dict[bytes, Shelf | SnapshotView | bytes]"
"""A folder above the snapshots.  Bytes are a symlink's target."""


class Catalog:
    """The folders above the snapshots.  Safe to use from several threads."""

    def __init__(self, repository: Repository, fresh_seconds: float = FRESH_SECONDS) -> None:
        """Raises ``NotPermitted`` for a writer, and store errors."""
        self.library = Library(repository)
        self._repository = repository
        self._fresh_seconds = fresh_seconds
        self._lock = threading.Lock()
        self._views: dict[str, SnapshotView] = {}
        self._top: Shelf = {}
        self._loaded = 0.0
        self._load()

    def top(self) -> Shelf:
        """The uppermost folder, as it was when last looked at."""
        return self._top

    def fresh(self) -> Shelf:
        """The uppermost folder, loaded again if it is older than some seconds.  Without a store the old one goes on."""
        now = self._repository.clock.monotonic()
        if now - self._loaded >= self._fresh_seconds and self._lock.acquire(blocking=False):
            try:
                self._load()
            except SafeholdError as error:
                self._loaded = now
                self._repository.report(Warn(code="mount-refresh", message=f"The snapshots could not be listed again: {error}"))
            finally:
                self._lock.release()
        return self._top

    def newest(self) -> SnapshotView | None:
        """The newest snapshot."""
        return next(reversed(self._views.values()), None)

    def _load(self) -> None:
        """List the snapshots, and load those not seen before."""
        repository = self._repository
        names = set(repository.snapshot_names())
        stored = [view.stored for name, view in self._views.items() if name in names]
        stored += repository.load_snapshots(list(names - set(self._views)))
        stored.sort(key=lambda s: (s.snapshot.time_ns, s.id))
        self._views = {s.id: self._views.get(s.id) or SnapshotView(repository, s, self.library) for s in stored}
        self._top = arrange(list(self._views.values()))
        self._loaded = repository.clock.monotonic()

    def close(self) -> None:
        """Stop reading ahead."""
        self.library.close()


def arrange(views: list[SnapshotView]) -> Shelf:
    """The folders above these snapshots, which come oldest first."""
    by_time: Shelf = {}
    by_id: Shelf = {}
    hosts: dict[bytes, Shelf] = {}
    tags: dict[bytes, Shelf] = {}
    top: Shelf = {b"by-time": by_time, b"by-id": by_id, b"hosts": {**hosts}, b"tags": {**tags}}
    for view in views:
        short = _short_id(view, views)
        name = _time_name(view.stored) + b"_" + short
        by_id[short] = by_time[name] = view
        found = view.stored.snapshot
        for shelves, labels in ((hosts, [found.host]), (tags, found.tags)):
            for label in labels:
                shelf = shelves.setdefault(as_name(label), {})
                shelf[name] = b"../../by-time/" + name
                shelf[b"latest"] = name
        top[b"latest"] = b"by-time/" + name
    top[b"hosts"], top[b"tags"] = {**hosts}, {**tags}
    return top


def as_name(label: str) -> bytes:
    """A host or tag as a file name, whatever it holds: snapshots may come from a machine that means no good."""
    name = label.encode("utf-8", "surrogateescape").replace(b"/", b"_").replace(b"\0", b"_")[:NAME_MOST]
    return b"_" if name in (b"", b".", b"..") else name


def _short_id(view: SnapshotView, views: list[SnapshotView]) -> bytes:
    """Eight digits of the id, or all of them where two snapshots would be called the same."""
    short = view.stored.id[:ID_LENGTH]
    alone = sum(other.stored.id.startswith(short) for other in views) == 1
    return (short if alone else view.stored.id).encode()


def _time_name(stored: snapshots.Stored) -> bytes:
    """When a snapshot was made, in this machine's time zone, without what some systems forbid in names."""
    try:
        moment = datetime.fromtimestamp(stored.snapshot.time_ns // 1_000_000_000).astimezone()
    except (OverflowError, ValueError, OSError):
        return b"no-such-time"
    return moment.strftime("%Y-%m-%dT%H-%M-%S").encode()
