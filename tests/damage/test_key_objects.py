"""Key objects that a failing disk, a hijacked store or a fuzzer made: refused, or ignored with a warning."""

from __future__ import annotations

import os

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keys_fixtures import REPOSITORY, KeyStore, World

from safehold.codec import passphrase
from safehold.codec.keyfile import KeyFile
from safehold.codec.passphrase import STANDARD, Passphrase, check_cost
from safehold.codec.sealing import ZERO_NONCE, aead_seal, domain, signing_public
from safehold.core.clock import ManualClock
from safehold.core.errors import DamageError, FormatError, SafeholdError, WrongKey
from safehold.repo.keys import format as stored
from safehold.repo.keys.admin import add_slot, create_repository_keys, remove_slot, rotate
from safehold.repo.keys.format import (
    EpochBody,
    PassphraseMethod,
    RetiredBody,
    SlotBody,
    SlotClear,
    decode,
    encode,
    epoch_key,
    make_object,
    parse_object,
    retired_key,
    slot_domain,
    slot_key,
)
from safehold.repo.keys.opening import open_keyring
from safehold.repo.keys.survey import read_objects, sift
from safehold.repo.keys.unlock import Unlocker


@pytest.fixture(scope="module")
def full() -> World:
    """Owner, reader, writer, a removed writer, two epochs."""
    world = World(KeyStore(can_delete=False))
    world.reader_file, world.writer_file, gone = world.add("reader"), world.add("writer"), world.add("writer")
    remove_slot(world.store, world.owner, gone.slot_id, clock=world.clock)
    world.owner = rotate(world.store, world.owner, clock=world.clock)
    return world


def copy_of(full: World) -> World:
    world = object.__new__(World)
    world.store, world.clock, world.warnings = KeyStore(can_delete=False), ManualClock(), []
    world.store.objects = dict(full.store.objects)
    world.owner, world.owner_file = full.owner, full.owner_file
    return world


def test_every_flipped_byte_of_a_slot_is_rejected(full: World) -> None:
    key = slot_key(full.reader_file.slot_id)
    good = full.store.objects[key]
    store = KeyStore()
    for place in range(len(good)):
        store.objects = {key: good[:place] + bytes([good[place] ^ 0x01]) + good[place + 1 :]}
        with pytest.raises(SafeholdError) as caught:
            open_keyring(store, REPOSITORY, full.reader_file)
        assert isinstance(caught.value, (DamageError, WrongKey))


@pytest.mark.parametrize("field", SlotClear.__struct_fields__)
def test_every_exchanged_field_of_a_slot_is_rejected(full: World, field: str) -> None:
    world = copy_of(full)
    key = slot_key(full.writer_file.slot_id)
    body = parse_object(key, world.store.objects[key], REPOSITORY).body
    assert isinstance(body, SlotBody)
    other = {
        "slot_id": bytes(16),
        "role": "owner",
        "label": "other",
        "created_ns": 7,
        "method": stored.RecoveryMethod(),
        "exchange_public": bytes(32),
        "device_public": bytes(32),
        "commitment": bytes(32),
    }
    clear = msgspec.structs.replace(decode(body.clear, SlotClear, ""), **{field: other[field]})
    forged = make_object("slot", REPOSITORY, bytes(32), SlotBody(encode(clear), body.sealed))
    world.store.objects[key] = forged
    with pytest.raises((DamageError, WrongKey)):
        world.open(full.writer_file)
    # Nor do others believe what it says, and with the true signature they don't either.
    world.store.objects[key] = forged[:-64] + full.store.objects[key][-64:]
    opened = world.open(full.reader_file)
    assert full.writer_file.slot_id not in opened.devices
    assert "key-object-ignored" in world.codes()


def test_every_flipped_byte_of_other_objects_is_ignored_with_a_warning(full: World) -> None:
    for key in (epoch_key(2), next(key for key in full.store.objects if key.endswith(".retired"))):
        good = full.store.objects[key]
        for place in range(0, len(good), 3):
            store = KeyStore()
            store.objects = {key: good[:place] + bytes([good[place] ^ 0x40]) + good[place + 1 :]}
            warnings: list[object] = []
            found = sift(read_objects(store, REPOSITORY, warnings.append), REPOSITORY, full.owner.admin_public, warnings.append)
            assert not found.epochs and not found.retired
            assert [warning.code for warning in warnings] == ["key-object-ignored"]


@pytest.mark.parametrize("length", [0, 1, 15, 32, 95, 96, -1])
def test_a_truncated_slot_is_ignored(full: World, length: int) -> None:
    world = copy_of(full)
    key = slot_key(full.writer_file.slot_id)
    world.store.objects[key] = world.store.objects[key][:length]
    assert world.open(full.owner_file).role == "owner"
    assert world.codes() == ["key-object-ignored"]
    with pytest.raises(WrongKey):
        world.open(full.writer_file)


