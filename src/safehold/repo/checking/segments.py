"""Looking into packs: the footer against the index, and every byte of a pack against all that vouches for it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import msgspec
from blake3 import blake3

from safehold.core.errors import DamageError, NotPermitted, StoreError
from safehold.repo import packs, segments
from safehold.repo.keys.keyring import UnknownSigner
from safehold.repo.packs import PackTail, SegmentRef
from safehold.repo.seals import ID_SIZE, Seals, SessionRef
from safehold.storage.store import Store

COMPACTED = bytes(16)
"""The signer of a pack that a store without keys has put together."""
MOST = 256 * 1024 * 1024
"""No program that follows the format makes a pack of more bytes; such a one is not read as a whole."""


class Claim(msgspec.Struct, frozen=True):
    """A segment that is said to lie in a pack, and the chunks it is said to hold."""

    number: int
    """In the catalogue; of a pack that no index lists, its place in the footer."""
    id: bytes
    kind: int
    offset: int
    length: int
    session: SessionRef
    chunks: list[tuple[bytes, int, int, int]]
    """Chunk id, offset, length, and the catalogue's row (-1 if there is none)."""

    @staticmethod
    def placed(
        number: int, segment: bytes, kind: int, offset: int, length: int, session: SessionRef, table: Sequence[tuple[bytes, int]]
    ) -> Claim:
        """From the rows of a table, which follow one on the other."""
        chunks = []
        at = 0
        for name, size in table:
            chunks.append((name, at, size, -1))
            at += size
        return Claim(number, segment, kind, offset, length, session, chunks)

    def table(self) -> list[tuple[bytes, int]] | None:
        """The rows of its table; None where the chunks do not follow one on the other, as those of a table do."""
        at = 0
        for _, offset, length, _ in self.chunks:
            if offset != at:
                return None
            at += length
        return [(name, length) for name, _, length, _ in self.chunks]


class Verdict(msgspec.Struct):
    """What became of one pack."""

    pack: bytes
    intact: bool = False
    """Its bytes are those of its name, and its footer is signed."""
    problems: list[str] = []
    """Sentences about the pack, or about what the index says of it; empty: all is well."""
    bad: set[int] = set()
    """Numbers of the segments whose chunks are lost."""
    bad_rows: set[int] = set()
    """Rows of single chunks that are not what their name says."""
    unopened: bool = False
    """Some segments could only be held against their digest: this key does not open them."""
    bytes: int = 0


def read_tail(store: Store, pack_id: bytes) -> PackTail:
    """The footer of a stored pack.  Raises ``DamageError``; store errors worth another try pass."""
    key = packs.key_of(pack_id)
    try:
        return packs.read_tail(store, key)
    except StoreError as error:
        if error.retryable:
            raise
        raise DamageError(f"The end of pack {key} cannot be read: {error}") from error


def footer_problems(seals: Seals, pack_id: bytes, tail: PackTail, claims: Sequence[Claim]) -> list[str]:
    """What a footer says against itself, or against the index."""
    problems = []
    if tail.signer != COMPACTED:
        try:
            seals.verify("pack", tail.signer, tail.encoded, tail.signature)
        except UnknownSigner:
            pass  # a key slot is lost: that is told of the shards it signed, and the pack may be as good as ever
        except DamageError as error:
            problems.append(str(error))
    refs = {(ref.id, ref.offset, ref.length): tail.footer.sessions[ref.session] for ref in tail.footer.segments}
    strange = sum(
        tail.kind != claim.kind or refs.get((claim.id, claim.offset, claim.length)) != claim.session for claim in claims
    )
    if strange:
        problems.append(f"Its footer and the index do not agree about {strange} of its segments.")
    return problems


