"""What a prune is told, means to do, and did."""

from __future__ import annotations

import msgspec

from safehold.repo.condemned import TRASH_NS


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """How to prune."""

    trash_ns: int = TRASH_NS
    """Snapshots that have been in the trash for so long go."""
    empty_trash: bool = False
    """All that are in the trash go."""
    max_unused: float = 0.05
    """So much of what is stored may be unused: packing it again would cost more than it gives (restic's --max-unused)."""
    budget: float = 0.5
    """Of all packs, no larger part may go without a snapshot that was removed to account for it ..."""
    confirm_large: bool = False
    """... unless the user says that this is meant; the same for a listing that lacks snapshots this machine has seen."""


class PackUse(msgspec.Struct, frozen=True):
    """A stored pack and how much of it is in use.  Sizes in bytes."""

    id: bytes
    size: int
    kind: int
    used: int
    """Bytes of segments in use; of a segment that is partly in use, that part."""
    unused: int
    live: bool
    """Whether anything in it is in use."""
    voucher: bytes = b""
    """The device whose word its index entries rest on; empty where that is a reader's or owner's."""


class PrunePlan(msgspec.Struct, frozen=True, kw_only=True):
    """What a prune would do now.  Sizes in bytes."""

    options: Options
    snapshots: list[str]
    """Snapshots that leave the trash for good."""
    delete: list[PackUse]
    """Packs in which nothing is in use."""
    repack: list[PackUse]
    """Packs whose used part is moved into new ones."""
    unindexed: list[PackUse]
    """Packs that no index lists: what interrupted backups and prunes left."""
    shards: list[str]
    """Index shards that are replaced."""
    packs: int
    bytes_before: int
    unused: int
    """In packs that stay or are repacked, before."""

    @property
    def going(self) -> list[PackUse]:
        """Every pack that will not be there afterwards."""
        return [*self.delete, *self.repack, *self.unindexed]

    @property
    def freed(self) -> int:
        """Bytes that are freed, as far as can be told before."""
        return sum(pack.size for pack in self.delete + self.unindexed) + sum(pack.unused for pack in self.repack)

    @property
    def bytes_after(self) -> int:
        return self.bytes_before - self.freed

    @property
    def empty(self) -> bool:
        """Whether there is nothing to do."""
        return not (self.snapshots or self.going or self.shards)


class PruneResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a prune did."""

    snapshots: list[str] = []
    """Removed for good."""
    deleted: int = 0
    """Packs."""
    repacked: int = 0
    rescued: int = 0
    """Packs that were condemned, and are in use again."""
    freed: int = 0
    """Bytes, net of what was written."""
    waiting: int = 0
    """Bytes that are freed by a later prune, when ``sessions`` have ended."""
    sessions: list[str] = []
    """Sessions that are running: operation and host."""

    @property
    def complete(self) -> bool:
        """Whether nothing is left for a later prune."""
        return not self.waiting
