"""The Store protocol: what every driver must guarantee.

Guarantees, which ``storage.validation`` checks and every driver states:

- **Keys** are ASCII, ``a-z 0-9 . - /``, at most 200 characters, without an empty part, or one that begins or ends with a dot, or
  ``tmp`` as the first part (``storage.keys``); anything else is refused with ``StoreError`` before it is used.  No key is a
  folder of another: who stores ``a/b`` doesn't store ``a``.
- **Immutable.**  ``put`` and ``Upload.commit`` create an object or raise ``ObjectExists``; nothing ever changes one.
- **Atomic.**  An object is seen whole or not at all, also after a crash at any instant.
- **Durable.**  When ``put`` or ``commit`` returns, or raises ``ObjectExists``, the object survives a loss of power.  Deletions do
  so at the latest when an operation that changes another top folder begins, or ``close`` returns.
- **Ordered.**  What was acknowledged before another operation began is seen by that operation (read-after-write and
  list-after-write), by every client of the store; ``capabilities.consistent_list`` is false where that is not so.  What another
  client has just deleted or quarantined may still be read for a while.
- **Idempotent.**  ``delete`` of what is not there succeeds.  A ``put`` that failed for an unknown reason may be repeated;
  it may then find its own object (``ObjectExists``), which the retry wrapper compares and accepts if equal.
- **Errors.**  ``ObjectMissing``, ``ObjectExists``, ``StoreFull``, ``StoreUnreachable`` (worth another try), else ``StoreError``.
  A listing that cannot be completed raises; it never comes back short.
- **Threads.**  Every method may be called from several threads at once; an ``Upload`` belongs to one thread at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import msgspec

from safehold.core.errors import StoreError

Buffer = bytes | bytearray | memoryview


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a store declares of itself; discovered by nobody through exceptions."""

    consistent_list: bool = True
    can_delete: bool = True
    can_quarantine: bool = True
    local: bool = False
    """Reads cost no round trip worth saving, so no read-ahead and no copy in a local cache."""
    exclusive: bool = True
    """Of those who create one key at the same instant exactly one wins.  False: the store replaces an object when it is told
    to, so it is not append-only; names that are hashes of the content keep a repository right even there."""
    stamps: bool = False
    """``ObjectInfo.modified_ns`` is when the object came, and no client and no copying of the store can make it another time."""
    composes: bool = False
    """Whether it puts packs together of segments that it has (``Composer``)."""
    uploads: int = 1
    """So many commits under way at once are worth while; 1 where a commit takes no round trip."""


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """One line of a listing."""

    key: str
    size: int
    modified_ns: int = 0
    """When the store received it, by the store's own clock; 0 where it doesn't say."""


class Upload(Protocol):
    """An object that is being written and has no name yet."""

    def write(self, data: Buffer) -> None:
        """Append bytes.  They belong to the caller again on return.  After an error the upload can only be aborted."""

    def commit(self, key: str) -> None:
        """Make it durable and visible as ``key``.  Raises ``ObjectExists`` (the upload is then gone)."""

    def abort(self) -> None:
        """Forget it.  Never raises; harmless after ``commit``."""


class Store(Protocol):
    """A flat place of immutable objects."""

    @property
    def capabilities(self) -> Capabilities:
        """What this store can do."""

    @property
    def location(self) -> str:
        """Where it is, as a user would write it, without secrets."""

    def put(self, key: str, data: Buffer) -> None:
        """Store a small object, durably.  Raises ``ObjectExists``."""

    def upload(self) -> Upload:
        """Begin a large object whose name is known only at its end."""

    def get(self, key: str) -> bytes:
        """The whole object.  Raises ``ObjectMissing``."""

    def get_range(self, key: str, offset: int, length: int) -> bytes:
        """Exactly ``length`` bytes from ``offset``; a negative offset counts from the end (then at most ``length`` bytes,
        fewer if the object is shorter: ``data[offset:][:length]``).  Raises ``ObjectMissing``, or
        ``StoreError`` where a positive range passes the end."""

    def size(self, key: str) -> int:
        """The object's size in bytes.  Raises ``ObjectMissing``."""

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Every object whose key starts with ``prefix`` (a folder with its slash, or empty), in no order.
        Quarantined ones are under ``quarantine/``, also when everything is listed."""

    def delete(self, key: str) -> None:
        """Remove an object, if it is there."""

    def quarantine(self, key: str) -> None:
        """Move an object to ``quarantine/KEY`` (with a number behind it if that exists); its bytes are kept."""

    def close(self) -> None:
        """Let go of connections.  The store is not used afterwards."""


class Place(msgspec.Struct, frozen=True):
    """A sealed segment, and its sealed table, in a stored pack."""

    key: str
    offset: int
    length: int
    table_offset: int
    table_length: int
    digest: bytes
    """BLAKE3 of both, one after the other, as the pack's footer says."""


class Composition(msgspec.Struct, frozen=True):
    """A pack to be put together: its header, the segments, their tables, its end.  ``docs/format/packs.md``."""

    kind: int
    segments: list[Place]
    end: bytes
    """Footer and tail."""


@runtime_checkable
class Composer(Protocol):
    """A store that puts packs together without their bytes going over the wire."""

    def compose(self, wanted: Composition) -> str:
        """Store a pack, durably; its key, the SHA-256 of its bytes, also when it is there already.

        Each segment is compared with its digest on the way.  Raises ``StoreError``; then nothing is stored.
        """


def compose_in(store: Store, wanted: Composition) -> str:
    """Have a store put a pack together.  Raises ``StoreError`` where it does not do that."""
    if not isinstance(store, Composer):
        raise StoreError(f"The store {store.location} puts no packs together.")
    return store.compose(wanted)
