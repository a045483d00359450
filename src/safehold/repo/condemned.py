"""Condemnations: what is to go, what is in the trash, what went.  ``docs/format/condemned.md``.

Only an owner's count: a stolen writer can neither hide a snapshot nor have a pack deleted by anybody's prune.
"""

from __future__ import annotations

import msgspec

from safehold.core.errors import DamageError, FormatError, ObjectMissing
from safehold.core.events import Reporter, Warn
from safehold.repo import envelopes
from safehold.repo.seals import Seals
from safehold.storage.store import ObjectInfo, Store

PREFIX = "condemned/"
TRASH_NS = 14 * 86400 * 10**9
"""How long a forgotten snapshot can be taken back."""


class Condemned(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One condemnation.  The lists are of different acts; mostly one of them is filled."""

    time_ns: int
    trash: list[str] = []
    """Snapshots forgotten at ``time_ns``: hidden, and kept until the trash period is over."""
    packs: list[bytes] = []
    """Packs that a prune means to delete, or to pack again: nobody builds on them any more."""
    snapshots: list[str] = []
    """Snapshots, in the trash, that go with them."""
    act: str = ""
    """The key of the condemnation that this one completes: a prune looked, after it was stored, who was running."""
    waits: list[str] = []
    """The ids of those sessions; they alone may not know of ``act``, and none of it goes before the last has ended."""
    removed: list[str] = []
    """Snapshots that an owner's prune did remove, so that a store that drops others is found out."""
    distrust: list[str] = []
    """Snapshots that a repair found hurt: what a machine remembers by one of them may be stored no more."""


class Stored(msgspec.Struct, frozen=True):
    """A condemnation with its place in the store."""

    key: str
    condemned: Condemned
    modified_ns: int


def write(seals: Seals, store: Store, condemned: Condemned) -> str:
    """Store a condemnation; its key."""
    data = envelopes.wrap(seals, "condemned", msgspec.msgpack.encode(condemned))
    key = PREFIX + envelopes.name_of(data)
    store.put(key, data)
    return key


def load_all(seals: Seals, store: Store, report: Reporter) -> list[Stored]:
    """Every condemnation by an owner; others are reported and passed over.

    One that was exchanged for another while this looks is not missed: the new one is stored before the old one goes.  So
    it is in the second of two listings, if not in the first; and when a listed one is gone, everything is listed again.
    """
    while True:
        lines = {info.key: info for _ in range(2) for info in store.list(PREFIX)}
        try:
            found = [_load(seals, store, info, report) for _, info in sorted(lines.items())]
        except ObjectMissing:
            continue
        return [stored for stored in found if stored is not None]


def _load(seals: Seals, store: Store, info: ObjectInfo, report: Reporter) -> Stored | None:
    try:
        return Stored(info.key, parse(seals, info.key, store.get(info.key)), info.modified_ns)
    except DamageError as error:
        report(Warn(code="condemnation-ignored", message=str(error), path=info.key, hint="Run `safehold check`."))
        return None


def packs(stored: list[Stored]) -> frozenset[bytes]:
    """Every pack that is to go."""
    return frozenset(pack for item in stored for pack in item.condemned.packs)


def removed(stored: list[Stored]) -> frozenset[str]:
    """Every snapshot that an owner's prune removed, or is about to."""
    return frozenset(name for item in stored for name in item.condemned.removed)


def trash(stored: list[Stored]) -> dict[str, Stored]:
    """Snapshots in the trash -> their mark, the newest if there are several."""
    marks = sorted((item for item in stored if item.condemned.trash), key=forgotten_ns)
    return {name: item for item in marks for name in item.condemned.trash}


def forgotten_ns(mark: Stored) -> int:
    """When the trash period of a mark began: by the clock that wrote it, or the store's, whichever is later."""
    return max(mark.condemned.time_ns, mark.modified_ns)


def distrusted(stored: list[Stored]) -> frozenset[str]:
    """Snapshots that no backup may take for a proof that anything is stored."""
    return frozenset(name for item in stored for name in item.condemned.distrust)


def parse(seals: Seals, key: str, data: bytes) -> Condemned:
    """A condemnation from its bytes.  Raises ``DamageError``, also when no owner signed it."""
    opened = envelopes.unwrap(seals, "condemned", key.removeprefix(PREFIX), data)
    device = seals.keyring.devices[opened.header.signer]
    if device.role != "owner":
        raise DamageError(f"A condemnation is signed by {device.label!r}, which is no owner's key; it is not obeyed.")
    try:
        return msgspec.msgpack.decode(opened.body, type=Condemned)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"The condemnation {key} cannot be read: {error}.") from error