def test_objects_in_each_others_places_are_ignored(full: World) -> None:
    keys = [key for key in full.store.objects if key != slot_key(full.owner_file.slot_id)]
    for one in keys:
        for other in keys:
            if one != other:
                world = copy_of(full)
                world.store.objects[one] = full.store.objects[other]
                world.open(full.owner_file)
                assert world.codes().count("key-object-ignored") == 1


def test_a_slot_that_the_store_forged_is_ignored(full: World) -> None:
    world = copy_of(full)
    evil = KeyFile.new(REPOSITORY, os.urandom)
    scratch = KeyStore()
    create_repository_keys(scratch, REPOSITORY, evil, clock=ManualClock(), label="owner")
    world.store.objects.update(scratch.objects)
    opened = world.open(full.reader_file)
    assert evil.slot_id not in opened.devices
    assert world.codes() == ["key-object-ignored"]
    # It is no reader for the next epoch either.
    world.owner = rotate(world.store, world.owner, clock=world.clock)
    assert evil.slot_id not in world.store.objects[epoch_key(3)]


def test_an_epoch_and_a_retirement_that_the_store_forged_are_ignored(full: World) -> None:
    world = copy_of(full)
    epoch = EpochBody(3, bytes(32), full.owner.epoch_public, bytes(80), 1, [], [full.reader_file.slot_id])
    gone = RetiredBody(full.reader_file.slot_id, "reader", "reader", bytes(32), 1)
    world.store.objects[epoch_key(3)] = make_object("epoch", REPOSITORY, bytes(32), epoch)
    world.store.objects[retired_key(full.reader_file.slot_id)] = make_object("retired", REPOSITORY, bytes(32), gone)
    opened = world.open(full.reader_file)
    assert opened.epoch == 2
    assert opened.devices[full.reader_file.slot_id].retired_ns is None
    assert world.codes() == ["key-object-ignored"] * 2


def test_a_slot_sealed_by_its_holder_but_not_signed_by_an_owner_is_refused(full: World) -> None:
    """A writer that makes itself an owner: it can seal its own slot anew, and cannot sign it."""
    world = copy_of(full)
    key = slot_key(full.writer_file.slot_id)
    body = parse_object(key, world.store.objects[key], REPOSITORY).body
    unlocker = Unlocker(REPOSITORY, full.writer_file)
    secrets = unlocker.open(body)
    clear = msgspec.structs.replace(decode(body.clear, SlotClear, ""), role="owner")
    kek = unlocker.slot_key(clear.slot_id, clear.method).kek
    sealed = aead_seal(kek, ZERO_NONCE, encode(secrets), slot_domain(REPOSITORY, encode(clear)))
    world.store.objects[key] = make_object("slot", REPOSITORY, secrets.device_private, SlotBody(encode(clear), sealed))
    with pytest.raises(DamageError, match="signature"):
        world.open(full.writer_file)
    assert full.writer_file.slot_id not in world.open(full.owner_file).devices


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"memory_kib": 8}, "weaker"),
        ({"passes": 1}, "weaker"),
        ({"memory_kib": 2**31}, "absurdly"),
        ({"lanes": 999}, "absurdly"),
    ],
)
def test_a_lowered_or_raised_derivation_is_refused(full: World, change: dict[str, int], says: str) -> None:
    world = copy_of(full)
    slot_id = bytes(range(16))
    method = msgspec.structs.replace(PassphraseMethod(bytes(16), *STANDARD), **change)
    clear = SlotClear(slot_id, "owner", "mine", 1, method, bytes(32), bytes(32), bytes(32))
    body = SlotBody(encode(clear), bytes(100))
    world.store.objects[slot_key(slot_id)] = make_object("slot", REPOSITORY, bytes(32), body)
    with pytest.raises(FormatError, match=says):
        world.open(Passphrase("secret"))


