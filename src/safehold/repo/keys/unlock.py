"""From what a person holds to the key that seals a slot."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from typing import NamedTuple

from safehold.codec.keyfile import KeyFile
from safehold.codec.passphrase import SALT_SIZE, STANDARD, Cost, Passphrase
from safehold.codec.recovery import RecoveryKey
from safehold.codec.sealing import KEY_SIZE, ZERO_NONCE, aead_open, derive, domain
from safehold.repo.keys.format import (
    KeyFileMethod,
    Method,
    PassphraseMethod,
    RecoveryMethod,
    SlotBody,
    SlotClear,
    SlotSecrets,
    decode,
    slot_domain,
    slot_key,
)

Credential = Passphrase | KeyFile | RecoveryKey


class SlotKey(NamedTuple):
    """What seals one slot."""

    kek: bytes
    commitment: bytes
    """AES-GCM alone can be made to open under many keys (Len, Grubbs, Ristenpart: Partitioning Oracle Attacks, 2021),
    which lets a store try thousands of passphrases at once.  Against that, a slot names its one key by this."""


def new_method(credential: Credential, random: Callable[[int], bytes]) -> Method:
    """How a slot for ``credential`` is opened; for a passphrase with a fresh salt and the standard cost."""
    match credential:
        case Passphrase():
            return PassphraseMethod(random(SALT_SIZE), *STANDARD)
        case KeyFile():
            return KeyFileMethod()
        case RecoveryKey():
            return RecoveryMethod()


class Unlocker:
    """One credential against the slots of one repository; each salt and cost is stretched once."""

    def __init__(self, repository_id: bytes, credential: Credential) -> None:
        self._repository_id = repository_id
        self._credential = credential
        self._stretched: dict[tuple[bytes, Cost], bytes] = {}

    def fits(self, clear: SlotClear) -> bool:
        """Whether this credential could be the one of that slot."""
        match self._credential:
            case Passphrase():
                return isinstance(clear.method, PassphraseMethod)
            case KeyFile(slot_id=slot_id):
                return isinstance(clear.method, KeyFileMethod) and clear.slot_id == slot_id
            case RecoveryKey():
                return isinstance(clear.method, RecoveryMethod)

    def slot_key(self, slot_id: bytes, method: Method) -> SlotKey:
        """The key that this credential gives for that slot.  Raises ``FormatError`` if Argon2id's cost is forbidden."""
        name = str(method.__struct_config__.tag)
        info = domain(f"kek/{name}", self._repository_id) + slot_id
        both = derive(self._master(method), info, 2 * KEY_SIZE)
        return SlotKey(both[:KEY_SIZE], both[KEY_SIZE:])

    def _master(self, method: Method) -> bytes:
        if not isinstance(self._credential, Passphrase):
            return self._credential.secret
        if not isinstance(method, PassphraseMethod):
            raise ValueError("a passphrase opens no slot of another method")
        cost = Cost(method.memory_kib, method.passes, method.lanes)
        known = self._stretched.get((method.salt, cost))
        if known is None:
            known = self._stretched[method.salt, cost] = self._credential.stretched(method.salt, cost)
        return known

    def open(self, body: SlotBody) -> SlotSecrets | None:
        """The slot's secrets, or None if this credential is not its.

        Raises ``DamageError`` where the key is right and the sealed part is not what was sealed, ``FormatError`` where
        the slot asks for a derivation that is not allowed.
        """
        clear = decode(body.clear, SlotClear, "A key slot's clear part")
        key = self.slot_key(clear.slot_id, clear.method)
        if not hmac.compare_digest(key.commitment, clear.commitment):
            return None
        aad = slot_domain(self._repository_id, body.clear)
        name = slot_key(clear.slot_id)
        return decode(aead_open(key.kek, ZERO_NONCE, body.sealed, aad, f"key slot {name}"), SlotSecrets, name)
