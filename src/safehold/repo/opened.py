"""Snapshots that this device has opened before, so that a listing of thousands opens only the new ones.

A snapshot's name is the SHA-256 of its bytes, so what was in it stays so.  What is kept of one is its body, as it was unsealed,
after its signature was found right; it counts for the stored object of the same name, size and time of change, and for no other.
One that is damaged or exchanged where it is stored, its size and time unchanged, is not noticed here: `check` reads them all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import msgspec

from safehold.core.errors import DamageError, StoreError
from safehold.repo import snapshots
from safehold.repo.batches import Batches
from safehold.repo.seals import Seals
from safehold.repo.snapshots import Stored
from safehold.storage.store import ObjectInfo, Store


class Kept(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What is kept of one."""

    id: bytes
    size: int
    modified_ns: int
    signer: bytes
    body: bytes


class OpenedSnapshots:
    """The snapshots of a repository, opened by one key.  Belongs to one thread."""

    def __init__(self, seals: Seals, store: Store, folder: Path) -> None:
        """``folder``: of the local cache."""
        self._seals = seals
        self._store = store
        self._batches = Batches(seals, folder, "opened")
        self._kept: dict[bytes, Kept] | None = None
        self._new: list[Kept] = []

    def load(self, infos: Iterable[ObjectInfo], damaged: Callable[[str, Exception], None]) -> Iterator[Stored]:
        """Snapshots of a listing, in its order; those that cannot be read go to ``damaged`` instead."""
        for info in infos:
            name = info.key.removeprefix(snapshots.PREFIX)
            try:
                yield self._remembered(name, info) or self._read(name, info)
            except (DamageError, StoreError) as error:
                if error.retryable:
                    raise
                damaged(name, error)

    def save(self, present: Iterable[str]) -> None:
        """Write down what is new.  ``present``: the names of all that are stored; most others are let go."""
        if not self._new:
            return
        kept = self._all()
        wanted = set(map(_id, present))
        if self._batches.crowded or len(kept.keys() - wanted) > len(wanted):
            self._kept = {id: each for id, each in kept.items() if id in wanted}
            self._batches.replace(_encoder.encode(list(self._kept.values())))
        else:
            self._batches.add(_encoder.encode(self._new))
        self._new = []

    def _remembered(self, name: str, info: ObjectInfo) -> Stored | None:
        known = self._all().get(_id(name))
        if known is None or (known.size, known.modified_ns) != (info.size, info.modified_ns):
            return None
        return snapshots.decode(name, known.signer, known.body)

    def _read(self, name: str, info: ObjectInfo) -> Stored:
        opened = snapshots.unseal(self._seals, name, self._store.get(info.key))
        stored = snapshots.decode(name, opened.header.signer, opened.body)
        if stored.signer in self._seals.keyring.devices:  # else nobody has looked at its signature
            made = Kept(_id(name), info.size, info.modified_ns, stored.signer, opened.body)
            self._all()[made.id] = made
            self._new.append(made)
        return stored

    def _all(self) -> dict[bytes, Kept]:
        if self._kept is None:
            self._kept = {each.id: each for each in _decoded(self._batches.read())}
        return self._kept


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list[Kept])


def _decoded(batches: list[bytes]) -> Iterator[Kept]:
    for batch in batches:
        try:
            yield from _decoder.decode(batch)
        except msgspec.MsgspecError:
            continue  # of another version


def _id(name: str) -> bytes:
    try:
        return bytes.fromhex(name)
    except ValueError:
        return b""
