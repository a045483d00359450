"""The manifest of a share: a small tree of its own, and the keys of just the segments it needs.  ``docs/format/shares.md``.

    magic (8) | share id (16) | manifest id (16) | commitment (32) | length of the root (u32) | sealed root | sealed parts

Trees are never handed out: a folder's stored listing names chunks, owners, and more than a friend has to know.
"""

from __future__ import annotations

import hmac
import struct
from collections.abc import Callable, Sequence
from typing import TypeVar

import msgspec

from safehold.codec import compression, sealing
from safehold.core.entries import DIRECTORY, FILE, SYMLINK
from safehold.core.errors import DamageError, FormatError, WrongKey
from safehold.repo.segments import LIMIT as SEGMENT_LIMIT
from safehold.repo.shares.keys import ShareKey, part_aad

MAGIC = b"SHSHARE1"
HEADER = struct.Struct("<8s16s16s32sI")
LIMIT = 16 * 1024 * 1024
"""No part is larger before it is compressed, nor after."""
PART_TARGET = 1024 * 1024
"""A writer begins another part when one has about so many bytes: it is opened in a few milliseconds."""
MOST_SLICES = 65_536
"""A file of more slices has them in parts of their own, so many in each."""
SLICE = 3
"""Numbers of a slice: segment + 1, offset, length.  Segment 0 stands for zeros."""
MODES = 0o777
"""The permission bits that are shared: nobody gets a set-id program from a stranger."""
MOST_SIZE = (1 << 63) - 1

STORED = 0
"""A segment that lies where the backup put it, and is found by its id."""


