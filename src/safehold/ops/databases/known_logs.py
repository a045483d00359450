"""Which logs each commit holds, kept in the local cache: thousands of commits of a day share nearly all of them.

A tree's id is a keyed hash of what is in it, so what a tree was seen to hold it holds.  Log files are numbered in the order in
which they were met, and of each tree, of a commit or of a folder in one, stretches of numbers are kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise

import msgspec
from blake3 import blake3

from safehold.core.entries import Entry
from safehold.ops.listing import listing, walk
from safehold.repo.batches import Batches
from safehold.repo.repository import Repository
from safehold.repo.snapshots import Stored

Stretches = list[tuple[int, int]]
"""Numbers of log files: from the first to one past the last, ascending, apart from each other."""


class Learned(msgspec.Struct, array_like=True):
    """What was learned at one time."""

    after: int
    """How many entries were known before."""
    entries: list[bytes] = []
    """Log files' entries, encoded; their numbers go on from ``after``."""
    commits: dict[bytes, Stretches] = {}
    folders: dict[bytes, Stretches] = {}


class KnownLogs:
    """The logs of one database's commits.  Belongs to one thread."""

    def __init__(self, repository: Repository, root: bytes, engine: str, system: str) -> None:
        """``root``: the folder of the logs in a commit."""
        self._repository = repository
        self._root = root
        name = blake3(msgspec.msgpack.encode((engine, system))).hexdigest(8)
        self._batches = Batches(repository.seals, repository.cache, f"logs-{name}")
        self._all = Learned(0)
        for each in map(_decoded, self._batches.read()):
            if each.after == len(self._all.entries):
                self._merge(each)
        self._numbers: dict[bytes, int] | None = None
        self._new = Learned(len(self._all.entries))

    def of(self, commits: Iterable[Stored]) -> Iterator[tuple[Entry, Stored]]:
        """Every log file of these commits, once, with the first of them that holds it.  Raises ``DamageError``."""
        wanted = list(commits)
        for stored in wanted:
            if stored.snapshot.tree not in self._all.commits:
                self._learn(stored.snapshot.tree)
        self._save(wanted)
        yield from self._told(wanted)

    def _told(self, commits: list[Stored]) -> Iterator[tuple[Entry, Stored]]:
        told = bytearray(len(self._all.entries))
        for stored in commits:
            for first, end in self._all.commits[stored.snapshot.tree]:
                while (number := told.find(0, first, end)) >= 0:
                    told[number] = 1
                    yield _entries.decode(self._all.entries[number]), stored

    def _learn(self, tree: bytes) -> None:
        """Look at a commit."""
        numbers: set[int] = set()
        for folder in listing(self._repository.reader, tree, self._root):
            content = folder.entry.content
            known = self._all.folders.get(content)
            if known is None:
                inside = walk(self._repository.reader, content, folder.path, recursive=False)
                known = _stretches(self._number(listed.entry) for listed in inside)
                self._all.folders[content] = self._new.folders[content] = known
            for first, end in known:
                numbers.update(range(first, end))
        self._all.commits[tree] = self._new.commits[tree] = _stretches(numbers)

    def _number(self, entry: Entry) -> int:
        """The number of a log file, which may get it now."""
        if self._numbers is None:
            self._numbers = {encoded: number for number, encoded in enumerate(self._all.entries)}
        encoded = _encoder.encode(entry)
        number = self._numbers.setdefault(encoded, len(self._all.entries))
        if number == len(self._all.entries):
            self._all.entries.append(encoded)
            self._new.entries.append(encoded)
        return number

    def _save(self, wanted: list[Stored]) -> None:
        """Write down what is new; when most of what is kept is of commits that are gone, only what these hold."""
        if not self._new.commits:
            return
        if len(self._all.commits) > 2 * len(wanted):
            self._batches.replace(_encoder.encode(self._only(wanted)))
        elif self._batches.crowded:
            self._batches.replace(_encoder.encode(self._all))
        else:
            self._batches.add(_encoder.encode(self._new))
        self._new = Learned(len(self._all.entries))

    def _only(self, wanted: list[Stored]) -> Learned:
        """What these commits hold, numbered anew; folders are left out, and are met again."""
        kept = sorted({n for s in wanted for first, end in self._all.commits[s.snapshot.tree] for n in range(first, end)})
        anew = {old: new for new, old in enumerate(kept)}
        commits = {
            s.snapshot.tree: _stretches(anew[n] for first, end in self._all.commits[s.snapshot.tree] for n in range(first, end))
            for s in wanted
        }
        return Learned(0, [self._all.entries[number] for number in kept], commits)

    def _merge(self, each: Learned) -> None:
        self._all.entries += each.entries
        self._all.commits |= each.commits
        self._all.folders |= each.folders


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Learned)
_entries = msgspec.msgpack.Decoder(Entry)


def _decoded(batch: bytes) -> Learned:
    try:
        return _decoder.decode(batch)
    except msgspec.MsgspecError:
        return Learned(-1)  # of another version


def _stretches(numbers: Iterable[int]) -> Stretches:
    ordered = sorted(set(numbers))
    if not ordered:
        return []
    breaks = [(before + 1, after) for before, after in pairwise(ordered) if after != before + 1]
    starts = [ordered[0], *(start for _, start in breaks)]
    ends = [*(end for end, _ in breaks), ordered[-1] + 1]
    return list(zip(starts, ends, strict=True))
