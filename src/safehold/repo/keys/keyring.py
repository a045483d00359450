"""What an opened key slot gives, and who signs in this repository."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from safehold.codec.sealing import Buffer, sign, unwrap_key, verify, wrap_key
from safehold.core.errors import DamageError, NotPermitted, RolledBack, WrongKey
from safehold.core.events import Reporter, Warn
from safehold.repo.keys.epochs import ReadKeys, read_keys
from safehold.repo.keys.format import Role, SlotClear, SlotSecrets, retired_key
from safehold.repo.keys.survey import Survey


class UnknownSigner(DamageError):
    """The key slot of whoever signed is lost, damaged, or never was."""


@dataclass(frozen=True, slots=True)
class Device:
    """The holder of one slot: whose signatures verify with ``public`` (Ed25519, 32 bytes)."""

    slot_id: bytes
    role: Role
    label: str
    public: bytes
    method: str
    """``passphrase``, ``keyfile`` or ``recovery``; empty where the slot itself is gone."""
    created_ns: int
    """0 where the slot itself is gone."""
    retired_ns: int | None = None
    """When it was removed (0 where only an epoch or this machine remembers that it was); None while in use."""
    exchange: bytes = b""
    """X25519 public key (32 bytes) that letters to it are sealed to; empty where the slot itself is gone."""


class Seen(msgspec.Struct, array_like=True, frozen=True):
    """What a machine remembers of a repository's keys, so that a store can't take it back."""

    epoch: int = 0
    retired: list[bytes] = []


NOTHING_SEEN = Seen()


@dataclass(frozen=True, slots=True)
class Keyring:
    """One opened slot with everything it may use."""

    repository_id: bytes
    clear: SlotClear
    secrets: SlotSecrets = field(repr=False)
    read: ReadKeys
    devices: Mapping[bytes, Device]
    """Of every slot there is or was, by slot id."""

    @property
    def slot_id(self) -> bytes:
        return self.clear.slot_id

    @property
    def role(self) -> Role:
        return self.clear.role

    @property
    def label(self) -> str:
        return self.clear.label

    @property
    def id_key(self) -> bytes:
        """Names chunks (keyed BLAKE3), seeds the chunker."""
        return self.secrets.id_key

    @property
    def index_key(self) -> bytes:
        """Seals what writers share: index shards, session marks, segment tables."""
        return self.secrets.index_key

    @property
    def device_private(self) -> bytes:
        """Ed25519, this slot's own."""
        return self.secrets.device_private

    @property
    def exchange_private(self) -> bytes:
        """X25519, this slot's own."""
        return self.secrets.exchange_private

    @property
    def admin_public(self) -> bytes:
        """Ed25519, the root of what is believed in this repository."""
        return self.secrets.admin_public

    @property
    def epoch(self) -> int:
        """The newest epoch; new sessions are wrapped to it."""
        return self.read.newest

    @property
    def epoch_public(self) -> bytes:
        """X25519, of the newest epoch."""
        return self.read.public

    @property
    def epoch_privates(self) -> Mapping[int, bytes]:
        """X25519 private keys by epoch; empty for a writer."""
        return self.read.privates

    @property
    def seen(self) -> Seen:
        """To be remembered, and given to the next opening."""
        return Seen(self.epoch, sorted(id for id, device in self.devices.items() if device.retired_ns is not None))

    def updated(self, survey: Survey, report: Reporter) -> Keyring:
        """The same slot among newer objects.  Raises like ``assemble``."""
        return assemble(self.repository_id, self.clear, self.secrets, survey, seen=self.seen, report=report)

    def admin_private(self) -> bytes:
        """Ed25519, of owners.  Raises ``NotPermitted`` for others."""
        if self.secrets.admin_private is None:
            raise NotPermitted(f"A {self.role} key may not do that; an owner's may.", "Use an owner's key.")
        return self.secrets.admin_private

    def wrap_session_key(self, session_id: bytes, key: bytes) -> tuple[int, bytes]:
        """The newest epoch's number and ``key`` (32 bytes) wrapped to its public key (80 bytes)."""
        context = _session_context(self.epoch, session_id)
        return self.epoch, wrap_key(self.epoch_public, "session", self.repository_id, context, key)

    def unwrap_session_key(self, epoch: int, session_id: bytes, wrapped: bytes) -> bytes:
        """Undo ``wrap_session_key``.  Raises ``NotPermitted`` if this slot can't read that epoch, ``DamageError``."""
        private = self.epoch_privates.get(epoch)
        if private is None:
            raise NotPermitted(*self._unreadable(epoch))
        return unwrap_key(private, "session", self.repository_id, _session_context(epoch, session_id), wrapped)

    def _unreadable(self, epoch: int) -> tuple[str, str]:
        if self.role == "writer":
            return "A writer key adds backups and can't read them.", "Use a reader's or an owner's key."
        return f"This key slot has no read key of epoch {epoch}.", "Have an owner run `safehold key rotate`."

    def sign(self, kind: str, message: Buffer) -> bytes:
        """This device's signature (64 bytes) over ``message`` as a ``kind`` of this repository."""
        return sign(self.device_private, kind, self.repository_id, message)

    def verify(self, slot_id: bytes, kind: str, message: Buffer, signature: bytes) -> Device:
        """Who signed.  Raises ``DamageError`` where no slot of this repository did; retired slots count, too."""
        device = self.devices.get(slot_id)
        if device is None:
            raise UnknownSigner(
                f"A {kind} is signed by {slot_id.hex()[:8]}, which is no key slot of this repository.",
                "It was forged, or that slot's object is lost; run `safehold check`.",
            )
        verify(device.public, kind, self.repository_id, message, signature, what=kind)
        return device


