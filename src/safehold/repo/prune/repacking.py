"""Moving what is in use out of sparse packs.

A segment that is wholly in use is moved as it is, still sealed.  One that is partly in use is opened, and its chunks in use,
proven by their names, are sealed again in new segments.  Every new pack lists the prune's own session, so that it is never the
same as one of the old, which go.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import msgspec
from blake3 import blake3

from safehold.core.errors import DamageError, FormatError, ObjectMissing, StoreError
from safehold.repo.composed import ComposedPack, Stored
from safehold.repo.packs import TARGET as PACK_TARGET
from safehold.repo.packs import PackBuilder, PackRecord, PackTail, SegmentRef, key_of, read_tail
from safehold.repo.prune.model import PackUse
from safehold.repo.repository import Repository
from safehold.repo.seals import ID_SIZE, SessionRef
from safehold.repo.segments import TARGET as SEGMENT_TARGET
from safehold.repo.segments import SealedSegment, Sealer, open_body, open_table
from safehold.repo.writer import PAGES_LEVEL


class Moved(msgspec.Struct, frozen=True):
    """A new pack, and whose word its entries rest on (empty: a reader's or owner's)."""

    voucher: bytes
    record: PackRecord


class _Part(NamedTuple):
    """A segment of a stored pack, its sealed and its opened table, and the names in it that are to be kept."""

    segment: SegmentRef
    table: bytes
    chunks: list[tuple[bytes, int]]
    wanted: set[bytes]


class _Rest(msgspec.Struct):
    """Chunks out of opened segments that wait to become a segment."""

    names: list[bytes] = []
    pieces: list[bytes | memoryview] = []
    size: int = 0


@contextmanager
def _packing_again(key: str) -> Iterator[None]:
    """Say of which pack something is not right.  Others that wait to be put together are named in their turn."""
    try:
        yield
    except (DamageError, ObjectMissing) as error:
        raise DamageError(
            f"Pack {key.rpartition('/')[2][:8]} cannot be packed again, so nothing was deleted: {error}",
            "Run `safehold check`, then `safehold repair`, then prune again.",
        ) from error


class Repacker:
    """Writes new packs from parts of old ones.  Belongs to one thread."""

    def __init__(self, repository: Repository, shared: Collection[bytes] = ()) -> None:
        """``shared``: ids of segments that are moved as they are, whatever is in use of them."""
        self._shared = shared
        self.moved: list[Moved] = []
        """The new packs that are stored."""
        self._repository = repository
        self._seals = repository.seals
        self._sealer = Sealer(repository.seals, repository.seals.new_session(), pad=repository.config.pad, columns=PAGES_LEVEL)
        self._open: dict[tuple[int, bytes], PackBuilder] = {}
        self._composed: dict[tuple[int, bytes], ComposedPack] = {}
        self._composes = repository.store.capabilities.composes
        self._rests: dict[int, _Rest] = {}

    def move(self, use: PackUse, live: set[bytes]) -> None:
        """Move the chunks ``live`` of a pack.  Raises ``DamageError`` when this or an earlier one lacks what it should hold."""
        key = key_of(use.id)
        with _packing_again(key):
            tail = read_tail(self._repository.store, key)
            parts = self._parts(key, tail, live)
        for part in parts:
            self._move_segment(key, tail, part, use.voucher)

    def _parts(self, key: str, tail: PackTail, live: set[bytes]) -> list[_Part]:
        parts, left = [], set(live)
        for segment in tail.footer.segments:
            table = self._repository.store.get_range(key, segment.table_offset, segment.table_length)
            chunks = open_table(self._seals, tail.kind, segment.id, table)
            names = {name for name, _ in chunks}
            wanted = names if segment.id in self._shared else left & names
            left -= wanted
            if wanted:
                parts.append(_Part(segment, table, chunks, wanted))
        if left:
            raise DamageError("It does not hold all that the index says it does.")
        return parts

    def finish(self) -> list[Moved]:
        """Every new pack, all of them durable when this returns."""
        for kind in list(self._rests):
            self._seal_rest(kind)
        for place in list(self._composed):
            self._compose(place)
        for place in list(self._open):
            self._close(place)
        return self.moved

    def abort(self) -> None:
        """Forget what is not stored yet."""
        for builder in self._open.values():
            builder.abort()
        self._open.clear()
        self._composed.clear()

    def _move_segment(self, key: str, tail: PackTail, part: _Part, voucher: bytes) -> None:
        segment, table, chunks, wanted = part
        session = tail.footer.sessions[segment.session]
        whole = len(wanted) == len({name for name, _ in chunks})
        if whole and self._composes:
            self._add((tail.kind, voucher), Stored(key, segment, session, chunks))
            return
        with _packing_again(key):
            body = self._body(key, segment, table)
            found = {} if whole else self._proven(tail.kind, session, part, body)
        if whole:
            self._append(SealedSegment(segment.id, tail.kind, session, body, table, chunks), voucher)
        for name, piece in found.items():
            self._keep(tail.kind, name, piece)

    def _proven(self, kind: int, session: SessionRef, part: _Part, body: bytes) -> dict[bytes, memoryview]:
        """Name -> chunk, of those to be kept, as they lie.  Raises ``DamageError`` if one is not what its name says."""
        raw = memoryview(open_body(self._seals, self._seals.session_secret(session), kind, part.segment.id, body))
        found, at = {}, 0
        for name, length in part.chunks:
            if name in part.wanted:
                found[name] = raw[at : at + length]
                if blake3(found[name], key=self._seals.naming[kind]).digest(ID_SIZE) != name:
                    raise DamageError(f"Chunk {name.hex()[:8]} is not what was stored.")
            at += length
        return found

    def _body(self, key: str, segment: SegmentRef, table: bytes) -> bytes:
        body = self._repository.store.get_range(key, segment.offset, segment.length)
        if blake3(body).update(table).digest() != segment.digest:
            raise DamageError(f"Its segment at {segment.offset} is damaged.")
        return body

    def _add(self, place: tuple[int, bytes], part: Stored) -> None:
        pack = self._composed.setdefault(place, ComposedPack(self._seals, place[0], self._sealer.session.ref))
        pack.append(part)
        if pack.size >= PACK_TARGET:
            self._compose(place)

    def _compose(self, place: tuple[int, bytes]) -> None:
        """Have the store put a pack together; if it doesn't, move its segments over the wire."""
        pack = self._composed.pop(place)
        try:
            self.moved.append(Moved(place[1], pack.finish(self._repository.store)))
        except (StoreError, FormatError) as error:
            if isinstance(error, StoreError) and error.retryable:
                raise
            for each in pack.parts:
                segment = each.segment
                with _packing_again(each.key):
                    table = self._repository.store.get_range(each.key, segment.table_offset, segment.table_length)
                    body = self._body(each.key, segment, table)
                self._append(SealedSegment(segment.id, pack.kind, each.session, body, table, each.chunks), place[1])

    def _keep(self, kind: int, name: bytes, piece: memoryview) -> None:
        rest = self._rests.setdefault(kind, _Rest())
        rest.names.append(name)
        rest.pieces.append(bytes(piece))
        rest.size += len(piece)
        if rest.size >= SEGMENT_TARGET:
            self._seal_rest(kind)

    def _seal_rest(self, kind: int) -> None:
        rest = self._rests.pop(kind)
        # Each chunk was compared with its name, so that no writer's word is needed any more.
        self._append(self._sealer.seal(kind, rest.names, rest.pieces), b"")

    def _append(self, segment: SealedSegment, voucher: bytes) -> None:
        place = (segment.kind, voucher)
        builder = self._open.get(place)
        if builder is None:
            builder = self._open[place] = PackBuilder(
                self._seals, self._repository.store.upload(), segment.kind, self._sealer.session.ref
            )
        builder.append(segment)
        if builder.size >= PACK_TARGET:
            self._close(place)

    def _close(self, place: tuple[int, bytes]) -> None:
        self.moved.append(Moved(place[1], self._open.pop(place).finish()))
