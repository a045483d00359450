"""Restoring: a snapshot, or a part of it, into a folder.  ``docs/restore.md``.

One thread walks the snapshot's trees and makes folders; others, or child processes, fetch what lies in them and place it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from safehold.core.entries import DIRECTORY, FILE, Entry, Node
from safehold.core.errors import DamageError, TargetError
from safehold.core.events import Event, Progress, Reporter, Warn
from safehold.ops.lending import Told
from safehold.ops.placing import Work
from safehold.ops.supply import Supply
from safehold.repo import files, trees
from safehold.repo.reader import ChunkReader, NotLent
from safehold.repo.repository import Repository
from safehold.repo.snapshots import Snapshot
from safehold.sources.files.exclude import Excluder
from safehold.sources.files.placing import Folder, Placer
from safehold.sources.files.placing.terms import Counts, Options, Placed

TICK_SECONDS = 0.2
CHILD_CACHE = 16 * 1024 * 1024
"""Bytes of segments that a child keeps: what it is asked for at once lies in a few."""


class Result(msgspec.Struct, frozen=True):
    """What a restore did, and did not."""

    counts: Counts
    damaged: int
    """Files and folders left out because what is stored of them is damaged."""
    differing: int = 0
    """With ``verify``: things that are not on disk as the snapshot has them."""


def restore(
    repository: Repository,
    snapshot: Snapshot,
    target: Path,
    options: Options,
    *,
    path: bytes = b"",
    include: list[str] | None = None,
    verify: bool = False,
    report: Reporter | None = None,
) -> Result:
    """Restore ``path`` of a snapshot (a folder's contents, or one file) into ``target``; ``report``: not to the repository's.

    Raises ``PathMissing``, ``TargetError`` when the target takes nothing more, ``NotPermitted`` for a writer.  Damaged and
    refused things are told, counted, and left out; everything else is restored.
    """
    refuse_own(repository, target)
    entry = trees.find(repository.reader, snapshot.tree, path)
    run = _Restore(repository, snapshot, entry, path, Excluder(include or []))
    report = report or repository.report
    counts = run.into(target, options, report, "restore")
    differing = 0
    if verify and not options.dry_run:
        check = Options(overwrite="always", delete=options.delete, numeric_owner=options.numeric_owner, dry_run=True)
        found = run.into(target, check, _differences(report), "verify")
        differing = found.created + found.changed + found.deleted
    return Result(counts, run.damaged, differing)


class _Restore:
    """One restore; walks as often as it is asked."""

    def __init__(self, repository: Repository, snapshot: Snapshot, entry: Entry | None, path: bytes, include: Excluder) -> None:
        self.damaged = 0
        self._pending: list[Warn | Placed] = []
        self._reader: ChunkReader = repository.reader
        self._supply = None if repository.store.capabilities.local else Supply(self._reader)
        self._left: list[Entry] = []
        self._report = repository.report
        self._monotonic = repository.clock.monotonic
        self._tree = snapshot.tree
        self._entry = entry
        self._above = b"/" + path.strip(b"/")
        self._include = include
        totals = entry.more.totals if entry and entry.more and entry.more.totals else snapshot.totals
        self._total_files, self._total_bytes = (
            (1, entry.size) if entry and entry.kind != DIRECTORY else (totals.files, totals.bytes)
        )

    def into(self, target: Path, options: Options, report: Reporter, phase: str) -> Counts:
        top = self._entry if self._entry is not None and self._entry.kind == DIRECTORY else None
        self._progress = _Progress(report, self._monotonic, phase, self._total_files, self._total_bytes)
        self._report = report
        self._reader.prepare()
        with Placer(target, options, self._tell, top) as placer:
            self._placer = placer
            self._work = Work(self, placer, 0 if options.dry_run else self._total_files, self._supply)
            try:
                if self._entry is not None and self._entry.kind != DIRECTORY:
                    self.place(placer.root, [self._entry])
                else:
                    self._fill(self._entry.content if self._entry else self._tree)
                self._work.wait()
            except BaseException:
                self._work.stop()
                raise
            finally:
                self._work.close()
            return placer.finish()

    def _fill(self, tree: bytes) -> None:
        """Restore the contents of a tree into the target."""
        node = self._node(tree, self._above)
        if node is None:
            return
        root = self._placer.root
        root.owners, root.groups = node.owners, node.groups
        selected = not self._include or self._include.excludes(self._above, True)
        stack = [_Level(root, node, self._above, selected)]
        self._begin(stack[0])
        while stack:
            level = stack[-1]
            if level.position < len(level.folders):
                level.position += 1
                self._descend(stack, level.folders[level.position - 1])
                continue
            stack.pop()
            if level.folder is not root and level.folder is not None:
                self._placer.leave(level.folder)

    def _descend(self, stack: list[_Level], entry: Entry) -> None:
        parent = stack[-1]
        path = parent.path.rstrip(b"/") + b"/" + entry.name
        node = self._node(entry.content, path)
        if node is None:
            node = Node([])
        level = _Level(None, node, path, parent.selected or self._selects(path, True), entry)
        if level.selected:
            level.folder = self._enter(stack, level)
            if level.folder is None:
                return
        stack.append(level)
        self._begin(level, stack)

    def _begin(self, level: _Level, stack: list[_Level] | None = None) -> None:
        """Place what is no folder of this one."""
        self._progress.tick(level.path)
        entries = [entry for entry in level.node.entries if entry.kind != DIRECTORY]
        if not level.selected:
            entries = [entry for entry in entries if self._selects(level.path.rstrip(b"/") + b"/" + entry.name, False)]
            if entries and level.folder is None and stack is not None:
                level.folder = self._enter(stack, level)
        if level.folder is None:
            return
        if level.selected:
            self._placer.prune(level.folder, [entry.name for entry in level.node.entries])
        self._work.add(level.folder, entries)

    def _enter(self, stack: list[_Level], level: _Level) -> Folder | None:
        """Make the folder of a level, and those above it that were not needed until now."""
        above: Folder | None = None
        for each in [*(item for item in stack if item is not level), level]:
            if each.folder is None and above is not None and each.entry is not None:
                each.folder = self._placer.enter(above, each.entry, each.node.owners, each.node.groups)
                if each.folder is None:
                    return None
            above = each.folder
        return level.folder

    def _selects(self, path: bytes, is_folder: bool) -> bool:
        return not self._include or self._include.excludes(path, is_folder)

    def become_child(self) -> None:
        """From now on nothing is told to anybody, but kept for ``take``; what was done before the fork is not this copy's."""
        self._report = self._keep
        self._reader.limit(CHILD_CACHE)
        self.take()

    def borrow(self, bodies: Mapping[bytes, bytes]) -> None:
        """From now on the store is not asked."""
        self._reader.borrow(bodies)

    def take_left(self) -> list[Entry]:
        """What could not be placed since the last time."""
        left, self._left = self._left, []
        return left

    def take(self) -> Told:
        """What was placed since the last time."""
        progress = self._progress
        told = Told(self._placer.ledger.take(), self._pending, self.damaged, progress.files, progress.bytes)
        self._pending = []
        self.damaged = progress.files = progress.bytes = 0
        return told

    def merge(self, told: Told) -> None:
        """Count and tell what a child has placed."""
        self._placer.ledger.merge(told.tally)
        self.damaged += told.damaged
        self._progress.advance(told.bytes, told.files)
        for event in told.events:
            self._report(event)

    def _tell(self, event: Event) -> None:
        self._report(event)

    def _keep(self, event: Event) -> None:
        if isinstance(event, Warn | Placed):
            self._pending.append(event)

    def place(self, folder: Folder, entries: list[Entry]) -> None:
        """Place entries that are no folders.  What is damaged is told, and left out."""
        placer, reader = self._placer, self._reader
        fresh = folder.fresh
        for entry in entries:
            data: bytes | files.FileContent | None = None
            if entry.kind == FILE and ((fresh and entry.more is None) or placer.needs(folder, entry)):
                try:
                    data = files.small_content(reader, entry)
                    if data is None:
                        data = files.open_file(reader, entry)
                except DamageError as error:
                    self._lost(folder.path(entry.name), error)
                    continue
                except NotLent:
                    self._left.append(entry)
                    continue
            placer.place(folder, entry, data)
            self._progress.advance(entry.size)

    def _node(self, tree: bytes, path: bytes) -> Node | None:
        try:
            return trees.read_node(self._reader, tree)
        except DamageError as error:
            self._lost(path, error)
            return None

    def _lost(self, path: bytes, error: DamageError) -> None:
        self.damaged += 1
        self._report(Warn(code=error.code, message=f"Not restored: {error}", path=os.fsdecode(path), hint=error.hint))


class _Level:
    """A folder of the snapshot on the way down."""

    __slots__ = ("entry", "folder", "folders", "node", "path", "position", "selected")

    def __init__(self, folder: Folder | None, node: Node, path: bytes, selected: bool, entry: Entry | None = None) -> None:
        self.folder = folder
        """Where it is placed; None while nothing in it was asked for."""
        self.node = node
        self.path = path
        self.selected = selected
        """Everything in it is wanted."""
        self.entry = entry
        self.folders = [item for item in node.entries if item.kind == DIRECTORY]
        self.position = 0


class _Progress:
    """Progress events, a few a second."""

    def __init__(self, report: Reporter, monotonic: Callable[[], float], phase: str, total_files: int, total_bytes: int) -> None:
        self._report = report
        self._monotonic = monotonic
        self._phase = phase
        self._totals = (total_files, total_bytes)
        self.files = 0
        self.bytes = 0
        self._next = 0.0

    def advance(self, size: int, files: int = 1) -> None:
        self.files += files
        self.bytes += size

    def tick(self, path: bytes) -> None:
        now = self._monotonic()
        if now >= self._next:
            self._next = now + TICK_SECONDS
            files_total, bytes_total = self._totals
            self._report(
                Progress(
                    phase=self._phase,
                    files=self.files,
                    bytes=self.bytes,
                    total_files=files_total,
                    total_bytes=bytes_total,
                    path=os.fsdecode(path),
                )
            )


def _differences(report: Reporter) -> Reporter:
    """What a dry run would do, told as what is wrong with the target."""

    def tell(event: Event) -> None:
        action = getattr(event, "action", None)
        if action is None:
            report(event)
        elif action != "keep":
            report(Warn(code="differs", message="It is not on disk as the snapshot has it.", path=getattr(event, "path", "")))

    return tell


def refuse_own(repository: Repository, target: Path) -> None:
    """A restore into the repository itself would damage what it restores from."""
    where = repository.store.location
    if "://" not in where and Path(os.path.realpath(target)).is_relative_to(os.path.realpath(where)):
        raise TargetError(f"{target} lies in the repository itself.", "Choose a folder outside it.")
