"""Walking the trees of snapshots: each tree once, however many snapshots hold it, and all that they refer to.

What lies below a tree and is whole is remembered as one mark in the catalogue.  Only hurt trees are remembered as objects,
so that the paths of lost files can be told for each snapshot without reading anything again.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import numpy as np
from blake3 import blake3

from safehold.core.entries import DIRECTORY, FILE, Entry, Node
from safehold.core.errors import DamageError, FormatError
from safehold.repo import contents, files, packs, paged, trees
from safehold.repo.catalog import Catalog
from safehold.repo.checking.findings import NO_INDEX, Findings
from safehold.repo.paged import BLOCK, GROUP, PageMap, encode_group
from safehold.repo.reader import ChunkReader
from safehold.repo.seals import DATA, ID_SIZE, MAP, TREE

BATCH = 16_384
"""Chunks of one file that are looked up together."""

Causes = tuple[str, ...]
"""Keys of damaged objects, ``NO_INDEX`` among them for chunks that no index lists."""


class _Unread(DamageError):
    """A chunk could not be read, as against: what it holds makes no sense."""


class Hurt(msgspec.Struct):
    """A tree below which something is lost."""

    lost: Causes = ()
    """Why its own listing, or a part of it, is lost."""
    files: dict[bytes, Causes] = {}
    folders: dict[bytes, bytes] = {}
    """Folders below which something is lost: name -> tree."""


class _Frame(msgspec.Struct):
    tree: bytes
    hurt: Hurt
    todo: list[bytes]
    """Trees below it that have not been looked at."""
    folders: list[tuple[bytes, bytes]]


class TreeWalk:
    """Belongs to one thread."""

    def __init__(self, reader: ChunkReader, catalog: Catalog, findings: Findings, *, digests: bool = False) -> None:
        """``digests``: read the blocks of paged files that are put together from pieces, and hold them against their digests."""
        self.hurt: dict[bytes, Hurt] = {}
        """Tree id -> what is lost there."""
        self.trees = 0
        self._reader = reader
        self._catalog = catalog
        self._findings = findings
        self._digests = digests
        self._proven: set[bytes] = set()
        """Marks of blocks that are what their digests say."""
        self._open: set[bytes] = set()

    def examine(self, tree: bytes) -> bool:
        """Look at a tree and all below it; whether everything is there."""
        stack: list[_Frame] = []
        if not self._is_known(tree):
            self._enter(tree, stack)
        while stack:
            frame = stack[-1]
            if frame.todo:
                child = frame.todo.pop()
                if not self._is_known(child) and child not in self._open:
                    self._enter(child, stack)
                continue
            stack.pop()
            self._leave(frame)
        return tree not in self.hurt

    def lost_paths(self, tree: bytes) -> Iterator[tuple[bytes, Causes]]:
        """Every path below a tree that is lost, and why."""
        waiting = [(b"/", tree)] if tree in self.hurt else []
        while waiting:
            path, here = waiting.pop()
            hurt = self.hurt[here]
            if hurt.lost:
                yield path, hurt.lost
            for name, causes in sorted(hurt.files.items()):
                yield path + name, causes
            waiting += [(path + name + b"/", below) for name, below in sorted(hurt.folders.items(), reverse=True)]

    def _is_known(self, tree: bytes) -> bool:
        if tree in self.hurt:
            return True
        if len(tree) != ID_SIZE:
            return False
        row = self._catalog.find_one(tree, TREE)
        return row >= 0 and bool(self._catalog.whole[row])

    def _enter(self, tree: bytes, stack: list[_Frame]) -> None:
        self.trees += 1
        hurt = Hurt()
        entries = self._entries(tree, hurt)
        self._look_up(tree, [e for e in entries if e.kind == FILE], hurt)
        folders = [(e.name, e.content) for e in entries if e.kind == DIRECTORY]
        self._open.add(tree)
        stack.append(_Frame(tree, hurt, self._unknown([below for _, below in folders]), folders))

    def _leave(self, frame: _Frame) -> None:
        hurt = frame.hurt
        self._open.discard(frame.tree)
        hurt.folders = {name: below for name, below in frame.folders if below in self.hurt}
        for name, below in frame.folders:
            if below in self._open:  # cannot be made without breaking BLAKE3
                hurt.files[name + b"/"] = (self._refuse(TREE, below, FormatError("A folder contains itself.")),)
        if hurt.lost or hurt.files or hurt.folders:
            self.hurt[frame.tree] = hurt
        else:
            self._catalog.whole[self._catalog.find_one(frame.tree, TREE)] = True

    def _unknown(self, below: list[bytes]) -> list[bytes]:
        """Those trees that have to be looked at."""
        sound = [tree for tree in below if len(tree) == ID_SIZE]
        rows = self._catalog.find(b"".join(sound), TREE)
        known = (rows >= 0) & self._catalog.whole[rows] if len(self._catalog.whole) else rows >= 0
        odd = [tree for tree in below if len(tree) != ID_SIZE]
        return odd + [tree for tree, done in zip(sound, known, strict=True) if not done and tree not in self.hurt]

    def _entries(self, tree: bytes, hurt: Hurt) -> list[Entry]:
        """The entries of a tree, of as many of its parts as can be read."""
        node = self._node(tree, hurt)
        if node is None:
            return []
        parts = [self._node(part, hurt) for part in node.parts]
        try:
            return trees.joined(node, [part for part in parts if part is not None]).entries
        except DamageError as error:
            hurt.lost += (self._refuse(TREE, tree, error),)
            return []

    def _node(self, name: bytes, hurt: Hurt) -> Node | None:
        try:
            data = self._read(TREE, name)
        except DamageError as error:
            hurt.lost += self._causes(TREE, name, error)
            return None
        try:
            return trees.decode_node(data)
        except DamageError as error:
            hurt.lost += (self._refuse(TREE, name, error),)
            return None

    def _look_up(self, tree: bytes, entries: list[Entry], hurt: Hurt) -> None:
        """Look up what the files of one folder consist of, all at once; one by one only if something is not right."""
        plain = [entry for entry in entries if entry.more is None or entry.more.map is None]
        if not self._all_fit(plain):
            for entry in plain:
                self._note(hurt, entry, self._missing(entry.content) or self._misfit(tree, entry))
        for entry in entries:
            if entry.more is not None and entry.more.map is not None:
                self._note(hurt, entry, self._map_missing(entry, entry.more.map))

    def _note(self, hurt: Hurt, entry: Entry, causes: Causes) -> None:
        if causes:
            hurt.files[entry.name] = causes

    def _all_fit(self, plain: list[Entry]) -> bool:
        """Whether all chunks that these files list are there, and have as many bytes together as each file should."""
        if any(len(entry.content) % ID_SIZE for entry in plain):
            return False
        rows = self._catalog.find(b"".join([entry.content for entry in plain]), DATA)
        if (rows < 0).any():
            return False
        try:
            sizes = [e.size if e.more is None or not e.more.holes else files.stored_size(e) for e in plain]
        except FormatError:
            return False
        before = np.append(np.int64(0), np.cumsum(self._catalog.row_length[rows], dtype=np.int64))
        ends = np.cumsum([len(entry.content) // ID_SIZE for entry in plain], dtype=np.int64)
        found = np.diff(before[ends], prepend=0)
        return bool(found.tolist() == sizes)

    def _misfit(self, tree: bytes, entry: Entry) -> Causes:
        """Why a file whose chunks are all there cannot be restored: it is not as long as they are.

        The index is asked again, since it prefers a trusted device's word: a writer's shard may say anything of their lengths.
        """
        try:
            found = sum(self._reader.length(name) for name in contents.chunk_names(entry))
            if found == files.stored_size(entry):
                return ()
        except DamageError as error:
            return (self._refuse(TREE, tree, error),)
        message = f"The chunks of {entry.name!r} have {found} bytes, which is not what its entry says."
        return (self._refuse(TREE, tree, FormatError(message)),)

    def _missing(self, names: bytes, kind: int = DATA) -> Causes:
        if len(names) % ID_SIZE:
            return (self._blame(NO_INDEX, "A file does not list whole chunk ids."),)
        rows = self._catalog.find(names, kind)
        lost = [names[at * ID_SIZE :][:ID_SIZE] for at in (rows < 0).nonzero()[0]]
        return tuple(dict.fromkeys(cause for name in lost for cause in self._causes(kind, name, None)))

    def _map_missing(self, entry: Entry, top: bytes) -> Causes:
        """Why a file with a map cannot be restored whole."""
        row = self._catalog.find_one(top, MAP) if len(top) == ID_SIZE else -1
        if row >= 0 and self._catalog.whole[row]:
            return self._other_size(entry, top)
        causes = self._mapped_missing(entry, top)
        if not causes:
            causes = self._other_size(entry, top) or self._other_blocks(entry)
            self._catalog.whole[row] = not causes
        return tuple(dict.fromkeys(causes))

    def _other_size(self, entry: Entry, top: bytes) -> Causes:
        try:
            files.require_size(self._reader, entry, top)
        except DamageError as error:
            return (self._refuse(MAP, top, error),)
        return ()

    def _other_blocks(self, entry: Entry) -> Causes:
        """Maps of a paged file that make another block of what is stored than was captured."""
        if not self._digests or entry.more is None or not entry.more.paged:
            return ()
        causes: Causes = ()
        pages = PageMap(self._reader, entry)
        for offset, block in pages.blocks():
            mark = blake3(encode_group([block])).digest(16)
            if not block.digest or [extent.chunk for extent in block.extents] == [block.digest] or mark in self._proven:
                continue  # nothing to prove, or proven by the name of the one chunk
            try:
                pages.read(offset, BLOCK)
                self._proven.add(mark)
            except DamageError as error:
                causes += (self._refuse(MAP, pages.groups[offset // BLOCK // GROUP][0], error),)
        return causes

    def _mapped_missing(self, entry: Entry, top: bytes) -> Causes:
        """Look up all that the maps of a file name, whichever sort they are of."""
        causes: Causes = ()
        waiting: dict[int, list[paged.Claim]] = {DATA: [], MAP: []}
        last = b""
        try:
            for claim in files.mapped(self._reader, entry, top):
                last = claim[1] if claim[0] == MAP else last
                waiting[claim[0]].append(claim)
                if len(waiting[claim[0]]) >= BATCH:
                    causes += self._claimed_missing(top, waiting[claim[0]])
                    waiting[claim[0]].clear()
        except DamageError as error:
            causes += self._map_causes(last, error)
        for claims in waiting.values():
            causes += self._claimed_missing(top, claims)
        return causes

    def _claimed_missing(self, top: bytes, claims: list[paged.Claim]) -> Causes:
        """Chunks of one kind that are not there, or are not as long as the maps below ``top`` say."""
        if any(len(name) != ID_SIZE for _, name, _, _ in claims):
            return (self._blame(NO_INDEX, "A file does not list whole chunk ids."),)
        if not claims:
            return ()
        kind = claims[0][0]
        names = b"".join([name for _, name, _, _ in claims])
        causes = self._missing(names, kind)
        if causes:
            return causes
        lengths = self._catalog.row_length[self._catalog.find(names, kind)].tolist()
        for length, (_, name, least, most) in zip(lengths, claims, strict=True):
            if not least <= length <= most and not least <= self._reader.length(name) <= most:
                message = "A chunk of a file does not have the length that the file's map says."
                return (self._refuse(MAP, top, FormatError(message)),)
        return ()

    def _map_causes(self, name: bytes, error: DamageError) -> Causes:
        """Why a map is of no use: it cannot be read, or it can and makes no sense."""
        try:
            self._read(MAP, name)
        except _Unread as unread:
            return self._causes(MAP, name, unread)
        return (self._refuse(MAP, name, error),)

    def _read(self, kind: int, name: bytes) -> bytes:
        if len(name) != ID_SIZE:
            raise _Unread("A tree refers to something that is no chunk id.")
        if self._catalog.find_one(name, kind) < 0:
            raise _Unread("It is in no index, or only in damaged packs.")
        try:
            return self._reader.read(kind, name)
        except DamageError as error:
            raise _Unread(str(error)) from error

    def _causes(self, kind: int, name: bytes, error: DamageError | None) -> Causes:
        """The objects to blame for a chunk that is lost."""
        row = self._catalog.find_one(name, kind) if len(name) == ID_SIZE else -1
        if row >= 0 and error is not None:
            return (self._blame_row(row, error),)
        keys = [packs.key_of(pack) for pack in self._catalog.listed_in(name)] if len(name) == ID_SIZE else []
        blamed = [key for key in keys if self._findings.is_blamed(key)]
        if blamed:
            return tuple(blamed)
        if keys:
            return (self._blame(keys[0], "It does not hold what the index says."),)
        return (self._blame(NO_INDEX, "Snapshots refer to data that no index lists."),)

    def _blame_row(self, row: int, error: DamageError) -> str:
        """What the index promised could not be read: from here on that segment counts as lost."""
        self._catalog.mark_segment(int(self._catalog.row_segment[row]))
        return self._blame(packs.key_of(self._catalog.pack_of_row(row)), str(error))

    def _refuse(self, kind: int, name: bytes, error: DamageError) -> str:
        """A chunk is what was stored, and makes no sense: its maker is to blame, and its neighbours are well."""
        row = self._catalog.find_one(name, kind)
        key = f"{packs.key_of(self._catalog.pack_of_row(row))}#{name.hex()}"
        if not self._findings.is_blamed(key):
            self._findings.add("tree-refused", key, str(error))
        return key

    def _blame(self, key: str, message: str) -> str:
        if not self._findings.is_blamed(key):
            self._findings.add("chunk-missing" if key == NO_INDEX else "pack-damaged", key, message)
        return key
