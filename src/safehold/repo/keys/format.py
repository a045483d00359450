"""The stored structures below ``keys/``, and nothing else: ``docs/format/keys.md`` describes each byte.

An object is ``domain(kind, repository_id)``, a msgpack body, and an Ed25519 signature by the admin key over all bytes
before it.  Reading one proves its form and its place; ``check_signature`` proves who made it.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal, NamedTuple, TypeVar

import msgspec
from msgspec import Meta

from safehold.codec.passphrase import SALT_SIZE
from safehold.codec.sealing import KEY_SIZE, SIGNATURE_SIZE, WRAPPED_KEY_SIZE, domain, sign, verify
from safehold.core.errors import FormatError

FOLDER = "keys/"
SLOT_ID_SIZE = 16
MAX_OBJECT_SIZE = 1 << 20
"""Bytes.  A slot has about 500, an epoch about 300 and 100 for each slot."""

Id = Annotated[bytes, Meta(min_length=SLOT_ID_SIZE, max_length=SLOT_ID_SIZE)]
Key = Annotated[bytes, Meta(min_length=KEY_SIZE, max_length=KEY_SIZE)]
WrappedKey = Annotated[bytes, Meta(min_length=WRAPPED_KEY_SIZE, max_length=WRAPPED_KEY_SIZE)]
Label = Annotated[str, Meta(max_length=200)]
Nanoseconds = Annotated[int, Meta(ge=0)]
Number = Annotated[int, Meta(ge=1, le=99_999_999)]
LaterNumber = Annotated[int, Meta(ge=2, le=99_999_999)]
Role = Literal["owner", "reader", "writer"]
Kind = Literal["slot", "epoch", "retired"]


class _Stored(msgspec.Struct, array_like=True, forbid_unknown_fields=True, frozen=True):
    pass


class PassphraseMethod(_Stored, frozen=True, tag="passphrase"):
    """Opened by a passphrase stretched with Argon2id."""

    salt: Annotated[bytes, Meta(min_length=SALT_SIZE, max_length=SALT_SIZE)]
    memory_kib: Annotated[int, Meta(ge=0, le=2**32 - 1)]
    passes: Annotated[int, Meta(ge=0, le=2**32 - 1)]
    lanes: Annotated[int, Meta(ge=0, le=2**24 - 1)]


class KeyFileMethod(_Stored, frozen=True, tag="keyfile"):
    """Opened by a key file."""


class RecoveryMethod(_Stored, frozen=True, tag="recovery"):
    """Opened by the printed recovery words."""


Method = PassphraseMethod | KeyFileMethod | RecoveryMethod


class SlotClear(_Stored, frozen=True):
    """What anyone may read of a slot."""

    slot_id: Id
    role: Role
    label: Label
    created_ns: Nanoseconds
    method: Method
    exchange_public: Key
    """X25519: new epochs' private keys are wrapped to it."""
    device_public: Key
    """Ed25519: checks what this slot's holder signs."""
    commitment: Key
    """Ties the sealed part to one single key: see ``unlock.kek``."""


class SlotSecrets(_Stored, frozen=True):
    """What opening a slot gives."""

    id_key: Key
    index_key: Key
    exchange_private: Key
    device_private: Key
    admin_public: Key
    epoch: Number
    """The newest epoch when the slot was made."""
    epoch_public: Key
    epoch_privates: dict[Number, Key]
    """Of owners and readers: of every epoch up to ``epoch``.  Of writers: empty."""
    admin_private: Key | None
    """Of owners only."""

    def __repr__(self) -> str:
        return "SlotSecrets(...)"


class SlotBody(_Stored, frozen=True):
    """A slot object's body: ``SlotClear`` as msgpack, and ``SlotSecrets`` as msgpack, sealed."""

    clear: bytes
    sealed: bytes


class WrappedFor(_Stored, frozen=True):
    """An epoch's private key for one slot."""

    slot_id: Id
    key: WrappedKey


