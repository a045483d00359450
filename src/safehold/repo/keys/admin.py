"""What owners do: make a repository's keys, add and remove slots, rotate the read key."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import NamedTuple

from safehold.codec.keyfile import KeyFile
from safehold.codec.sealing import KEY_SIZE, ZERO_NONCE, aead_seal, exchange_public, signing_public, wrap_key
from safehold.core.clock import Clock
from safehold.core.errors import DamageError, NotPermitted, ObjectExists, UsageError
from safehold.core.events import Reporter, silent
from safehold.repo.keys.epochs import previous_context, slot_context
from safehold.repo.keys.format import (
    SLOT_ID_SIZE,
    EpochBody,
    RetiredBody,
    Role,
    SlotBody,
    SlotClear,
    SlotSecrets,
    WrappedFor,
    encode,
    epoch_key,
    make_object,
    retired_key,
    slot_domain,
    slot_key,
)
from safehold.repo.keys.keyring import NOTHING_SEEN, Device, Keyring, assemble
from safehold.repo.keys.opening import refresh
from safehold.repo.keys.survey import Survey, read_objects, sift
from safehold.repo.keys.unlock import Credential, Unlocker, new_method
from safehold.storage.store import Store

Random = Callable[[int], bytes]
MAX_LABEL = 200


class _Shared(NamedTuple):
    """What an owner knows and passes on, by role."""

    repository_id: bytes
    id_key: bytes
    index_key: bytes
    admin_private: bytes
    epoch: int
    epoch_public: bytes
    epoch_privates: dict[int, bytes]


class _NewSlot(NamedTuple):
    clear: SlotClear
    secrets: SlotSecrets
    data: bytes


def create_repository_keys(
    store: Store,
    repository_id: bytes,
    credential: Credential,
    *,
    clock: Clock,
    label: str = "owner",
    random: Random = os.urandom,
) -> Keyring:
    """Make all secrets of a new repository and store its first slot, an owner's.

    It is one object, so there is no half-made state.
    """
    epoch_private = random(KEY_SIZE)
    shared = _Shared(
        repository_id,
        id_key=random(KEY_SIZE),
        index_key=random(KEY_SIZE),
        admin_private=random(KEY_SIZE),
        epoch=1,
        epoch_public=exchange_public(epoch_private),
        epoch_privates={1: epoch_private},
    )
    slot = _new_slot(shared, "owner", credential, label, clock=clock, random=random)
    store.put(slot_key(slot.clear.slot_id), slot.data)
    return assemble(repository_id, slot.clear, slot.secrets, Survey(), seen=NOTHING_SEEN, report=silent)


def add_slot(
    store: Store,
    keyring: Keyring,
    role: Role,
    credential: Credential,
    label: str,
    *,
    clock: Clock,
    random: Random = os.urandom,
    report: Reporter = silent,
) -> bytes:
    """Store a slot for somebody or something else; returns its id.  Raises ``NotPermitted``, ``UsageError``."""
    admin_private = keyring.admin_private()
    now = refresh(store, keyring, report)
    if isinstance(credential, KeyFile) and credential.slot_id in now.devices:
        raise UsageError("That key file already belongs to a key slot.", "Make a new key file.")
    shared = _Shared(
        now.repository_id,
        now.id_key,
        now.index_key,
        admin_private,
        now.epoch,
        now.epoch_public,
        dict(now.epoch_privates),
    )
    slot = _new_slot(shared, role, credential, label, clock=clock, random=random)
    store.put(slot_key(slot.clear.slot_id), slot.data)
    return slot.clear.slot_id


def _new_slot(shared: _Shared, role: Role, credential: Credential, label: str, *, clock: Clock, random: Random) -> _NewSlot:
    if len(label) > MAX_LABEL or not label.isprintable():
        raise UsageError(f"A key's label has at most {MAX_LABEL} printable characters.", "Choose another label.")
    slot_id = _slot_id(shared.repository_id, credential, random)
    method = new_method(credential, random)
    key = Unlocker(shared.repository_id, credential).slot_key(slot_id, method)
    secrets = _secrets(shared, role, random)
    clear = SlotClear(
        slot_id,
        role,
        label,
        clock.now_ns(),
        method,
        exchange_public(secrets.exchange_private),
        signing_public(secrets.device_private),
        key.commitment,
    )
    encoded = encode(clear)
    sealed = aead_seal(key.kek, ZERO_NONCE, encode(secrets), slot_domain(shared.repository_id, encoded))
    data = make_object("slot", shared.repository_id, shared.admin_private, SlotBody(encoded, sealed))
    return _NewSlot(clear, secrets, data)


def _slot_id(repository_id: bytes, credential: Credential, random: Random) -> bytes:
    if not isinstance(credential, KeyFile):
        return random(SLOT_ID_SIZE)
    if credential.repository_id != repository_id:
        raise UsageError("The key file belongs to another repository.", "Make one for this repository.")
    return credential.slot_id


def _secrets(shared: _Shared, role: Role, random: Random) -> SlotSecrets:
    return SlotSecrets(
        shared.id_key,
        shared.index_key,
        exchange_private=random(KEY_SIZE),
        device_private=random(KEY_SIZE),
        admin_public=signing_public(shared.admin_private),
        epoch=shared.epoch,
        epoch_public=shared.epoch_public,
        epoch_privates={} if role == "writer" else shared.epoch_privates,
        admin_private=shared.admin_private if role == "owner" else None,
    )


def remove_slot(store: Store, keyring: Keyring, slot_id: bytes, *, clock: Clock, report: Reporter = silent) -> None:
    """Retire a slot; its object is deleted where the store can.  Its holder can read on until the next ``rotate``.

    Removing a removed slot again finishes what an interruption left.  Raises ``NotPermitted`` (not an owner's key, or
    the last owner), ``UsageError`` (no such slot).
    """
    admin_private = keyring.admin_private()
    now = _survey(store, keyring, report)
    if slot_id not in now.retired:
        body = _retirement(now, slot_id, clock)
        store.put(retired_key(slot_id), make_object("retired", keyring.repository_id, admin_private, body))
    if store.capabilities.can_delete:
        store.delete(slot_key(slot_id))


def _survey(store: Store, keyring: Keyring, report: Reporter) -> Survey:
    objects = read_objects(store, keyring.repository_id, report)
    return sift(objects, keyring.repository_id, keyring.admin_public, report)


def _retirement(now: Survey, slot_id: bytes, clock: Clock) -> RetiredBody:
    slot = now.slots.get(slot_id)
    if slot is None:
        raise UsageError(f"The repository has no key slot {slot_id.hex()}.", "`safehold key list` shows them.")
    if [each.slot_id for each in now.live if each.role == "owner"] == [slot_id]:
        raise NotPermitted(
            f"`{slot.label}` is the last owner's key; without it nobody could manage this repository.",
            "Add another owner's key first.",
        )
    return RetiredBody(slot_id, slot.role, slot.label, slot.device_public, clock.now_ns())


def rotate(store: Store, keyring: Keyring, *, clock: Clock, random: Random = os.urandom, report: Reporter = silent) -> Keyring:
    """Make the next epoch: what is backed up from now on is read by the slots that are there now, and by no others.

    Returns the keyring with it.  Raises ``NotPermitted``, or ``ObjectExists`` where another owner rotated just now.
    """
    admin_private = keyring.admin_private()
    survey = _survey(store, keyring, report)
    now = keyring.updated(survey, report)
    body = _next_epoch(now, survey, clock.now_ns(), random(KEY_SIZE))
    data = make_object("epoch", now.repository_id, admin_private, body)
    try:
        store.put(epoch_key(body.number), data)
    except ObjectExists:
        hint = "Another owner rotated just now, or that object is damaged: try again, then run `safehold check`."
        raise ObjectExists(f"There already is an epoch {body.number}.", hint) from None
    survey.epochs[body.number] = body
    return now.updated(survey, silent)


def _next_epoch(now: Keyring, survey: Survey, created_ns: int, private: bytes) -> EpochBody:
    number = now.epoch + 1
    public = exchange_public(private)
    id = now.repository_id
    if now.epoch not in now.epoch_privates:
        raise DamageError(f"This key slot has no read key of epoch {now.epoch}.", "Rotate with another owner's key.")
    previous = now.epoch_privates[now.epoch]
    return EpochBody(
        number,
        public,
        previous_public=now.epoch_public,
        previous_private=wrap_key(public, "previous-epoch", id, previous_context(number), previous),
        created_ns=created_ns,
        wrapped=[
            WrappedFor(s.slot_id, wrap_key(s.exchange_public, "epoch", id, slot_context(number, s.slot_id), private))
            for s in survey.live
            if s.role != "writer"
        ],
        retired=sorted(survey.retired_ids),
    )


def list_slots(store: Store, keyring: Keyring, *, report: Reporter = silent) -> list[Device]:
    """Every slot there is or was, in use first, then by time.  Any role may ask."""
    devices = refresh(store, keyring, report).devices.values()
    return sorted(devices, key=lambda device: (device.retired_ns is not None, device.created_ns, device.slot_id))
