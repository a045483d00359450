"""A household whose snapshots are compared with what was backed up, byte for byte."""

from __future__ import annotations

import random
from pathlib import Path

from safehold.core.clock import ManualClock
from safehold.core.entries import DIRECTORY, FILE, Entry
from safehold.ops import forget
from safehold.repo import condemned, contents, prune, snapshots, trees
from safehold.repo.paged import PageMap
from safehold.repo.prune import Options, PruneResult
from safehold.repo.repository import Repository
from safehold.storage.store import Store
from safehold.testing.builders import Household
from safehold.testing.stores import MemoryStore

EVERYTHING = Options(empty_trash=True, max_unused=0.0, confirm_large=True)
DAY = 86400.0


class Farm:
    """A folder that changes, its backups, and what each of them must hold."""

    def __init__(self, base: Path, store: Store | None = None) -> None:
        self.base = base
        self.clock = ManualClock()
        self.store = store or MemoryStore(self.clock)
        self.house = Household(self.store, base / "cache", clock=self.clock)
        self.source = base / "source"
        self.source.mkdir(parents=True)
        self.expected: dict[str, dict[bytes, bytes]] = {}
        self._random = random.Random(7)

    def open(self, store: Store | None = None) -> Repository:
        return self.house.open(store=store)

    def write(self, name: str, size: int = 5000) -> bytes:
        path = self.source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        data = self._random.randbytes(size)
        path.write_bytes(data)
        return data

    def back_up(self, store: Store | None = None) -> str:
        made = self.house.back_up(self.source, repository=self.open(store)).id
        self.expected[made] = content_on_disk(self.source)
        self.clock.advance(3600)
        return made

    def forget(self, *ids: str) -> None:
        forget.forget(self.open(), ids)

    def prune(self, options: Options = EVERYTHING, store: Store | None = None) -> PruneResult:
        repository = self.open(store)
        return prune.execute(repository, prune.plan(repository, options))

    def check_all(self, *, base: Repository | None = None) -> None:
        """Every stored snapshot that this farm made reads as it should, also through a fresh cache."""
        repository = base or self.house.open(cache=self.base / f"fresh{self._random.random()}")
        for name in snapshots.names(repository.store):
            if name in self.expected:
                assert content_of(repository, name, self.source) == self.expected[name]

    def check_clean(self) -> None:
        """Nothing is stored that no snapshot needs, and nobody's leftovers."""
        repository = self.house.open(cache=self.base / f"fresh{self._random.random()}")
        plan = prune.plan(repository, Options(max_unused=1.0))
        assert plan.empty, plan
        keys = [info.key for info in repository.store.list("")]
        assert not [key for key in keys if key.startswith("sessions/")]
        assert not [
            item for item in repository.condemned() if item.condemned.packs or item.condemned.snapshots or item.condemned.act
        ]

    def packed(self) -> int:
        return sum(info.size for info in self.store.list("packs/"))

    def trash(self) -> set[str]:
        return set(condemned.trash(self.open().condemned()))


def content_on_disk(folder: Path) -> dict[bytes, bytes]:
    return {
        str(p.relative_to(folder)).encode(): p.read_bytes()
        for p in sorted(folder.rglob("*"))
        if p.is_file() and not p.is_symlink()
    }


def content_of_file(repository: Repository, entry: Entry) -> bytes:
    if entry.more is not None and entry.more.paged:
        return PageMap(repository.reader, entry).read(0, entry.size)
    return b"".join(contents.read(repository.reader, entry))


def content_of(repository: Repository, name: str, below: Path) -> dict[bytes, bytes]:
    """Path -> bytes of every file of a snapshot below a folder."""
    stored = snapshots.load(repository.seals, repository.store, name)
    top = trees.find(repository.reader, stored.snapshot.tree, str(below).encode())
    assert top is not None
    found: dict[bytes, bytes] = {}
    stack = [(b"", top.content)]
    while stack:
        path, tree = stack.pop()
        for entry in trees.read_node(repository.reader, tree).entries:
            if entry.kind == DIRECTORY:
                stack.append((path + entry.name + b"/", entry.content))
            elif entry.kind == FILE:
                found[path + entry.name] = content_of_file(repository, entry)
    return found