class EpochBody(_Stored, frozen=True):
    """An epoch object's body.  The first epoch has no object: it is in the slots."""

    number: LaterNumber
    public: Key
    previous_public: Key
    """The public key of epoch ``number - 1``."""
    previous_private: WrappedKey
    """The private key of epoch ``number - 1``, wrapped to ``public``: who reads new sessions reads old ones."""
    created_ns: Nanoseconds
    wrapped: list[WrappedFor]
    """``public``'s private key for every owner and reader slot there was."""
    retired: list[Id]
    """Every slot that was retired before, so that a store can't hide a retirement."""


class RetiredBody(_Stored, frozen=True):
    """A retirement object's body: the slot is refused from now on, its old signatures still verify."""

    slot_id: Id
    role: Role
    label: Label
    device_public: Key
    retired_ns: Nanoseconds


Body = SlotBody | EpochBody | RetiredBody


class KeyObject(NamedTuple):
    """One object below ``keys/``, taken apart."""

    key: str
    kind: Kind
    body: Body
    signed: bytes
    """The encoded body."""
    signature: bytes


_NAME = re.compile(r"keys/(?:([0-9a-f]{32})\.(slot|retired)|([0-9]{8})\.(epoch))")
_BODIES: dict[Kind, type[Body]] = {
    "slot": SlotBody,
    "epoch": EpochBody,
    "retired": RetiredBody,
}


def slot_key(slot_id: bytes) -> str:
    """The store key of a slot."""
    return f"{FOLDER}{slot_id.hex()}.slot"


def retired_key(slot_id: bytes) -> str:
    """The store key of a slot's retirement."""
    return f"{FOLDER}{slot_id.hex()}.retired"


def epoch_key(number: int) -> str:
    """The store key of an epoch: by number, so that two rotations at once can't both succeed."""
    return f"{FOLDER}{number:08}.epoch"


def slot_domain(repository_id: bytes, clear: bytes) -> bytes:
    """The associated data of a slot's sealed part."""
    return domain("slot", repository_id) + clear


def encode(structure: _Stored) -> bytes:
    """The msgpack form of a structure of this module."""
    return msgspec.msgpack.encode(structure)


T = TypeVar("T", bound=_Stored)


def decode(data: bytes, kind: type[T], what: str) -> T:
    """Read a structure of this module.  Raises ``FormatError``, naming ``what``."""
    try:
        return msgspec.msgpack.decode(data, type=kind)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{what} does not follow the format: {error}.", "Run `safehold check`.") from None


def make_object(kind: Kind, repository_id: bytes, admin_private: bytes, body: Body) -> bytes:
    """The bytes of a key object, signed."""
    encoded = encode(body)
    return domain(kind, repository_id) + encoded + sign(admin_private, kind, repository_id, encoded)


def parse_object(key: str, data: bytes, repository_id: bytes) -> KeyObject:
    """Take an object below ``keys/`` apart; nothing about it is trusted yet.  Raises ``FormatError``."""
    name = _NAME.fullmatch(key)
    if name is None:
        raise FormatError(f"{key} is no name of a key object.")
    kind: Kind = name[2] or name[4]  # type: ignore[assignment]  # the pattern allows no others
    start = domain(kind, repository_id)
    if not data.startswith(start) or len(data) < len(start) + SIGNATURE_SIZE:
        raise FormatError(f"{key} is cut short, or no {kind} object of this repository.")
    signed = data[len(start) : -SIGNATURE_SIZE]
    body: Body = decode(signed, _BODIES[kind], key)
    if _own_key(body) != key:
        raise FormatError(f"{key} holds what belongs at {_own_key(body)}.")
    return KeyObject(key, kind, body, signed, data[-SIGNATURE_SIZE:])


def _own_key(body: Body) -> str:
    if isinstance(body, SlotBody):
        return slot_key(decode(body.clear, SlotClear, "A key slot's clear part").slot_id)
    if isinstance(body, EpochBody):
        return epoch_key(body.number)
    return retired_key(body.slot_id)


def check_signature(item: KeyObject, repository_id: bytes, admin_public: bytes) -> None:
    """Raise ``DamageError`` unless the repository's owner made this object."""
    verify(admin_public, item.kind, repository_id, item.signed, item.signature, what=f"key object {item.key}")
