"""The ``config`` object: what a repository is.  ``docs/format/config.md``.

Two lines of text: a JSON object, and the admin key's signature over the first line, in hex.  It is written
once, and once more under another name: nothing opens without it.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from safehold.codec import sealing
from safehold.codec.chunker import ChunkerSizes
from safehold.codec.sealing import REPOSITORY_ID_SIZE
from safehold.core.errors import (
    DamageError,
    FormatError,
    ObjectMissing,
    RepositoryMissing,
    RepositoryTooNew,
    SafeholdError,
    StoreError,
)
from safehold.repo.keys.keyring import Keyring
from safehold.storage.store import Store

KEY = "config"
COPY = "config-copy"
KEYS = (KEY, COPY)
VERSION = 1
KNOWN_FEATURES: frozenset[str] = frozenset()
"""Required features this program can work with."""


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """The parameters of a repository."""

    safehold: str = "repository"
    version: int = VERSION
    id: str
    """16 random bytes, in hex."""
    requires: list[str] = []
    """Features without which no program may touch it."""
    chunks: ChunkerSizes = ChunkerSizes()
    pad: bool = False
    """Large chunks are padded (Padme), which hides their lengths at the cost of 1.2 % on a folder of films and pictures."""

    @property
    def repository_id(self) -> bytes:
        return bytes.fromhex(self.id)


class Stored(msgspec.Struct, frozen=True):
    """A config as it is stored.  Whether it is the owner's, ``check`` says."""

    key: str
    config: Config
    data: bytes


def write(store: Store, config: Config, keyring: Keyring) -> None:
    """Store the config, signed, and its copy; the last step of making a repository.  Raises ``ObjectExists``."""
    line = msgspec.json.encode(config)
    signature = sealing.sign(keyring.admin_private(), "config", keyring.repository_id, line)
    for key in KEYS:
        store.put(key, line + b"\n" + signature.hex().encode() + b"\n")


def read(store: Store) -> Stored:
    """The config, or where that cannot be read, its copy.  Raises like ``candidates``."""
    return next(candidates(store))


def candidates(store: Store) -> Iterator[Stored]:
    """What may be the config: of the two copies those that can be read, the second only if it is another.

    Raises ``RepositoryMissing``, ``RepositoryTooNew`` or ``FormatError`` if neither can be read.
    """
    failures: list[SafeholdError] = []
    before: bytes | None = None
    for key in KEYS:
        try:
            found = read_one(store, key)
        except (RepositoryMissing, RepositoryTooNew, FormatError, StoreError) as error:
            if error.retryable:
                raise
            failures.append(error)
            continue
        if found.data != before:
            before = found.data
            yield found
    if before is None:
        raise next((each for each in failures if not isinstance(each, RepositoryMissing)), failures[0])


def is_stored(store: Store, key: str) -> bool:
    """Whether there is an object of that key, be it a damaged one."""
    try:
        store.size(key)
    except ObjectMissing:
        return False
    return True


def read_one(store: Store, key: str) -> Stored:
    """One copy of the config.  Raises ``RepositoryMissing``, ``RepositoryTooNew`` or ``FormatError``."""
    try:
        data = store.get(key)
    except ObjectMissing as error:
        raise RepositoryMissing(f"There is no repository at {store.location}.", "`safehold init` makes one.") from error
    try:
        clear = msgspec.json.decode(data.split(b"\n")[0], type=dict[str, msgspec.Raw])
    except (ValueError, RecursionError) as error:
        raise FormatError(f"The config of {store.location} is not a Safehold repository's: {error}.") from error
    _refuse_newer(store.location, clear)
    try:
        found = msgspec.json.decode(data.split(b"\n")[0], type=Config)
        if len(found.repository_id) != REPOSITORY_ID_SIZE:
            raise ValueError("its id does not have 16 bytes")
    except (ValueError, RecursionError) as error:
        raise FormatError(f"The config of {store.location} cannot be read: {error}.") from error
    return Stored(key, found, data)


def check(data: bytes, keyring: Keyring) -> None:
    """Raise ``DamageError`` unless the owner signed this config."""
    line, _, rest = data.partition(b"\n")
    try:
        signature = bytes.fromhex(rest.strip().decode("ascii"))
    except ValueError as error:
        raise DamageError("The signature of the repository's config cannot be read.") from error
    sealing.verify(keyring.admin_public, "config", keyring.repository_id, line, signature, what="repository's config")


def _refuse_newer(location: str, clear: dict[str, msgspec.Raw]) -> None:
    try:
        version = msgspec.json.decode(clear.get("version", b"0"), type=int)
        requires = msgspec.json.decode(clear.get("requires", b"[]"), type=list[str])
    except (ValueError, RecursionError) as error:
        raise FormatError(f"The config of {location} cannot be read: {error}.") from error
    unknown = sorted(set(requires) - KNOWN_FEATURES)
    if version > VERSION or unknown:
        what = f"format {version}" if version > VERSION else f"the feature {unknown[0]!r}"
        raise RepositoryTooNew(
            f"The repository at {location} uses {what}, which this Safehold does not know.", "Install a newer Safehold."
        )
