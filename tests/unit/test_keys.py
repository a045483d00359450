"""Key slots, epochs and retirements, as their owners use them."""

from __future__ import annotations

import dataclasses
import os

import pytest
from keys_fixtures import REPOSITORY, KeyStore, World

from safehold.codec.keyfile import KeyFile
from safehold.codec.passphrase import STANDARD, Passphrase
from safehold.codec.recovery import RecoveryKey
from safehold.core.errors import DamageError, NotPermitted, ObjectExists, RolledBack, UsageError, WrongKey
from safehold.repo.keys.admin import add_slot, create_repository_keys, list_slots, remove_slot, rotate
from safehold.repo.keys.format import (
    EpochBody,
    PassphraseMethod,
    SlotBody,
    encode,
    epoch_key,
    parse_object,
    retired_key,
    slot_key,
)
from safehold.repo.keys.keyring import Keyring, Seen
from safehold.repo.keys.opening import refresh
from safehold.repo.keys.unlock import Unlocker

ROLES = ("owner", "reader", "writer")


@pytest.fixture
def world() -> World:
    return World()


def common(keyring: Keyring) -> tuple[object, ...]:
    return keyring.id_key, keyring.index_key, keyring.admin_public, keyring.epoch, keyring.epoch_public


def test_a_new_repository_is_one_object_that_opens_again(world: World) -> None:
    assert list(world.store.objects) == [slot_key(world.owner_file.slot_id)]
    opened = world.open(world.owner_file)
    assert opened == world.owner
    assert (opened.role, opened.repository_id, opened.epoch) == ("owner", REPOSITORY, 1)
    assert set(opened.epoch_privates) == {1}
    assert len({opened.id_key, opened.index_key, opened.device_private, opened.admin_private()}) == 4
    assert world.warnings == []


@pytest.mark.parametrize("role", ROLES)
def test_every_role_gets_what_it_may_have(world: World, role: str) -> None:
    rotate(world.store, world.owner, clock=world.clock)
    keyring = world.open(world.add(role, "box"))
    assert common(keyring) == common(world.open(world.owner_file))
    assert (keyring.role, keyring.label) == (role, "box")
    assert keyring.device_private != world.owner.device_private
    assert set(keyring.epoch_privates) == (set() if role == "writer" else {1, 2})
    if role == "owner":
        assert keyring.admin_private() == world.owner.admin_private()
    else:
        with pytest.raises(NotPermitted, match=role):
            keyring.admin_private()
    assert world.warnings == []


def test_recovery_words_and_passphrases_open_their_slots(world: World) -> None:
    recovery = RecoveryKey.new(os.urandom)
    add_slot(world.store, world.owner, "owner", recovery, "paper", clock=world.clock)
    add_slot(world.store, world.owner, "reader", Passphrase("Zo\u00eb"), "Zoë", clock=world.clock)
    assert world.open(RecoveryKey.parse(" ".join(recovery.words()))).label == "paper"
    assert world.open(Passphrase("Zoe\u0308")).label == "Zoë"
    with pytest.raises(WrongKey):
        world.open(Passphrase("zoë"))
    with pytest.raises(WrongKey):
        world.open(RecoveryKey.new(os.urandom))


def test_a_slot_is_only_tried_by_its_own_method(world: World) -> None:
    with pytest.raises(WrongKey):
        world.open(RecoveryKey(world.owner_file.secret))
    with pytest.raises(WrongKey):
        world.open(Passphrase("x"))
    other = dataclasses.replace(world.owner_file, repository_id=bytes(16))
    with pytest.raises(WrongKey, match="another repository"):
        world.open(other)
    with pytest.raises(WrongKey):
        world.open(dataclasses.replace(world.owner_file, secret=bytes(32)))