class Verifier:
    """Reads whole packs.  Safe to use from several threads."""

    def __init__(self, seals: Seals, store: Store) -> None:
        self._seals = seals
        self._store = store

    def verify(self, pack_id: bytes, size: int, claims: Sequence[Claim]) -> Verdict:
        """Every byte of a pack: its name, its footer, and each claimed segment, opened and every chunk's name computed."""
        verdict = Verdict(pack_id, bytes=size)
        data = self._whole(pack_id, size, verdict)
        refs: dict[bytes, SegmentRef] = {}
        try:
            tail = read_tail(self._store, pack_id)
            verdict.intact = data is not None and not verdict.problems and not footer_problems(self._seals, pack_id, tail, ())
            verdict.problems += footer_problems(self._seals, pack_id, tail, claims)
            refs = {ref.id: ref for ref in tail.footer.segments}
        except DamageError as error:
            verdict.problems.append(str(error))
        for claim in claims:
            self._segment(verdict, claim, data, refs.get(claim.id))
        return verdict

    def claims_of(self, pack_id: bytes, tail: PackTail) -> list[Claim]:
        """What a pack claims of itself, by its footer and tables; segments whose table is damaged are left out."""
        found = []
        for number, ref in enumerate(tail.footer.segments):
            try:
                sealed = self._store.get_range(packs.key_of(pack_id), ref.table_offset, ref.table_length)
                table = segments.open_table(self._seals, tail.kind, ref.id, sealed)
            except (DamageError, StoreError):
                continue
            session = tail.footer.sessions[ref.session]
            found.append(Claim.placed(number, ref.id, tail.kind, ref.offset, ref.length, session, table))
        return found

    def body(self, pack_id: bytes, claim: Claim) -> bytes:
        """The sealed bytes of a segment."""
        return self._store.get_range(packs.key_of(pack_id), claim.offset, claim.length)

    def _whole(self, pack_id: bytes, size: int, verdict: Verdict) -> bytes | None:
        if size > MOST:
            verdict.problems.append(f"It has {size} bytes, more than any pack.")
            return None
        try:
            data = self._store.get(packs.key_of(pack_id))
        except StoreError as error:
            if error.retryable:
                raise
            verdict.problems.append(str(error))
            return None
        if hashlib.sha256(data).digest() != pack_id:
            verdict.problems.append("Its bytes do not match its name.")
        return data

    def _segment(self, verdict: Verdict, claim: Claim, data: bytes | None, ref: SegmentRef | None) -> None:
        try:
            body = data[claim.offset : claim.offset + claim.length] if data is not None else self.body(verdict.pack, claim)
        except StoreError as error:
            if error.retryable:
                raise
            self._lose(verdict, claim)
            return
        digest_holds = self._digest_holds(verdict, body, data, ref)
        try:
            self._open(verdict, claim, body)
        except NotPermitted:
            verdict.unopened = True
            if not digest_holds:
                self._lose(verdict, claim)
        except DamageError:
            self._lose(verdict, claim)

    def _lose(self, verdict: Verdict, claim: Claim) -> None:
        verdict.bad.add(claim.number)
        verdict.problems.append(f"Segment {claim.id.hex()[:8]} ({len(claim.chunks)} chunks) is lost.")

    def _digest_holds(self, verdict: Verdict, body: bytes, data: bytes | None, ref: SegmentRef | None) -> bool:
        if ref is None or data is None:
            return False
        table = data[ref.table_offset : ref.table_offset + ref.table_length]
        holds = blake3(body).update(table).digest() == ref.digest
        if not holds:
            verdict.problems.append(f"Segment {ref.id.hex()[:8]} does not have the digest that the footer says.")
        return holds

    def _open(self, verdict: Verdict, claim: Claim, body: bytes) -> None:
        seals = self._seals
        raw = segments.open_body(seals, seals.session_secret(claim.session), claim.kind, claim.id, body)
        key = seals.naming[claim.kind]
        for name, offset, length, row in claim.chunks:
            if blake3(raw[offset : offset + length], key=key).digest(ID_SIZE) != name or offset + length > len(raw):
                verdict.bad_rows.add(row)
