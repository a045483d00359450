"""Forgetting snapshots: into the trash, and back.  ``docs/prune.md``, "The trash".

Only an owner may.  Nothing is deleted here: a mark hides the snapshots, and a prune removes them when their time is over.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import tzinfo

import msgspec

from safehold.core.errors import DamageError, NotPermitted, ObjectMissing, SafeholdError, SnapshotMissing
from safehold.repo import condemned, retention, sessions, snapshots
from safehold.repo.condemned import TRASH_NS, Condemned
from safehold.repo.repository import Repository
from safehold.repo.retention import Decision, Policy


class Trashed(msgspec.Struct, frozen=True):
    """A snapshot in the trash."""

    id: str
    forgotten_ns: int
    removed_ns: int
    """From when on a prune removes it, unless it is told of another trash period."""
    snapshot: snapshots.Snapshot | None
    """None where it cannot be read."""


def forget(repository: Repository, ids: Collection[str]) -> list[str]:
    """Put snapshots (whole ids) into the trash; those that were not there yet.  Raises ``SnapshotMissing``, ``NotPermitted``."""
    repository.require_owner("forget snapshots")
    hidden = condemned.trash(repository.condemned())
    stored = set(snapshots.names(repository.store))
    for name in ids:
        if name not in stored:
            raise SnapshotMissing(f"There is no snapshot {name}; nothing was forgotten.", "`safehold snapshots` lists them.")
    new = sorted(set(ids) - hidden.keys())
    if new:
        condemned.write(repository.seals, repository.store, Condemned(time_ns=repository.clock.now_ns(), trash=new))
    return new


UNPROVEN = "no verified copy"
"""Why a snapshot is kept that is on no volume that was read back."""


def decide(repository: Repository, policy: Policy, zone: tzinfo, unproven: Collection[str] = ()) -> list[Decision]:
    """What a policy says of every snapshot that is not in the trash.  Raises ``DamageError`` if one cannot be read.

    ``unproven``: ids of snapshots without a verified copy.  They are kept, and take the place of no other in what is kept.
    """
    names = repository.snapshot_names()
    loaded = repository.load_snapshots(names)
    if len(loaded) != len(names):
        raise DamageError("Not all snapshots can be read, so none is forgotten by a policy.", "Run `safehold check`.")
    proven = [each for each in loaded if each.id not in unproven]
    kept = [Decision(each, (UNPROVEN,)) for each in loaded if each.id in unproven]
    return retention.apply(policy, proven, repository.clock.now_ns(), zone, _received(repository, loaded)) + kept


def _received(repository: Repository, loaded: Collection[snapshots.Stored]) -> dict[str, int]:
    """When the store received what writers made, if it stamps that itself.

    A writer may be hijacked, and date its snapshots so that they take the places of its earlier ones.  What owners and readers
    made, and copies of older snapshots, keep the times that they have.
    """
    if not repository.store.capabilities.stamps:
        return {}
    devices = repository.keyring.devices
    doubted = {s.id for s in loaded if s.signer in devices and devices[s.signer].role == "writer"}
    listed = repository.store.list(snapshots.PREFIX)
    return {name: info.modified_ns for info in listed if (name := info.key.removeprefix(snapshots.PREFIX)) in doubted}


def forget_by_policy(repository: Repository, policy: Policy, zone: tzinfo) -> list[Decision]:
    """Forget what a policy does not keep; all decisions."""
    repository.require_owner("forget snapshots")
    decisions = decide(repository, policy, zone)
    forget(repository, [decision.snapshot.id for decision in decisions if not decision.keep])
    return decisions


def list_trash(repository: Repository, trash_ns: int = TRASH_NS) -> list[Trashed]:
    """Everything in the trash that is still stored, the first to go first."""
    found = []
    stored = set(snapshots.names(repository.store))
    for name, mark in condemned.trash(repository.condemned()).items():
        if name in stored:
            since = condemned.forgotten_ns(mark)
            found.append(Trashed(name, since, since + trash_ns, _load(repository, name)))
    return sorted(found, key=lambda trashed: (trashed.forgotten_ns, trashed.id))


def undelete(repository: Repository, id: str) -> None:
    """Take a snapshot (whole id) out of the trash.  Raises ``SnapshotMissing``, ``NotPermitted``, or when a prune is running.

    This works as long as the snapshot is stored: its data stay until after it.
    """
    repository.require_owner("take snapshots back")
    with repository.session("undelete") as session:
        # A prune that begins now sees this session, and deletes nothing.
        others = sessions.running(session, repository.seals, repository.store)
        if not all(other.overlaps for other in others):
            raise SafeholdError(
                "A prune, or something else that forbids it, is at work in this repository.", "Try again when it has ended."
            )
        marks = [item for item in repository.condemned() if id in item.condemned.trash]
        if not marks or id not in snapshots.names(repository.store):
            raise SnapshotMissing(f"There is no snapshot {id} in the trash.", "`safehold snapshots --trash` lists them.")
        for mark in marks:
            _take_out(repository, mark, id)


def _take_out(repository: Repository, mark: condemned.Stored, id: str) -> None:
    others = [name for name in mark.condemned.trash if name != id]
    if others:
        rest = msgspec.structs.replace(mark.condemned, trash=others)
        condemned.write(repository.seals, repository.store, rest)
    repository.store.delete(mark.key)


def _load(repository: Repository, name: str) -> snapshots.Snapshot | None:
    try:
        return snapshots.load(repository.seals, repository.store, name).snapshot
    except (DamageError, ObjectMissing, NotPermitted):
        return None