def test_a_forbidden_derivation_does_not_hide_a_mistyped_passphrase(full: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world = copy_of(full)
    monkeypatch.setattr(Passphrase, "stretched", lambda self, salt, cost: check_cost(cost) or self.text.encode() * 32)
    add_slot(world.store, world.owner, "reader", Passphrase("a"), "real", clock=world.clock)
    clear = SlotClear(bytes(16), "owner", "", 1, PassphraseMethod(bytes(16), 8, 1, 1), *[bytes(32)] * 3)
    body = SlotBody(encode(clear), bytes(100))
    world.store.objects[slot_key(bytes(16))] = make_object("slot", REPOSITORY, bytes(32), body)
    assert world.open(Passphrase("a")).label == "real"
    with pytest.raises(WrongKey):
        world.open(Passphrase("b"))


def test_too_little_memory_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    class NoMemory:
        def __init__(self, **cost: object) -> None:
            assert cost["memory_cost"] == STANDARD.memory_kib

        def derive(self, key: bytes) -> bytes:
            raise MemoryError

    monkeypatch.setattr(passphrase, "Argon2id", NoMemory)
    with pytest.raises(SafeholdError, match="64 MiB"):
        Passphrase("x").stretched(bytes(16), STANDARD)


def test_all_slots_lost_is_damage_not_a_wrong_key(full: World) -> None:
    world = copy_of(full)
    world.store.objects = {epoch_key(2): full.store.objects[epoch_key(2)]}
    with pytest.raises(DamageError, match="no usable key slot"):
        world.open(full.owner_file)


def test_a_huge_object_is_not_even_fetched(full: World) -> None:
    world = copy_of(full)
    world.store.objects[slot_key(bytes(16))] = bytes(stored.MAX_OBJECT_SIZE + 1)
    world.open(full.owner_file)
    assert "more than a key object can have" in world.warnings[0].message


def test_a_missing_epoch_in_the_chain_is_told_and_bridged(full: World) -> None:
    world = copy_of(full)
    world.owner = rotate(world.store, world.owner, clock=world.clock)
    del world.store.objects[epoch_key(2)]
    opened = world.open(full.reader_file)
    assert opened.epoch_privates == world.owner.epoch_privates
    assert world.codes() == ["epoch-missing"]


def test_a_signed_epoch_with_a_wrong_wrap_is_told(full: World) -> None:
    """Damage made by an owner's faulty program: signed, and of no use."""
    world = copy_of(full)
    body = parse_object(epoch_key(2), world.store.objects[epoch_key(2)], REPOSITORY).body
    broken = msgspec.structs.replace(
        body, previous_public=bytes(32), wrapped=[msgspec.structs.replace(each, key=bytes(80)) for each in body.wrapped]
    )
    world.store.objects[epoch_key(2)] = make_object("epoch", REPOSITORY, full.owner.admin_private(), broken)
    opened = world.open(full.reader_file)
    assert set(opened.epoch_privates) == {1}
    assert world.codes() == ["epoch-chain", "epoch-locked", "epoch-locked"]


def read_anything(key: str, data: bytes) -> None:
    store = KeyStore()
    store.objects = {key: data}
    warnings: list[object] = []
    objects = read_objects(store, REPOSITORY, warnings.append)
    sift(objects, REPOSITORY, signing_public(bytes(32)), warnings.append)
    assert len(warnings) == 1
    with pytest.raises((DamageError, WrongKey)):
        open_keyring(store, REPOSITORY, KeyFile(REPOSITORY, bytes(16), bytes(32)))


names = st.sampled_from([slot_key(bytes(16)), retired_key(bytes(16)), epoch_key(2), epoch_key(0), "keys/x", "keys/a/b"])
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(max_size=5) | st.binary(max_size=80),
    lambda inner: st.lists(inner) | st.dictionaries(st.integers(0, 9), inner),
    max_leaves=6,
)


@given(names, st.binary())
def test_any_bytes_are_ignored(key: str, data: bytes) -> None:
    read_anything(key, data)


@given(st.sampled_from(["slot", "epoch", "retired"]), st.binary(max_size=60) | values.map(msgspec.msgpack.encode))
def test_any_bytes_after_a_right_beginning_are_ignored(kind: str, body: bytes) -> None:
    key = epoch_key(2) if kind == "epoch" else f"keys/{bytes(16).hex()}.{kind}"
    read_anything(key, domain(kind, REPOSITORY) + body + bytes(64))


@settings(max_examples=50)
@given(st.lists(values, min_size=8, max_size=8), st.binary())
def test_any_clear_part_is_ignored(clear: list[object], sealed: bytes) -> None:
    body = msgspec.msgpack.encode([msgspec.msgpack.encode([bytes(16), *clear[1:]]), sealed])
    read_anything(slot_key(bytes(16)), domain("slot", REPOSITORY) + body + bytes(64))


def test_deep_nesting_is_ignored() -> None:
    read_anything(slot_key(bytes(16)), domain("slot", REPOSITORY) + b"\x91" * 100_000 + bytes(64))


def test_any_secrets_are_damage_or_secrets() -> None:
    """What an opened seal holds is parsed as strictly: an owner's program may be faulty."""
    for data in (b"", b"\x90", msgspec.msgpack.encode([b""] * 9), msgspec.msgpack.encode([bytes(32)] * 9)):
        with pytest.raises(FormatError):
            decode(data, stored.SlotSecrets, "slot")


def test_garbage_in_the_place_of_a_retirement_is_named(full: World) -> None:
    world = copy_of(full)
    world.store.objects[retired_key(full.writer_file.slot_id)] = b"garbage"
    with pytest.raises(SafeholdError, match="retired"):
        remove_slot(world.store, world.owner, full.writer_file.slot_id, clock=world.clock)