class Segment(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A segment that a share may open."""

    id: bytes
    key: bytes
    raw: int
    length: int
    object: int = STORED
    """0: the repository's own; n: the n-th object of this share."""
    offset: int = 0
    """In that object; of the repository's own: in ``pack``, when the share was made."""
    pack: bytes = b""
    """The pack it lay in then, for who fetches from a plain store; else empty."""


class Entry(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One name in a folder.  Content is the slices, one after the other."""

    name: bytes
    kind: int
    mode: int
    mtime_ns: int
    size: int = 0
    slices: list[int] = []
    target: bytes = b""
    holes: list[int] = []
    below: tuple[int, int] | None = None
    """Of a folder: part and number of its node."""
    rest: list[int] = []
    """Of a file of very many slices: the parts that hold them."""


class Node(msgspec.Struct, array_like=True, frozen=True):
    """The entries of one folder, ascending by name; those of a huge one go on in another node."""

    entries: list[Entry] = []
    more: tuple[int, int] | None = None


class Part(msgspec.Struct, array_like=True, frozen=True):
    """A part of the tree, with the segments that its slices count from 0."""

    segments: list[Segment] = []
    nodes: list[Node] = []
    slices: list[int] = []


class PartPlace(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Where a sealed part lies in the manifest."""

    offset: int
    length: int


class Root(msgspec.Struct, array_like=True, frozen=True):
    """What is opened first."""

    share: bytes
    repository: bytes
    name: str
    """Of the shared folder or file; empty: a whole snapshot."""
    taken_ns: int
    """When the backup was made."""
    made_ns: int
    generation: int
    """Counts the manifests of a share that follows the latest backup."""
    entries: int
    """How many there are in all, folders too: a reader takes no more than that ..."""
    size: int
    """... and no more bytes of files than that."""
    part: Part
    """Number 0; its first node is the shared folder, or holds the one file."""
    parts: list[PartPlace] = []
    """Numbers 1 and on."""
    objects: list[tuple[bytes, int]] = []
    """SHA-256 and size of each object of this share that is no manifest."""
    store: str = ""
    """Of a share file: where its repository lies, if segments have to be fetched there."""


_M = TypeVar("_M", Root, Part)


def seal(key: ShareKey, root: Root, parts: Sequence[bytes], random: Callable[[int], bytes]) -> bytes:
    """The manifest object.  ``parts``: encoded; their places are filled in here."""
    manifest = random(16)
    sealed = [_seal_part(key, manifest, number, data) for number, data in enumerate(parts, 1)]
    places, at = [], 0
    for each in sealed:
        places.append(PartPlace(at, len(each)))
        at += len(each)
    top = _seal_part(key, manifest, 0, msgspec.msgpack.encode(msgspec.structs.replace(root, parts=places)))
    header = HEADER.pack(MAGIC, key.share, manifest, key.commitment, len(top))
    return b"".join([header, top, *sealed])


def _seal_part(key: ShareKey, manifest: bytes, number: int, data: bytes) -> bytes:
    packed = compression.pack(data)
    return sealing.aead_seal(key.part_key(manifest, number), sealing.ZERO_NONCE, packed, part_aad(key.share, manifest, number))


Fetch = Callable[[int, int], bytes]
"""(Offset, length) -> those bytes of a manifest object, fewer at its end."""
FIRST = 64 * 1024
"""Bytes that are asked for first: the root of a small share is among them."""


class Manifest:
    """An opened manifest.  Parts are fetched when they are needed."""

    def __init__(self, key: ShareKey, fetch: Fetch) -> None:
        """Raises ``WrongKey`` where the key is another's, ``DamageError`` where anything was changed."""
        begin = fetch(0, FIRST)
        if len(begin) < HEADER.size:
            raise FormatError("The listing of this share is cut off.")
        magic, share, self._id, commitment, length = HEADER.unpack_from(begin)
        if magic != MAGIC or length > LIMIT:
            raise FormatError("This is no listing of a share, or one of a newer kind.")
        if share != key.share or not hmac.compare_digest(commitment, key.commitment):
            raise WrongKey("That key does not open this share.", "Copy the link whole; capitals count, and so does each sign.")
        self._key = key
        self._fetch = fetch
        self._begins = HEADER.size + length
        top = begin[HEADER.size : self._begins]
        top += fetch(HEADER.size + len(top), length - len(top)) if len(top) < length else b""
        self.root = _decode(self._open(0, top), Root)
        if self.root.share != share or len(self.root.repository) != sealing.REPOSITORY_ID_SIZE:
            raise FormatError("The listing of this share names another one.")
        _check_part(self.root.part)

    def part(self, number: int) -> Part:
        """One part.  Raises ``DamageError``."""
        if number == 0:
            return self.root.part
        if not 0 < number <= len(self.root.parts):
            raise FormatError("The listing of this share points outside itself.")
        place = self.root.parts[number - 1]
        if not 0 <= place.length <= LIMIT or place.offset < 0:
            raise FormatError("The listing of this share has a part that cannot be.")
        data = self._fetch(self._begins + place.offset, place.length)
        if len(data) != place.length:
            raise DamageError("The listing of this share is cut off.", "Try again; if it stays so, ask for a new share.")
        part = _decode(self._open(number, data), Part)
        _check_part(part)
        return part

    def _open(self, number: int, sealed: bytes) -> bytes:
        aad = part_aad(self._key.share, self._id, number)
        key = self._key.part_key(self._id, number)
        return compression.unpack(sealing.aead_open(key, sealing.ZERO_NONCE, sealed, aad, "listing of this share"), LIMIT)


def _decode(data: bytes, kind: type[_M]) -> _M:
    try:
        return msgspec.msgpack.decode(data, type=kind)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"The listing of this share cannot be read: {error}.") from error


def _check_part(part: Part) -> None:
    """Raise ``FormatError`` for what no writer makes, before anything is fetched or made by it."""
    for segment in part.segments:
        sound = len(segment.id) == 16 and len(segment.key) == 32 and len(segment.pack) in (0, 32)
        lengths = 0 < segment.raw <= SEGMENT_LIMIT and 0 < segment.length <= SEGMENT_LIMIT + 1024
        if not (sound and lengths and segment.offset >= 0 and segment.object >= 0):
            raise FormatError("The listing of this share names a segment that cannot be.")
    check_slices(part, part.slices)
    for node in part.nodes:
        before = b""
        for entry in node.entries:
            _check_entry(part, entry, before)
            before = entry.name


def _check_entry(part: Part, entry: Entry, before: bytes) -> None:
    name = entry.name
    if name <= before or name in (b".", b"..") or b"/" in name or b"\0" in name:
        raise FormatError(f"The listing of this share holds the name {name!r}, which is not allowed there.")
    if entry.kind not in (FILE, DIRECTORY, SYMLINK) or entry.mode & ~MODES or not -MOST_SIZE <= entry.mtime_ns <= MOST_SIZE:
        raise FormatError(f"The listing of this share has an entry {name!r} that cannot be.")
    if entry.kind == FILE:
        length = check_slices(part, entry.slices)
        if (not entry.rest and length != entry.size) or not 0 <= entry.size <= MOST_SIZE:
            raise FormatError(f"The listing of this share does not have the {entry.size} bytes of {name!r}.")
    _check_holes(entry)


def _check_holes(entry: Entry) -> None:
    at = 0
    for start, length in zip(entry.holes[::2], entry.holes[1::2], strict=False):
        if start < at or length <= 0:
            raise FormatError(f"The listing of this share gives {entry.name!r} holes that cannot be.")
        at = start + length
    if len(entry.holes) % 2 or at > entry.size:
        raise FormatError(f"The listing of this share gives {entry.name!r} holes beyond its end.")


def check_slices(part: Part, slices: Sequence[int]) -> int:
    """How many bytes these slices have together.  Raises ``FormatError`` for any that is not within its segment."""
    if len(slices) % SLICE:
        raise FormatError("The listing of this share holds half a slice.")
    total = 0
    for at in range(0, len(slices), SLICE):
        number, offset, length = slices[at : at + SLICE]
        if offset < 0 or length <= 0 or not 0 <= number <= len(part.segments):
            raise FormatError("The listing of this share points outside itself.")
        if number and offset + length > part.segments[number - 1].raw:
            raise FormatError("The listing of this share points outside a segment.")
        total += length
    return total