def _session_context(epoch: int, session_id: bytes) -> bytes:
    return epoch.to_bytes(4, "big") + session_id


def assemble(
    repository_id: bytes, clear: SlotClear, secrets: SlotSecrets, survey: Survey, *, seen: Seen, report: Reporter
) -> Keyring:
    """Join an opened slot with the signed objects around it.

    Raises ``WrongKey`` if the slot was removed, ``RolledBack`` if the newest epoch is older than ``seen``.
    """
    devices = _devices(survey, seen)
    for id in survey.retired_ids.union(seen.retired) - set(survey.retired):
        message = f"The retirement of key slot {id.hex()[:8]} is missing or damaged; the slot is refused all the same."
        report(Warn(code="retirement-missing", message=message, path=retired_key(id)))
    own = devices.setdefault(clear.slot_id, _in_use(clear))
    if own.retired_ns is not None:
        raise WrongKey(f"The key slot `{clear.label}` was removed from this repository.", "Use another key.")
    read = read_keys(repository_id, clear.slot_id, secrets, survey.epochs, report)
    if read.newest < seen.epoch:
        raise RolledBack(
            f"The store shows epoch {read.newest} of the read key, and this machine has seen epoch {seen.epoch}.",
            "The store lost or withholds key objects; bring them back before backing up.",
        )
    return Keyring(repository_id, clear, secrets, read, devices)


def _in_use(clear: SlotClear, retired_ns: int | None = None) -> Device:
    method = str(clear.method.__struct_config__.tag)
    return Device(
        clear.slot_id, clear.role, clear.label, clear.device_public, method, clear.created_ns, retired_ns, clear.exchange_public
    )


def _devices(survey: Survey, seen: Seen) -> dict[bytes, Device]:
    gone = survey.retired_ids.union(seen.retired)
    devices = {id: _in_use(clear, 0 if id in gone else None) for id, clear in survey.slots.items()}
    for id, body in survey.retired.items():
        devices[id] = (
            _in_use(survey.slots[id], body.retired_ns)
            if id in survey.slots
            else Device(id, body.role, body.label, body.device_public, "", 0, body.retired_ns)
        )
    return devices
