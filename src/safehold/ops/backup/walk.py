"""Walking a folder tree and storing what is new in it.  ``docs/backup.md``.

Depth first, with a stack of its own: a tree may be thousands of levels deep.  In each folder first everything that is no folder,
then the folders, one after the other; a folder's node is stored when all below it is done.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from stat import S_ISDIR, S_ISREG
from typing import Protocol

from safehold.core.entries import DIRECTORY, Entry, Node, Totals
from safehold.core.events import Note, Reporter, Warn
from safehold.ops.backup.capture import AttributesLost, Capture
from safehold.ops.backup.frames import Frame, down_to, fingerprint, is_cache, node_of, parent_of, trees_of
from safehold.ops.backup.memory import Memory, Remembered
from safehold.ops.backup.readers import Readers
from safehold.ops.backup.walk_options import WalkOptions
from safehold.repo import trees
from safehold.repo.writer import ChunkWriter
from safehold.sources.files.exclude import CACHEDIR_TAG
from safehold.sources.files.folders import Folder, Row, Vanished

OPEN_FOLDERS = 256
"""So many folders of the path to where the walk is are kept open; those above are opened again by way of ``..``."""
ALWAYS = 1 << 63


class Previous(Protocol):
    """The same folder in the snapshot before, where no local memory has it."""

    def node(self, tree: bytes) -> Node | None:
        """A node of that snapshot."""


class Walker:
    """Stores folder trees.  Belongs to one thread."""

    def __init__(
        self,
        writer: ChunkWriter,
        capture: Capture,
        memory: Memory,
        options: WalkOptions,
        report: Reporter,
        tick: Callable[[bytes], None],
        previous: Previous | None = None,
        readers: Callable[[], Readers | None] = lambda: None,
    ) -> None:
        """``tick`` is called with a path, often, so that progress can be shown.

        ``readers`` is called when a source has changed and so will have to be read.
        """
        self.counts = capture.counts
        self._writer = writer
        self._capture = capture
        self._memory = memory
        self._options = options
        self._report = report
        self._tick = tick
        self._previous = previous
        self._make_readers = readers
        self._readers: Readers | None = None

    def walk(self, path: bytes, name: bytes, old: bytes | None = None) -> Entry:
        """Store the folder at ``path``; its entry, called ``name``.  Raises ``OSError`` if it cannot be opened.

        ``old``: its tree in the snapshot before, used where there is no local memory of it.
        """
        stack = [Frame(Folder.at(path), name, path, self._old_node(old))]
        top = stack[0]
        self._root_entry: Entry | None = None
        try:
            self._begin(top, None)
            while stack:
                if stack[-1].position < len(stack[-1].folders):
                    self._descend(stack)
                else:
                    self._leave(stack)
                self._collect(wait=False)
            while self._root_entry is None:
                self._collect(wait=True)
            return self._root_entry
        finally:
            for frame in stack:
                frame.folder.close()

    def _leave(self, stack: list[Frame]) -> None:
        """The walk is done with the folder on top."""
        frame = stack[-1]
        frame.waiting -= 1
        self._settle(frame)
        if len(stack) > 1 and stack[-2].folder.fd < 0:
            self._reopen(stack)
        stack.pop()
        frame.left = True
        if not frame.waiting:
            frame.folder.close()

    def _settle(self, frame: Frame) -> None:
        """Store the nodes of a folder and of those above it for which nothing is outstanding."""
        while not frame.waiting:
            parent = frame.parent
            entry = self._end(frame, parent)
            if frame.left:
                frame.folder.close()
            if parent is None:
                self._root_entry = entry
                return
            if entry is not None:
                self._differ(parent, parent.position - 1)
                parent.entries.append(entry)
            parent.waiting -= 1
            frame = parent

    def _collect(self, wait: bool) -> None:
        """Take in what children have read."""
        for frame, read in self._readers.done(wait) if self._readers else ():
            frame.entries += read.entries
            for name in read.others:
                self._replaced(frame, name)
            for name, *why in read.lost:
                self._lost(frame, name, OSError(*why))
            frame.waiting -= 1
            self._settle(frame)

    def single(self, path: bytes, name: bytes, old: Entry | None = None) -> Entry | None:
        """Store what is no folder; its entry, or None if it could not be read, which is told.

        ``old``: its entry in the snapshot before, used where there is no local memory of it.
        """
        frame = Frame(Folder.at(os.path.dirname(path)), b"", os.path.dirname(path), Node([old]) if old else None)
        try:
            frame.key = self._memory.row_key(path)
            frame.remembered = self._memory.get(frame.key)
            self._other(frame, name, frame.folder.look(name), self._known(frame).get(name))
        except Vanished:
            self._lost(frame, name, OSError(errno.ENOENT, "it is gone"))
        finally:
            frame.folder.close()
        if not frame.entries:
            self._memory.forget(frame.key)
            return None
        remembered = Remembered(b"", b"", trees.total(frame.entries), self._still_racy(frame.entries))
        self._memory.put(frame.key, remembered, Node(frame.entries))
        return frame.entries[0]

    def lost(self, path: bytes, error: OSError) -> None:
        """A source as a whole could not be read."""
        self._memory.forget(self._memory.row_key(path))
        self._tell_lost(path, error)

    def _begin(self, frame: Frame, parent: Frame | None) -> None:
        """List the folder, and take in everything of it that is no folder."""
        self._tick(frame.path)
        rows = self._rows(frame)
        frame.key = self._memory.row_key(frame.path)
        frame.fingerprint = fingerprint(frame.stat.st_dev, rows)
        frame.remembered = self._remembered(frame, parent)
        frame.folders = [row for row in rows if S_ISDIR(row[1].st_mode)]
        if self._unchanged(frame):
            frame.same = True
            self._count_unchanged(rows)
            return
        known = self._known(frame)
        frame.known = trees_of(known)
        self._lend(frame, parent)
        before = self._trusted_before(frame)
        for name, stat in rows:
            if not S_ISDIR(stat.st_mode):
                self._take(frame, name, stat, known.get(name), before)
        self._forget_gone(frame, known)

    def _lend(self, frame: Frame, parent: Frame | None) -> None:
        """Find out whether children may read the files of a folder."""
        if parent is None and self._readers is None:
            self._readers = self._make_readers()
        frame.lends = self._readers is not None and (parent is None or parent.lends)

    def _take(self, frame: Frame, name: bytes, stat: os.stat_result, old: Entry | None, before: int) -> None:
        """Take in what is no folder, or have a child do it."""
        if frame.lends and self._readers and self._capture.lendable(stat, old, before):
            self._readers.add(frame, name, stat.st_size, old)
        else:
            self._other(frame, name, stat, old)

    def _remembered(self, frame: Frame, parent: Frame | None) -> Remembered | None:
        """What is remembered of a folder, where the one above agrees.

        A row may be older than the snapshot that the memory mirrors: the folder could not be read then, or was left out.  What
        such a row refers to need not be stored any more.
        """
        found = self._memory.get(frame.key)
        if found is None or parent is None or parent.same or parent.known.get(frame.name) == found.tree:
            return found
        return None

    def _unchanged(self, frame: Frame) -> bool:
        remembered = frame.remembered
        return (
            remembered is not None
            and self._options.trusted
            and not self._options.force
            and remembered.trusted_before == 0
            and remembered.fingerprint == frame.fingerprint
            and not frame.failed
        )

    def _count_unchanged(self, rows: list[Row]) -> None:
        sizes = [stat.st_size for _, stat in rows if S_ISREG(stat.st_mode)]
        self.counts.unchanged += len(sizes)
        self.counts.files += len(sizes)
        self.counts.bytes += sum(sizes)

    def _other(self, frame: Frame, name: bytes, stat: os.stat_result, old: Entry | None) -> None:
        """Take in what is no folder."""
        try:
            frame.entries.append(self._capture.entry(frame.folder, name, stat, old, self._trusted_before(frame)))
        except AttributesLost as error:
            frame.entries.append(error.entry)
            self._lost(frame, name, error)
        except (Vanished, FileNotFoundError):
            self._replaced(frame, name)
        except OSError as error:
            self._lost(frame, name, error)

    def _replaced(self, frame: Frame, name: bytes) -> None:
        """Something is not there any more as it was listed: take in what has its name now, if anything."""
        frame.failed = True
        try:
            stat = frame.folder.look(name)
            if S_ISDIR(stat.st_mode) and not frame.left and all(name != known for known, _ in frame.folders):
                frame.folders.append((name, stat))
                return
            frame.entries.append(self._capture.entry(frame.folder, name, stat, None, 0))
        except Vanished:
            return
        except OSError as error:
            self._lost(frame, name, error)

    def _trusted_before(self, frame: Frame) -> int:
        """Up to which ctime (ns) the known entries of a folder can be relied on."""
        if self._options.force:
            return 0
        if frame.remembered is None:
            return self._options.previous_before
        return frame.remembered.trusted_before or ALWAYS

    def _rows(self, frame: Frame) -> list[Row]:
        try:
            rows, failed = frame.folder.rows()
        except OSError as error:
            self._lost(frame, b"", error)
            return []
        for name, failure in failed:
            self._lost(frame, name, failure)
        if self._options.excluder:
            rows = [row for row in rows if not self._excluded(frame, row)]
        if self._options.exclude_caches and is_cache(frame.folder, rows):
            self.counts.excluded += len(rows) - 1
            rows = [row for row in rows if row[0] == CACHEDIR_TAG]
        return rows

    def _excluded(self, frame: Frame, row: Row) -> bool:
        out = self._options.excluder.excludes(frame.below(row[0]), S_ISDIR(row[1].st_mode))
        self.counts.excluded += out
        return out

    def _known(self, frame: Frame) -> dict[bytes, Entry]:
        """The entries that are remembered of this folder."""
        node = (self._memory.node(frame.key) if frame.remembered else None) or frame.old
        return {entry.name: entry for entry in node.entries} if node else {}

    def _descend(self, stack: list[Frame]) -> None:
        """Open and begin the next folder of the one on top, unless it is left out."""
        frame = stack[-1]
        name, stat = frame.folders[frame.position]
        frame.position += 1
        try:
            child = self._open(frame, name, stat)
        except Vanished:
            self._differ(frame, frame.position - 1)
            self._replaced(frame, name)
            return
        except OSError as error:
            self._lost(frame, name, error)
            child = None
        if child is None:
            frame.failed = True
            self._differ(frame, frame.position - 1)
            return
        child.parent = frame
        frame.waiting += 1
        stack.append(child)
        if len(stack) > OPEN_FOLDERS:
            stack[-1 - OPEN_FOLDERS].folder.close()
        if self._options.devices and child.stat.st_dev not in self._options.devices:
            child.key = self._memory.row_key(child.path)  # a mount point is kept, as an empty folder
        else:
            self._begin(child, frame)

    def _open(self, frame: Frame, name: bytes, stat: os.stat_result) -> Frame | None:
        if (stat.st_dev, stat.st_ino) in self._options.skip:
            self._report(Note(message=f"Left out, since it is Safehold's own: {os.fsdecode(frame.below(name))}"))
            return None
        return Frame(frame.folder.folder(name), name, frame.below(name), self._old_child(frame, name))

    def _differ(self, frame: Frame, finished: int) -> None:
        """A folder whose listing has not changed turns out to need a new node: fill in what is no folder, and so many folders."""
        if frame.same:
            frame.same = False
            known = self._known(frame)
            frame.known = trees_of(known)
            done = {name for name, _ in frame.folders[:finished]}
            frame.entries = [e for e in known.values() if e.kind != DIRECTORY or e.name in done]

    def _reopen(self, stack: list[Frame]) -> None:
        """Open the folder below the top again, which was closed because the walk was deep below it."""
        parent, child = stack[-2:]
        names = [frame.name for frame in stack[1:-1]]
        folder = parent_of(child.folder, parent.stat) or down_to(names, stack[0].path, parent.stat)
        if folder is not None:
            parent.folder = folder
            return
        self._differ(parent, parent.position)
        for name, _ in parent.folders[parent.position :]:
            self._lost(parent, name, _moved())
        parent.folders = parent.folders[: parent.position]

    def _end(self, frame: Frame, parent: Frame | None) -> Entry | None:
        """Store the node of a folder that is done; its entry, or None where the parent's remembered one still holds."""
        if frame.same:
            assert frame.remembered is not None
            tree, totals = frame.remembered.tree, frame.remembered.totals
        else:
            tree, totals = self._store(frame)
            frame.same = frame.remembered is not None and frame.remembered.tree == tree
        if frame.same and parent is not None and parent.same:
            return None
        try:
            if frame.folder.fd < 0:
                raise _moved()
            return self._capture.folder(frame.folder, frame.name, frame.stat, tree, totals)
        except OSError as error:
            self._lost(frame, b"", error)
            if parent is not None:
                parent.failed = True  # its node is the one to look at again
            return self._capture.plain_folder(frame.name, frame.stat, tree, totals)

    def _store(self, frame: Frame) -> tuple[bytes, Totals]:
        node = node_of(frame.entries)
        tree = trees.write_node(self._writer, node)
        totals = trees.total(node.entries)
        remembered = Remembered(b"" if frame.failed else frame.fingerprint, tree, totals, self._still_racy(node.entries))
        if remembered != frame.remembered:
            self._memory.put(frame.key, remembered, node)
        return tree, totals

    def _still_racy(self, entries: list[Entry]) -> int:
        """For ``Remembered.trusted_before``."""
        before = self._options.trusted_before
        return before if any(entry.ctime_ns >= before for entry in entries) else 0

    def _forget_gone(self, frame: Frame, known: dict[bytes, Entry]) -> None:
        """Drop what is remembered of folders that are not here any more, and of all below them."""
        here = {name for name, _ in frame.folders}
        gone = [frame.below(e.name) for e in known.values() if e.kind == DIRECTORY and e.name not in here]
        while gone and frame.remembered is not None:
            path = gone.pop()
            key = self._memory.row_key(path)
            node = self._memory.node(key)
            gone += [path + b"/" + e.name for e in (node.entries if node else []) if e.kind == DIRECTORY]
            self._memory.forget(key)

    def _old_node(self, tree: bytes | None) -> Node | None:
        return self._previous.node(tree) if self._previous is not None and tree is not None else None

    def _old_child(self, frame: Frame, name: bytes) -> Node | None:
        if frame.old is None:
            return None
        entry = next((e for e in frame.old.entries if e.name == name and e.kind == DIRECTORY), None)
        return self._old_node(entry.content) if entry else None

    def _lost(self, frame: Frame, name: bytes, error: OSError) -> None:
        """Something of the source is not in this backup: said, counted, and looked at again next time."""
        frame.failed = True
        self._tell_lost(frame.below(name) if name else frame.path, error)

    def _tell_lost(self, path: bytes, error: OSError) -> None:
        self.counts.errors += 1
        self._report(Warn(code="unreadable", message=f"Could not be read: {error.strerror or error}.", path=os.fsdecode(path)))


def _moved() -> OSError:
    return OSError(errno.ESTALE, "the folder was moved away while it was read")
