"""The cryptographic primitives of format 1: sealing, deriving, wrapping, signing (``docs/format/keys.md``).

AES-256-GCM, HKDF-SHA256, X25519 and Ed25519 are what every browser has natively.  Nothing here chooses a key, a nonce
or a name; everything that is sealed or signed is bound to its kind and its repository by ``domain``.
"""

from __future__ import annotations

import hmac
from functools import cache

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from safehold.core.errors import DamageError, FormatError

Buffer = bytes | bytearray | memoryview

KEY_SIZE = 32
NONCE_SIZE = 12
TAG_SIZE = 16
SIGNATURE_SIZE = 64
WRAPPED_KEY_SIZE = 80
"""HPKE's encapsulated key (32), the key (32) and the tag (16)."""
REPOSITORY_ID_SIZE = 16

ZERO_NONCE = bytes(NONCE_SIZE)
"""For keys that seal exactly one message."""


def domain(kind: str, repository_id: bytes) -> bytes:
    """What stands before everything signed or bound: ``safehold/1/KIND``, a zero byte, the repository id (16 bytes)."""
    if len(repository_id) != REPOSITORY_ID_SIZE:
        raise FormatError(f"A repository id has {REPOSITORY_ID_SIZE} bytes, this one has {len(repository_id)}.")
    return b"safehold/1/" + kind.encode("ascii") + b"\0" + repository_id


def derive(key: bytes, info: bytes, length: int = KEY_SIZE) -> bytes:
    """HKDF-Expand with SHA-256 (RFC 5869, section 2.3): ``length`` bytes, at most 8160, from a random ``key``."""
    block = hmac.digest(key, info + b"\x01", "sha256")
    if length <= len(block):
        return block[:length]
    if length > 255 * len(block):
        raise ValueError("HKDF-SHA256 gives at most 8160 bytes")
    out = block
    counter = 2
    while len(out) < length:
        block = hmac.digest(key, block + info + bytes([counter]), "sha256")
        out += block
        counter += 1
    return out[:length]


def aead_seal(key: bytes, nonce: bytes, plaintext: Buffer, aad: Buffer) -> bytes:
    """AES-256-GCM: the ciphertext with its 16-byte tag.  No (``key``, ``nonce``) pair may be used twice."""
    return AESGCM(key).encrypt(nonce, plaintext, aad)


def aead_open(key: bytes, nonce: bytes, sealed: Buffer, aad: Buffer, what: str = "sealed data") -> bytes:
    """Undo ``aead_seal``.  Raises ``DamageError``, naming ``what``, where anything differs by one bit."""
    try:
        return AESGCM(key).decrypt(nonce, sealed, aad)
    except InvalidTag:
        raise DamageError(
            f"The {what} is not what was sealed.",
            "It was damaged or exchanged where it is stored; run `safehold check`.",
        ) from None


@cache
def _suite() -> hpke.Suite:
    return hpke.Suite(hpke.KEM.X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)


def wrap_key(public: bytes, kind: str, repository_id: bytes, context: bytes, key: bytes) -> bytes:
    """Seal ``key`` (32 bytes) to an X25519 public key: HPKE base mode (RFC 9180), 80 bytes, different at every call.

    HPKE's ``info`` is ``domain(kind, repository_id) + context``; the associated data are empty.
    """
    try:
        return _suite().encrypt(key, X25519PublicKey.from_public_bytes(public), domain(kind, repository_id) + context)
    except ValueError:
        raise FormatError("A public key of this repository is no usable X25519 key.") from None


def unwrap_key(private: bytes, kind: str, repository_id: bytes, context: bytes, wrapped: bytes) -> bytes:
    """Undo ``wrap_key``.  Raises ``DamageError`` where key, kind, repository, context or bytes differ."""
    try:
        key = _suite().decrypt(wrapped, X25519PrivateKey.from_private_bytes(private), domain(kind, repository_id) + context)
    except (InvalidTag, ValueError):
        raise DamageError(f"A wrapped {kind} key is not what was wrapped.", "Run `safehold check`.") from None
    if len(key) != KEY_SIZE:
        raise FormatError(f"A wrapped {kind} key has {len(key)} bytes instead of {KEY_SIZE}.")
    return key


def seal_to(public: bytes, info: bytes, message: bytes) -> bytes:
    """Seal any ``message`` to an X25519 public key, with the same suite: 48 bytes more than it.  Raises ``FormatError``."""
    try:
        return _suite().encrypt(message, X25519PublicKey.from_public_bytes(public), info)
    except ValueError:
        raise FormatError("A public key is no usable X25519 key.") from None


def open_sealed_to(private: bytes, info: bytes, sealed: bytes) -> bytes:
    """Undo ``seal_to``.  Raises ``DamageError`` where key, info or bytes differ."""
    try:
        return _suite().decrypt(sealed, X25519PrivateKey.from_private_bytes(private), info)
    except (InvalidTag, ValueError):
        raise DamageError("What was sealed for this key is not what was sealed.", "Ask for it again.") from None


def sign(private: bytes, kind: str, repository_id: bytes, message: Buffer) -> bytes:
    """Ed25519 signature (64 bytes) over ``domain(kind, repository_id) + message``."""
    return Ed25519PrivateKey.from_private_bytes(private).sign(domain(kind, repository_id) + message)


def verify(public: bytes, kind: str, repository_id: bytes, message: Buffer, signature: bytes, *, what: str = "object") -> None:
    """Raise ``DamageError``, naming ``what``, unless ``signature`` is ``sign``'s by the owner of ``public``."""
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, domain(kind, repository_id) + message)
    except (InvalidSignature, ValueError):
        raise DamageError(
            f"The signature of the {what} is wrong.", "Somebody without the right key made or changed it."
        ) from None


def exchange_public(private: bytes) -> bytes:
    """The X25519 public key of a private one, raw, 32 bytes."""
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def signing_public(private: bytes) -> bytes:
    """The Ed25519 public key of a private one, raw, 32 bytes."""
    return Ed25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()
