"""What unchanged files are recognised by where this machine remembers nothing: the same paths in an older snapshot."""

from __future__ import annotations

from safehold.core.entries import DIRECTORY, Entry, Node
from safehold.core.errors import DamageError, PathMissing, SnapshotMissing
from safehold.ops.backup import roots
from safehold.repo import trees
from safehold.repo.repository import Repository
from safehold.repo.snapshots import Stored


class Parent:
    """An older snapshot, read from the repository."""

    def __init__(self, repository: Repository, stored: Stored) -> None:
        self.id = stored.id
        """Of the snapshot."""
        self.time_ns = stored.snapshot.time_ns
        self.totals = stored.snapshot.totals
        self._reader = repository.reader
        self._root = stored.snapshot.tree

    def tree(self, path: bytes) -> bytes | None:
        """The tree of the folder with that absolute path; None if it is not in the snapshot."""
        names = roots.components(path)
        if not names:
            return self._root
        entry = self.entry(path)
        return entry.content if entry is not None and entry.kind == DIRECTORY else None

    def entry(self, path: bytes) -> Entry | None:
        """The entry with that absolute path; None if it is not in the snapshot."""
        try:
            return trees.find(self._reader, self._root, b"/".join(roots.components(path)))
        except (PathMissing, DamageError):
            return None

    def node(self, tree: bytes) -> Node | None:
        """A folder of it; None if it is damaged."""
        try:
            return trees.read_node(self._reader, tree)
        except DamageError:
            return None


def parent(repository: Repository, wanted: str, host: str, paths: list[bytes]) -> Parent | None:
    """The snapshot ``wanted`` (an id), else the newest of the same host, paths and key, a complete one if there is one.

    None for a key that cannot read.  That of another key is not taken unasked: a hijacked machine could make one in which
    rubbish passes for this machine's unchanged files.  Raises ``SnapshotMissing``.
    """
    if not repository.seals.can_read:
        return None
    if wanted:
        found = repository.load_snapshots([name for name in repository.snapshot_names() if name == wanted])
        if not found:
            raise SnapshotMissing(f"There is no snapshot {wanted} to compare with.", "`safehold snapshots` lists them.")
        return Parent(repository, found[0])
    own = repository.keyring.slot_id
    fitting = [
        s
        for s in repository.visible_snapshots()
        if s.signer == own and s.snapshot.host == host and s.snapshot.source.paths == paths
    ]
    return _best(repository, fitting)


def of_lineage(repository: Repository, host: str, engine: str, lineage: str) -> Parent | None:
    """The newest snapshot of a database of that lineage, host and key; None for a key that cannot read."""
    if not repository.seals.can_read:
        return None
    own = repository.keyring.slot_id
    return _best(
        repository,
        [
            s
            for s in repository.visible_snapshots()
            if s.signer == own
            and s.snapshot.host == host
            and (d := s.snapshot.source.database) is not None
            and (d.engine, d.lineage) == (engine, lineage)
        ],
    )


def _best(repository: Repository, fitting: list[Stored]) -> Parent | None:
    """The newest, a complete one if there is one."""
    best = [s for s in fitting if not s.snapshot.incomplete] or fitting
    return Parent(repository, best[-1]) if best else None
