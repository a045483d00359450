"""From the secret of a share, and a password, to its keys.  ``docs/format/shares.md``.

One key, K, opens a share.  From it come the token that is shown to a server, and the keys of its manifests; all are bound to
the share's id, so that nothing of one share can be passed off as another's.
"""

from __future__ import annotations

import hashlib
import hmac

import msgspec

from safehold.codec.passphrase import SALT_SIZE, Cost, Passphrase
from safehold.codec.sealing import derive
from safehold.codec.share_secret import ShareSecret
from safehold.core.errors import UsageError, WrongKey

COST = Cost(64 * 1024, 3, 1)
"""What a share's password is written with: a single lane, for browsers have one thread for it."""


class Lock(msgspec.Struct, array_like=True, frozen=True):
    """What is needed to open a share, and is no secret."""

    salt: bytes
    """16 bytes."""
    secret: bool
    """Whether the secret (of a link, of words, of a key file) takes part in the key."""
    cost: tuple[int, int, int] | None = None
    """Whether a password does, and what a guess costs: memory in KiB, passes, lanes of Argon2id."""

    def check(self) -> None:
        """Raise ``WrongKey`` for a lock that this program never makes.  Costs are checked when they are used."""
        if len(self.salt) != SALT_SIZE or not (self.secret or self.cost):
            raise WrongKey("This share asks for no key at all, or its salt is not right.", "It was damaged or tampered with.")


class ShareKey(msgspec.Struct, frozen=True):
    """K of a share.  Opens it."""

    share: bytes
    key: bytes

    @property
    def auth(self) -> bytes:
        """What is shown to a server as proof of the key; nothing can be opened with it."""
        return derive(self.key, b"safehold/1 share auth " + self.share)

    @property
    def auth_hash(self) -> bytes:
        """What a server keeps of it."""
        return hashlib.sha256(self.auth).digest()

    @property
    def commitment(self) -> bytes:
        """Fixes a manifest to this key: AES-GCM by itself would open under several."""
        return derive(self.key, b"safehold/1 share commitment " + self.share)

    def part_key(self, manifest: bytes, number: int) -> bytes:
        """The one-time key of one part of one manifest."""
        manifest_key = derive(self.key, b"safehold/1 share manifest " + self.share + manifest)
        return derive(manifest_key, b"safehold/1 share part " + number.to_bytes(4, "little"))


def part_aad(share: bytes, manifest: bytes, number: int) -> bytes:
    """Associated data of a sealed part."""
    return b"safehold/1 share part\0" + share + manifest + number.to_bytes(4, "little")


def share_key(share: bytes, lock: Lock, secret: ShareSecret | None, password: str) -> ShareKey:
    """K by HKDF-SHA256, of what the lock asks for.  Raises ``WrongKey``, ``UsageError``, ``FormatError`` for a cheap lock."""
    lock.check()
    if lock.secret and secret is None:
        raise WrongKey("This share is opened by its words or its key file.", "Ask whoever gave it to you.")
    material = secret.value if lock.secret and secret is not None else b""
    if lock.cost is not None:
        if not password:
            raise UsageError("This share has a password.", "Ask whoever gave it to you, by another way than the link came.")
        material += Passphrase(password).stretched(lock.salt, Cost(*lock.cost))
    extracted = hmac.digest(lock.salt, material, "sha256")
    return ShareKey(share, derive(extracted, b"safehold/1 share key " + share))