def test_sessions_are_read_by_readers_and_written_by_all(world: World) -> None:
    reader, writer = world.open(world.add("reader")), world.open(world.add("writer"))
    epoch, wrapped = writer.wrap_session_key(b"session-id", b"k" * 32)
    assert reader.unwrap_session_key(epoch, b"session-id", wrapped) == b"k" * 32
    with pytest.raises(NotPermitted, match="writer"):
        writer.unwrap_session_key(epoch, b"session-id", wrapped)
    with pytest.raises(DamageError):
        reader.unwrap_session_key(epoch, b"session-ie", wrapped)
    with pytest.raises(NotPermitted, match="epoch 9"):
        reader.unwrap_session_key(9, b"session-id", wrapped)


def test_a_writers_slot_holds_no_private_read_key_and_no_admin_key(world: World) -> None:
    owner = rotate(world.store, world.owner, clock=world.clock)
    writer = world.add("writer")
    data = world.store.objects[slot_key(writer.slot_id)]
    body = parse_object(slot_key(writer.slot_id), data, REPOSITORY).body
    assert isinstance(body, SlotBody)
    secrets = Unlocker(REPOSITORY, writer).open(body)
    assert secrets is not None
    visible = encode(secrets) + data
    assert secrets.id_key in visible
    for secret in (*owner.epoch_privates.values(), owner.admin_private(), owner.device_private):
        assert secret not in visible
    assert set(owner.epoch_privates) == {1, 2}


def test_a_writer_learns_nothing_from_epochs_made_for_others(world: World) -> None:
    writer = world.add("writer")
    owner = rotate(world.store, world.owner, clock=world.clock)
    opened = world.open(writer)
    assert opened.epoch == 2
    assert opened.epoch_public == owner.epoch_public
    assert not opened.epoch_privates
    assert world.warnings == []


def test_rotation_reaches_every_reader_and_keeps_the_past(world: World) -> None:
    reader = world.add("reader")
    first = world.owner.wrap_session_key(b"s", b"1" * 32)
    owner = world.owner
    for number in (2, 3, 4):
        owner = rotate(world.store, owner, clock=world.clock)
        assert owner.epoch == number
    opened = world.open(reader)
    assert opened.epoch_privates == owner.epoch_privates
    assert set(opened.epoch_privates) == {1, 2, 3, 4}
    assert opened.unwrap_session_key(first[0], b"s", first[1]) == b"1" * 32
    late = world.open(world.add("reader"))
    assert late.epoch_privates == owner.epoch_privates
    assert world.warnings == []


@pytest.mark.parametrize("can_delete", [True, False])
def test_a_removed_reader_cannot_read_what_comes_after(can_delete: bool) -> None:
    world = World(KeyStore(can_delete=can_delete))
    reader = world.add("reader")
    before = world.open(reader)
    slot_object = world.store.objects[slot_key(reader.slot_id)]
    remove_slot(world.store, world.owner, reader.slot_id, clock=world.clock)
    owner = rotate(world.store, world.owner, clock=world.clock)
    with pytest.raises(WrongKey):
        world.open(reader)
    # Also with the slot kept aside and the retirement deleted by an accomplice at the store:
    world.store.objects[slot_key(reader.slot_id)] = slot_object
    del world.store.objects[retired_key(reader.slot_id)]
    with pytest.raises(WrongKey, match="removed"):
        world.open(reader)
    assert "retirement-missing" in world.codes()
    # And with the keys it had in memory, it finds no way into the new epoch.
    epoch = world.store.objects[epoch_key(2)]
    body = parse_object(epoch_key(2), epoch, REPOSITORY).body
    assert isinstance(body, EpochBody)
    assert [each.slot_id for each in body.wrapped] == [owner.slot_id]
    assert body.retired == [reader.slot_id]
    assert owner.epoch_privates[2] not in epoch
    with pytest.raises(WrongKey):
        refresh(world.store, before)
    session = owner.wrap_session_key(b"s", b"k" * 32)
    with pytest.raises(NotPermitted):
        before.unwrap_session_key(session[0], b"s", session[1])


