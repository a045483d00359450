"""What unchanged files are recognised by where this machine remembers nothing: the same paths in an older snapshot."""

from __future__ import annotations

from safehold.core.entries import DIRECTORY, Node
from safehold.core.errors import DamageError, PathMissing
from safehold.ops.backup import roots
from safehold.repo import trees
from safehold.repo.repository import Repository
from safehold.repo.snapshots import Stored


class Parent:
    """An older snapshot, read from the repository."""

    def __init__(self, repository: Repository, stored: Stored) -> None:
        self.id = stored.id
        self.time_ns = stored.snapshot.time_ns
        self.totals = stored.snapshot.totals
        self._reader = repository.reader
        self._root = stored.snapshot.tree

    def tree(self, path: bytes) -> bytes | None:
        """The tree of the folder with that absolute path; None if it is not in the snapshot."""
        try:
            entry = trees.find(self._reader, self._root, b"/".join(roots.components(path)))
        except (PathMissing, DamageError):
            return None
        if entry is None:
            return self._root
        return entry.content if entry.kind == DIRECTORY else None

    def node(self, tree: bytes) -> Node | None:
        """A folder of it; None if it is damaged."""
        try:
            return trees.read_node(self._reader, tree)
        except DamageError:
            return None


def parent(repository: Repository, wanted: str, host: str, paths: list[bytes]) -> Parent | None:
    """The snapshot ``wanted`` (an id), else the newest one of the same host and paths; None for a key that cannot read."""
    if not repository.seals.can_read:
        return None
    if wanted:
        return next((Parent(repository, stored) for stored in repository.load_snapshots([wanted])), None)
    fitting = [s for s in repository.visible_snapshots() if s.snapshot.host == host and s.snapshot.source.paths == paths]
    return Parent(repository, fitting[-1]) if fitting else None
