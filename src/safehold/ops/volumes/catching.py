"""One drive catches up from another: snapshots come over as they are, with the packs that they need.

All drives of a set have one config and the same keys, so every object of one is good on another, under the same name.  Of a pack
that is mostly needed the bytes are copied, and indexed after they were held against its name, signature and digests
(``repo.adopt``).  What is left over is read and stored anew.  A second walk looks for every chunk in the target's own index
before a snapshot goes over, so that it never names what is not there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator

import msgspec

from safehold.core.entries import DIRECTORY
from safehold.core.errors import ObjectExists, SessionExpired
from safehold.core.events import Progress, silent
from safehold.repo import adopt, condemned, files, packs, snapshots, trees
from safehold.repo.condemned import Condemned
from safehold.repo.contents import chunk_names
from safehold.repo.repository import Repository
from safehold.repo.seals import DATA, TREE
from safehold.repo.sessions import Session
from safehold.repo.snapshots import Stored
from safehold.repo.writer import ALONE, SMALL, ChunkWriter

WORTH_COPYING = 0.5
"""A pack is copied whole if at least this part of it is needed; else what is needed is packed anew."""
SMALL_PACK = 64 << 10
"""Bytes that a pack may always have beside what is needed: footers of small ones are larger than what is in them."""
RELATIVES = 3
"""Of the target so many snapshots of the same sources are looked at first: what is below their trees is there."""
_PIECE = 4 << 20


class CaughtUp(msgspec.Struct, frozen=True):
    """What came over."""

    snapshots: list[str]
    packs: int
    """Copied as they are."""
    bytes: int
    """Stored in the target."""


def lacking(source: Repository, target: Repository, forgotten: Collection[str], taken_back: Collection[str] = ()) -> list[Stored]:
    """The snapshots that the target should have of the source, oldest first.

    What is in the trash of either does not come back, nor what was removed; but what was ``taken_back`` since does.
    """
    marks = target.condemned()
    gone = condemned.trash(marks).keys() | {name for each in marks for name in each.condemned.snapshots}
    gone |= condemned.removed(marks).difference(taken_back)
    have = gone | set(snapshots.names(target.store)) | set(forgotten)
    return source.load_snapshots([name for name in source.snapshot_names() if name not in have])


def catch_up(source: Repository, target: Repository, wanted: list[Stored]) -> CaughtUp:
    """Bring snapshots over.  Interrupted at any moment, what was done counts, and the next time goes on.

    Raises ``DamageError`` where the source cannot be read, store errors.
    """
    if not wanted:
        return CaughtUp([], 0, 0)
    try:
        return _once(source, target, wanted)
    except SessionExpired:
        return _once(source, target, wanted)


def _once(source: Repository, target: Repository, wanted: list[Stored]) -> CaughtUp:
    with target.session("copy") as session:
        target.condemned()
        return _CatchUp(source, target, session).run(wanted)


class _CatchUp:
    def __init__(self, source: Repository, target: Repository, session: Session) -> None:
        self._source = source
        self._target = target
        self._session = session
        self._done: list[str] = []
        self._packs = 0
        self._bytes = 0

    def run(self, wanted: list[Stored]) -> CaughtUp:
        """Snapshot by snapshot, so that each counts as soon as it is whole."""
        self._adopt()
        self._excuse(wanted)
        known: set[bytes] = set()
        for stored in wanted:
            if not known:
                known = self._trees_there(stored)
            self._copy_packs(stored, set(known))
            self._fill_up(stored, known)
            self._put(stored)
            self._target.report(Progress(phase="copy", files=len(self._done), bytes=self._bytes))
        return CaughtUp(self._done, self._packs, self._bytes)

    def _excuse(self, wanted: list[Stored]) -> None:
        """Say on the target that what these were made after does not come: it was forgotten, and is not missing."""
        coming = {each.id for each in wanted} | set(snapshots.names(self._target.store))
        known = coming | condemned.removed(self._target.condemned())
        before = {each.snapshot.previous for each in wanted if each.snapshot.previous} - known
        if before and self._target.keyring.role == "owner":
            mark = Condemned(time_ns=self._target.clock.now_ns(), removed=sorted(before))
            condemned.write(self._target.seals, self._target.store, mark)

    def _trees_there(self, stored: Stored) -> set[bytes]:
        """Trees of the target below which nothing is missing."""
        alike = [
            each
            for each in self._target.visible_snapshots()
            if (each.snapshot.host, each.snapshot.source.paths) == (stored.snapshot.host, stored.snapshot.source.paths)
        ]
        known: set[bytes] = set()
        for each in alike[-RELATIVES:]:
            for _ in walk(self._target, each.snapshot.tree, known):
                continue
        return known

    def _copy_packs(self, stored: Stored, known: set[bytes]) -> None:
        need: Counter[bytes] = Counter()
        seen: set[bytes] = set()
        for _, name, _ in walk(self._source, stored.snapshot.tree, known):
            if name not in seen and not self._target.index.has(name):
                seen.add(name)
                place = self._source.index.find(name)
                if place is not None:
                    need[place.segment.pack] += place.length
        sizes = {pack: size for pack, (size, _) in self._source.index.packs().items()}
        copied = 0
        for pack, needed in need.items():
            # Compressed bytes against bare ones: a pack that is needed less than it seems costs space, no more.
            if pack not in self._target.index.avoid and needed >= min(WORTH_COPYING * sizes[pack], sizes[pack] - SMALL_PACK):
                copied += self._copy_pack(packs.key_of(pack), sizes[pack])
        if copied:
            self._adopt()
        self._packs += copied

    def _adopt(self) -> None:
        """Index what was copied; adopting would tell of an interrupted backup."""
        report, self._target.report = self._target.report, silent
        try:
            adopt.adopt(self._target)
        finally:
            self._target.report = report

    def _copy_pack(self, key: str, size: int) -> int:
        upload = self._target.store.upload()
        try:
            for at in range(0, size, _PIECE):
                upload.write(self._source.store.get_range(key, at, min(_PIECE, size - at)))
            upload.commit(key)
        except ObjectExists:
            return 1
        except BaseException:
            upload.abort()
            raise
        self._bytes += size
        return 1

    def _fill_up(self, stored: Stored, known: set[bytes]) -> None:
        """Whatever of a snapshot is not in the target's index by now is stored there."""
        writer = self._target.writer()
        try:
            for kind, name, large in walk(self._source, stored.snapshot.tree, known):
                if not writer.knows(name):
                    self._add(writer, kind, name, large)
            writer.finish()
        except BaseException:
            writer.abort()
            raise
        self._bytes += writer.added.stored

    def _add(self, writer: ChunkWriter, kind: int, name: bytes, large: bool) -> None:
        writer.add_named(kind, name, self._source.reader.read(kind, name), ALONE if large else SMALL)

    def _put(self, stored: Stored) -> None:
        """The snapshot itself, byte for byte, of a session that is alive before and after."""
        self._session.require_alive()
        key = snapshots.PREFIX + stored.id
        try:
            self._target.store.put(key, self._source.store.get(key))
        except ObjectExists:
            return
        try:
            self._session.require_alive()
        except SessionExpired:
            self._target.store.delete(key)
            raise
        self._done.append(stored.id)


def walk(repository: Repository, root: bytes, known: set[bytes]) -> Iterator[tuple[int, bytes, bool]]:
    """Kind and name of every chunk below a tree, some more than once, and whether it is of a large file.

    Trees in ``known``, and what is below them, are left out; those that were walked are added to it.
    """
    large = repository.config.chunks.large
    stack = [root]
    while stack:
        tree = stack.pop()
        if tree in known:
            continue
        known.add(tree)
        yield TREE, tree, False
        for part in trees.part_ids(repository.reader, tree)[1:]:
            yield TREE, part, False
        for entry in trees.read_node(repository.reader, tree).entries:
            if entry.kind == DIRECTORY:
                stack.append(entry.content)
                continue
            for name in chunk_names(entry):
                yield DATA, name, entry.size >= large
            if entry.more is not None and entry.more.map is not None:
                for kind, name in files.references(repository.reader, entry):
                    yield kind, name, entry.size >= large