@pytest.mark.parametrize("can_delete", [True, False])
def test_a_removed_slot_is_refused_and_its_signatures_still_verify(can_delete: bool) -> None:
    world = World(KeyStore(can_delete=can_delete))
    writer = world.add("writer", "laptop")
    signature = world.open(writer).sign("snapshot", b"old")
    remove_slot(world.store, world.owner, writer.slot_id, clock=world.clock)
    assert (slot_key(writer.slot_id) in world.store.objects) is not can_delete
    with pytest.raises(WrongKey):
        world.open(writer)
    device = world.open(world.owner_file).verify(writer.slot_id, "snapshot", b"old", signature)
    assert (device.label, device.role, device.retired_ns) == ("laptop", "writer", world.clock.now_ns())
    remove_slot(world.store, world.owner, writer.slot_id, clock=world.clock)
    with pytest.raises(UsageError):
        add_slot(world.store, world.owner, "writer", writer, "again", clock=world.clock)


def test_an_interrupted_removal_is_finished_by_the_next(world: World) -> None:
    writer = world.add("writer")
    kept = world.store.objects[slot_key(writer.slot_id)]
    remove_slot(world.store, world.owner, writer.slot_id, clock=world.clock)
    world.store.put(slot_key(writer.slot_id), kept)
    with pytest.raises(WrongKey, match="removed"):
        world.open(writer)
    remove_slot(world.store, world.owner, writer.slot_id, clock=world.clock)
    assert slot_key(writer.slot_id) not in world.store.objects


def test_the_same_passphrase_in_a_removed_and_a_live_slot_opens_the_live_one() -> None:
    world = World(KeyStore(can_delete=False))
    recovery = RecoveryKey(bytes(32))
    first = add_slot(world.store, world.owner, "reader", recovery, "first", clock=world.clock)
    add_slot(world.store, world.owner, "reader", recovery, "second", clock=world.clock)
    remove_slot(world.store, world.owner, first, clock=world.clock)
    assert world.open(recovery).label == "second"


def test_the_last_owner_stays(world: World) -> None:
    reader = world.add("reader")
    with pytest.raises(NotPermitted, match="last owner"):
        remove_slot(world.store, world.owner, world.owner.slot_id, clock=world.clock)
    second = world.add("owner")
    remove_slot(world.store, world.owner, world.owner.slot_id, clock=world.clock)
    with pytest.raises(NotPermitted, match="last owner"):
        remove_slot(world.store, world.open(second), second.slot_id, clock=world.clock)
    assert world.open(reader).role == "reader"
    with pytest.raises(UsageError):
        remove_slot(world.store, world.open(second), bytes(16), clock=world.clock)


@pytest.mark.parametrize("role", ["reader", "writer"])
def test_only_owners_administer(world: World, role: str) -> None:
    keyring = world.open(world.add(role))
    before = dict(world.store.objects)
    with pytest.raises(NotPermitted):
        add_slot(world.store, keyring, "owner", world.key_file(), "", clock=world.clock)
    with pytest.raises(NotPermitted):
        remove_slot(world.store, keyring, world.owner.slot_id, clock=world.clock)
    with pytest.raises(NotPermitted):
        rotate(world.store, keyring, clock=world.clock)
    assert world.store.objects == before


def test_listing_shows_slots_in_use_and_removed(world: World) -> None:
    reader, writer = world.add("reader", "mum"), world.add("writer", "laptop")
    remove_slot(world.store, world.owner, reader.slot_id, clock=world.clock)
    found = list_slots(world.store, world.open(writer))
    assert [(device.label, device.role, device.method) for device in found] == [
        ("owner", "owner", "keyfile"),
        ("laptop", "writer", "keyfile"),
        ("mum", "reader", ""),
    ]


def test_labels_and_key_files_that_do_not_fit_are_refused(world: World) -> None:
    for label in ("a" * 201, "bell\a", "\udcff"):
        with pytest.raises(UsageError, match="label"):
            add_slot(world.store, world.owner, "reader", world.key_file(), label, clock=world.clock)
    foreign = KeyFile.new(bytes(16), os.urandom)
    with pytest.raises(UsageError, match="another repository"):
        add_slot(world.store, world.owner, "reader", foreign, "", clock=world.clock)


def test_an_unknown_signer_is_told_apart_from_a_wrong_signature(world: World) -> None:
    signature = world.owner.sign("snapshot", b"x")
    with pytest.raises(DamageError, match="no key slot"):
        world.owner.verify(bytes(16), "snapshot", b"x", signature)
    with pytest.raises(DamageError, match="signature"):
        world.owner.verify(world.owner.slot_id, "snapshot", b"y", signature)


