"""The key of an account on a server, to which shares are sealed, and the six words by which two people compare it.

``docs/format/shares.md``, "Given to an account".
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import msgspec

from safehold.codec.recovery import word_list
from safehold.codec.sealing import NONCE_SIZE, aead_open, aead_seal, open_sealed_to, seal_to
from safehold.core.errors import DamageError

WORDS = 6
KEY_INFO = b"safehold/1 account key "
GIFT_INFO = b"safehold/1 share for "


class Gift(msgspec.Struct, frozen=True, array_like=True):
    """What is sealed to whom a share is given."""

    secret: bytes
    """Of its link, 16 bytes."""
    name: str
    """What the owner calls it."""


def words(name: str, public: bytes) -> list[str]:
    """66 bits of SHA-256 over an account's public key (32 bytes) and its name, 11 bits a word."""
    digest = hashlib.sha256(KEY_INFO + public + name.encode()).digest()
    bits = int.from_bytes(digest, "big") >> (256 - 11 * WORDS)
    return [word_list()[bits >> 11 * place & 0x7FF] for place in reversed(range(WORDS))]


def seal_private(wrap: bytes, public: bytes, private: bytes, random: Callable[[int], bytes]) -> bytes:
    """The private key, sealed by the key that the account's password gives: nonce, then AES-256-GCM."""
    nonce = random(NONCE_SIZE)
    return nonce + aead_seal(wrap, nonce, private, KEY_INFO + public)


def open_private(wrap: bytes, public: bytes, sealed: bytes) -> bytes:
    """Undo ``seal_private``.  Raises ``DamageError``."""
    return aead_open(wrap, sealed[:NONCE_SIZE], sealed[NONCE_SIZE:], KEY_INFO + public, "account's key")


def seal_gift(public: bytes, share: bytes, gift: Gift) -> bytes:
    """A gift that only the owner of a public key opens, and for this share only (its id, 16 bytes)."""
    return seal_to(public, GIFT_INFO + share, msgspec.msgpack.encode(gift))


def open_gift(private: bytes, share: bytes, sealed: bytes) -> Gift:
    """Undo ``seal_gift``.  Raises ``DamageError``."""
    try:
        return msgspec.msgpack.decode(open_sealed_to(private, GIFT_INFO + share, sealed), type=Gift)
    except msgspec.DecodeError as error:
        raise DamageError("What was given is not a share.", "Ask for it again.") from error
