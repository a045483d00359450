"""What lies below ``keys/``: read, and sifted by the admin key's signature."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from safehold.core.errors import DamageError, FormatError, ObjectMissing
from safehold.core.events import Reporter, Warn
from safehold.repo.keys.format import (
    FOLDER,
    MAX_OBJECT_SIZE,
    EpochBody,
    KeyObject,
    RetiredBody,
    SlotBody,
    SlotClear,
    check_signature,
    decode,
    parse_object,
)
from safehold.storage.store import ObjectInfo, Store


@dataclass(slots=True)
class Survey:
    """Everything the repository's owners signed, by slot id and by epoch number."""

    slots: dict[bytes, SlotClear] = field(default_factory=dict)
    epochs: dict[int, EpochBody] = field(default_factory=dict)
    retired: dict[bytes, RetiredBody] = field(default_factory=dict)

    @property
    def retired_ids(self) -> set[bytes]:
        """Every retired slot, also where a newer epoch remembers a retirement that the store no longer shows."""
        return set(self.retired).union(*(epoch.retired for epoch in self.epochs.values()))

    @property
    def live(self) -> list[SlotClear]:
        """The slots in use, oldest first."""
        gone = self.retired_ids
        live = [slot for slot in self.slots.values() if slot.slot_id not in gone]
        return sorted(live, key=lambda slot: (slot.created_ns, slot.slot_id))

    def add(self, item: KeyObject) -> None:
        match item.body:
            case SlotBody(clear=encoded):
                clear = decode(encoded, SlotClear, item.key)
                self.slots[clear.slot_id] = clear
            case EpochBody() as epoch:
                self.epochs[epoch.number] = epoch
            case RetiredBody() as gone:
                self.retired[gone.slot_id] = gone


def read_objects(store: Store, repository_id: bytes, report: Reporter) -> list[KeyObject]:
    """Every well-formed object below ``keys/``; nobody vouched for them yet.  Others are reported and left out."""
    found = []
    for info in sorted(store.list(FOLDER), key=lambda info: info.key):
        try:
            found.append(_read(store, info, repository_id))
        except ObjectMissing:
            continue  # removed by another owner since the listing
        except FormatError as error:
            _ignore(report, info.key, error)
    return found


def _read(store: Store, info: ObjectInfo, repository_id: bytes) -> KeyObject:
    if info.size > MAX_OBJECT_SIZE:
        raise FormatError(f"{info.key} has {info.size} bytes, more than a key object can have.")
    return parse_object(info.key, store.get(info.key), repository_id)


def sift(objects: Iterable[KeyObject], repository_id: bytes, admin_public: bytes, report: Reporter) -> Survey:
    """Keep what the admin key signed, report and leave out the rest: a store can't slip in a slot of its own."""
    survey = Survey()
    for item in objects:
        try:
            check_signature(item, repository_id, admin_public)
            survey.add(item)
        except DamageError as error:
            _ignore(report, item.key, error)
    return survey


def _ignore(report: Reporter, key: str, error: DamageError) -> None:
    hint = "It is damaged, or somebody other than an owner put it there."
    report(Warn(code="key-object-ignored", message=f"{error}  It is ignored.", path=key, hint=hint))