def test_a_machine_remembers_the_newest_epoch_and_removed_slots(world: World) -> None:
    writer, other = world.add("writer"), world.add("writer")
    kept = world.store.objects[slot_key(other.slot_id)]
    remove_slot(world.store, world.owner, other.slot_id, clock=world.clock)
    rotate(world.store, world.owner, clock=world.clock)
    seen = world.open(writer).seen
    assert seen == Seen(2, [other.slot_id])
    del world.store.objects[epoch_key(2)]
    with pytest.raises(RolledBack, match="epoch 2"):
        world.open(writer, seen=seen)
    assert world.open(writer).epoch == 1
    del world.store.objects[retired_key(other.slot_id)]
    world.store.put(slot_key(other.slot_id), kept)
    opened = world.open(writer, seen=Seen(0, seen.retired))
    assert opened.devices[other.slot_id].retired_ns == 0


def test_the_slot_itself_remembers_the_epoch_it_was_made_in(world: World) -> None:
    rotate(world.store, world.owner, clock=world.clock)
    reader = world.add("reader")
    del world.store.objects[epoch_key(2)]
    opened = world.open(reader)
    assert opened.epoch == 2
    assert set(opened.epoch_privates) == {1, 2}
    assert world.codes() == ["epoch-missing"]


def test_two_rotations_at_once_give_one_epoch(world: World) -> None:
    mine = rotate(world.store, world.owner, clock=world.clock)

    class Late(KeyStore):
        """Lists what was there before the other owner's rotation."""

        def list(self, prefix: str):  # type: ignore[no-untyped-def]
            return (info for info in super().list(prefix) if not info.key.endswith(".epoch"))

    late = Late()
    late.objects = world.store.objects
    with pytest.raises(ObjectExists, match="epoch 2"):
        rotate(late, world.owner, clock=world.clock)
    assert world.open(world.owner_file).epoch_public == mine.epoch_public


def test_a_reader_added_during_a_rotation_catches_up_with_the_next(world: World) -> None:
    reader = world.add("reader")
    hidden = world.store.objects.pop(slot_key(reader.slot_id))
    owner = rotate(world.store, world.owner, clock=world.clock)
    world.store.put(slot_key(reader.slot_id), hidden)
    assert set(world.open(reader).epoch_privates) == {1}
    assert world.codes() == ["epoch-locked"]
    owner = rotate(world.store, owner, clock=world.clock)
    assert world.open(reader).epoch_privates == owner.epoch_privates


def test_a_keyring_shows_no_secret(world: World) -> None:
    shown = repr(world.owner) + repr(world.owner.secrets)
    secrets = world.owner.secrets
    for secret in (secrets.id_key, secrets.device_private, world.owner.epoch_privates[1]):
        assert repr(secret)[2:-1] not in shown


def test_another_repositorys_slot_in_the_same_store_is_ignored(world: World) -> None:
    create_repository_keys(world.store, bytes(16), KeyFile.new(bytes(16), os.urandom), clock=world.clock)
    assert world.open(world.owner_file).role == "owner"
    assert world.codes() == ["key-object-ignored"]


def test_a_salt_and_cost_is_stretched_once(monkeypatch: pytest.MonkeyPatch) -> None:
    stretched = []
    monkeypatch.setattr(Passphrase, "stretched", lambda self, salt, cost: stretched.append((salt, cost)) or bytes(32))
    unlocker = Unlocker(REPOSITORY, Passphrase("x"))
    same, other = PassphraseMethod(bytes(16), *STANDARD), PassphraseMethod(b"s" * 16, *STANDARD)
    keys = {unlocker.slot_key(slot_id, method) for slot_id in (b"1" * 16, b"2" * 16) for method in (same, other)}
    assert stretched == [(bytes(16), STANDARD), (b"s" * 16, STANDARD)]
    assert len(keys) == 2  # both stretch to the same here: one key for each slot
