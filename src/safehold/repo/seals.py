"""What the opened keys let this program do: name, seal and open, sign and check.  ``docs/format/README.md``.

Everything else asks this one object, so that which key serves what can be read in one place:

- names of chunks: 24 bytes of BLAKE3 keyed with ``derive(id_key, "names" + kind)``, a key per kind, so that no chunk of file
  data can be passed off as a tree;
- segments: AES-256-GCM under ``derive(session key, "segment" + segment id)``, used once, so the nonce is zero;
- tables of segments, index shards, session marks: the same under the index key, which writers hold too;
- session keys: random per session, wrapped to the read public key of the newest epoch.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import msgspec

from safehold.codec import sealing
from safehold.repo.keys.keyring import Keyring

DATA = 1
"""Chunks of file content."""
TREE = 2
"""Encoded directory nodes."""
MAP = 3
"""Chunk lists and page maps of large files."""

ID_SIZE = 24
"""Bytes of a chunk's name.  Only members can make two chunks of one name, and for them it is 2^96 work."""
KIND_NAMES = {DATA: "data", TREE: "tree", MAP: "map"}


class SessionRef(msgspec.Struct, array_like=True, frozen=True):
    """What a stored object says of the session that sealed it."""

    id: bytes
    epoch: int
    wrapped: bytes
    """The session key, sealed to the read public key of ``epoch`` (HPKE)."""


class SessionKey(msgspec.Struct, frozen=True):
    """A session key in the clear, in memory only."""

    ref: SessionRef
    secret: bytes


class Seals:
    """The cryptographic view of a repository that one opened key slot gives."""

    def __init__(self, keyring: Keyring, random: Callable[[int], bytes] = os.urandom) -> None:
        self.keyring = keyring
        self.repository_id = keyring.repository_id
        self.random = random
        self.naming = {kind: sealing.derive(keyring.id_key, b"safehold/1 names " + bytes([kind])) for kind in KIND_NAMES}
        self.chunker_seed = sealing.derive(keyring.id_key, b"safehold/1 chunker", 8)
        self.cache_key = sealing.derive(keyring.device_private, b"safehold/1 local cache")
        self._opened: dict[bytes, bytes] = {}

    @property
    def can_read(self) -> bool:
        """False for a writer: it seals what it cannot open."""
        return bool(self.keyring.epoch_privates)

    def new_session(self) -> SessionKey:
        """A fresh session key, wrapped for readers."""
        secret = self.random(32)
        session_id = self.random(16)
        number, wrapped = self.keyring.wrap_session_key(session_id, secret)
        session = SessionKey(SessionRef(session_id, number, wrapped), secret)
        self._opened[session.ref.id + wrapped] = secret
        return session

    def session_secret(self, ref: SessionRef) -> bytes:
        """The key of a session.  Raises ``NotPermitted`` for a writer (but for its own running session)."""
        name = ref.id + ref.wrapped
        secret = self._opened.get(name)
        if secret is None:
            secret = self._opened[name] = self.keyring.unwrap_session_key(ref.epoch, ref.id, ref.wrapped)
        return secret

    def segment_key(self, secret: bytes, segment_id: bytes) -> bytes:
        """The one-time key of a segment; all that a share needs to hand out."""
        return sealing.derive(secret, b"safehold/1 segment " + segment_id)

    def table_key(self, segment_id: bytes) -> bytes:
        """The one-time key of a segment's table of chunks."""
        return sealing.derive(self.keyring.index_key, b"safehold/1 table " + segment_id)

    def object_key(self, secret: bytes | None, object_id: bytes) -> bytes:
        """The one-time key of a sealed object; ``secret`` is None for those that every member may open."""
        return sealing.derive(secret or self.keyring.index_key, b"safehold/1 object " + object_id)

    def segment_aad(self, what: bytes, kind: int, segment_id: bytes) -> bytes:
        """Associated data that binds a segment (``what`` = b"segment") or its table (b"table") to repository, kind and id."""
        return b"safehold/1 " + what + b"\0" + self.repository_id + bytes([kind]) + segment_id

    def sign(self, what: str, message: bytes) -> bytes:
        """A signature by this device."""
        return self.keyring.sign(what, message)

    def verify(self, what: str, slot_id: bytes, message: bytes, signature: bytes) -> None:
        """Raise ``DamageError`` unless the device of ``slot_id`` signed that."""
        self.keyring.verify(slot_id, what, message, signature)

    def trusts(self, slot_id: bytes) -> bool:
        """Whether chunks this device vouches for may be built upon: its own, and those of proven readers and owners."""
        return slot_id == self.keyring.slot_id or self.is_proven(slot_id)

    def is_proven(self, slot_id: bytes) -> bool:
        """Whether this device is a reader's or an owner's, which may also say that an index shard replaces others."""
        device = self.keyring.devices.get(slot_id)
        return device is not None and device.role != "writer"
