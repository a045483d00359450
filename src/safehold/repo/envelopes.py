"""Sealed objects: what snapshots, index shards, session marks and condemnations are wrapped in.  ``docs/format/objects.md``.

    magic (8 bytes) | header length (u32) | header (msgpack) | sealed body | signature (64 bytes)

The body is sealed either for readers (under the key of the session in the header) or for every member (under the index key),
and the whole is signed by the device that made it.  An object is stored under the SHA-256 of its bytes.
"""

from __future__ import annotations

import hashlib
import struct

import msgspec

from safehold.codec import compression, sealing
from safehold.core.errors import DamageError, FormatError
from safehold.repo.keys.keyring import UnknownSigner
from safehold.repo.seals import Seals, SessionKey, SessionRef

MAGIC = b"SHOBJ01\n"
PREFIX = struct.Struct("<8sI")
SIGNATURE = 64
LIMIT = 256 * 1024 * 1024
"""No sealed object's body is larger."""


class Header(msgspec.Struct, array_like=True, frozen=True):
    """The clear part of a sealed object."""

    kind: str
    repository: bytes
    id: bytes
    signer: bytes
    session: SessionRef | None
    """Whose key opens it; None: the index key does."""


class Opened(msgspec.Struct, frozen=True):
    """An object that was opened and whose signature holds."""

    header: Header
    body: bytes


def wrap(seals: Seals, kind: str, body: bytes, session: SessionKey | None = None) -> bytes:
    """The object to store; for readers only if ``session`` is given."""
    object_id = seals.random(16)
    header = msgspec.msgpack.encode(
        Header(kind, seals.repository_id, object_id, seals.keyring.slot_id, session.ref if session else None)
    )
    key = seals.object_key(session.secret if session else None, object_id)
    sealed = sealing.aead_seal(key, sealing.ZERO_NONCE, compression.pack(body), b"safehold/1 object\0" + header)
    whole = PREFIX.pack(MAGIC, len(header)) + header + sealed
    return whole + seals.sign("object", hashlib.sha256(whole).digest())


def parse(kind: str, name: str, data: bytes) -> tuple[Header, bytes, bytes]:
    """Header, encoded header and sealed body; checks the name (SHA-256) and the kind, no keys needed."""
    if hashlib.sha256(data).hexdigest() != name:
        raise DamageError(f"The stored {kind} {name[:8]} is damaged: its bytes do not match its name.")
    magic, length = PREFIX.unpack_from(data) if len(data) >= PREFIX.size + SIGNATURE else (b"", 0)
    if magic != MAGIC or length > len(data) - PREFIX.size - SIGNATURE:
        raise FormatError(f"The stored {kind} {name[:8]} is not a sealed object.")
    encoded = data[PREFIX.size : PREFIX.size + length]
    try:
        header = msgspec.msgpack.decode(encoded, type=Header)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"The header of {kind} {name[:8]} cannot be read: {error}.") from error
    return header, encoded, data[PREFIX.size + length : -SIGNATURE]


def authenticate(seals: Seals, kind: str, name: str, data: bytes, *, orphans: bool = False) -> tuple[Header, bytes, bytes]:
    """What ``parse`` gives, proven to be this repository's and signed by a device of it; a writer can do that, too.

    ``orphans``: an object is taken whose signer's key slot is lost.  Then only the seal vouches for it: some member made it.
    """
    header, encoded, sealed = parse(kind, name, data)
    if header.kind != kind or header.repository != seals.repository_id:
        raise DamageError(f"The stored {kind} {name[:8]} is a {header.kind} of repository {header.repository.hex()[:8]}.")
    try:
        seals.verify("object", header.signer, hashlib.sha256(data[:-SIGNATURE]).digest(), data[-SIGNATURE:])
    except UnknownSigner:
        if not orphans:
            raise
    return header, encoded, sealed


def unwrap(seals: Seals, kind: str, name: str, data: bytes, *, orphans: bool = False) -> Opened:
    """Open a stored object.  Raises ``DamageError`` when bytes, kind, repository, seal or signature are not right."""
    header, encoded, sealed = authenticate(seals, kind, name, data, orphans=orphans)
    secret = seals.session_secret(header.session) if header.session else None
    key = seals.object_key(secret, header.id)
    packed = sealing.aead_open(key, sealing.ZERO_NONCE, sealed, b"safehold/1 object\0" + encoded)
    return Opened(header, compression.unpack(packed, LIMIT))


def name_of(data: bytes) -> str:
    """The name an object is stored under."""
    return hashlib.sha256(data).hexdigest()
