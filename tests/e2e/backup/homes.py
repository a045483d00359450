"""A household whose clock is ahead, so that what a test has just written does not look as if it were still being written."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safehold.core.clock import SystemClock
from safehold.core.events import Event, Note, Warn
from safehold.ops.backup.record import Result
from safehold.ops.restore import restore
from safehold.repo import files, trees
from safehold.repo.prune import execution, planning
from safehold.repo.prune.model import Options as PruneOptions
from safehold.repo.repository import Repository
from safehold.repo.snapshots import load
from safehold.sources.files.placing.terms import Options
from safehold.storage.store import Store
from safehold.testing.builders import Household
from safehold.testing.stores import MemoryStore


class Ahead(SystemClock):
    """The machine's clock and some seconds."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def now_ns(self) -> int:
        return super().now_ns() + int(self.seconds * 1e9)


class Home:
    """A repository, what it told, and short ways to back up and restore."""

    def __init__(self, folder: Path, store: Store | None = None, ahead: float = 10) -> None:
        self.folder = folder
        self.clock = Ahead(ahead)
        self.events: list[Event] = []
        self.household = Household(store or MemoryStore(), folder / "cache", clock=self.clock, report=self.events.append)
        self._restored = 0

    @property
    def store(self) -> Any:
        return self.household.store

    def open(self, **options: Any) -> Repository:
        return self.household.open(**options)

    def back_up(self, *paths: Path | str, **options: Any) -> Result:
        """Back up; ``events`` then holds what this backup told."""
        self.events.clear()
        return self.household.back_up(*paths, **options)

    @property
    def warned(self) -> list[tuple[str, str]]:
        """Code and path of each warning."""
        return [(event.code, event.path) for event in self.events if isinstance(event, Warn)]

    @property
    def notes(self) -> list[str]:
        return [event.message for event in self.events if isinstance(event, Note)]

    def prune(self) -> None:
        """Remove what is in the trash, and everything that no snapshot needs, at once."""
        repository = self.open()
        options = PruneOptions(empty_trash=True, max_unused=0, confirm_large=True)
        execution.execute(repository, planning.plan(repository, options))

    def restored(self, made: Result | str, path: Path | str = "", **options: Any) -> Path:
        """A new folder with what a snapshot has at ``path``, and no warning."""
        self._restored += 1
        target = self.folder / f"restored{self._restored}"
        self.events.clear()
        repository = self.open()
        name = made if isinstance(made, str) else made.id
        snapshot = load(repository.seals, repository.store, name).snapshot
        restore(repository, snapshot, target, Options(), path=os.fsencode(path), **options)
        assert self.warned == []
        return target

    def entry(self, made: Result, path: Path | str) -> Any:
        entry = trees.find(self.open().reader, made.snapshot.tree, os.fsencode(path))
        assert entry is not None
        return entry

    def content(self, made: Result, path: Path | str) -> bytes:
        return b"".join(files.stream(files.open_file(self.open().reader, self.entry(made, path))))

    def names(self, made: Result, path: Path | str) -> list[bytes]:
        entry = self.entry(made, path)
        return [item.name for item in trees.read_node(self.open().reader, entry.content).entries]


def counted(made: Result) -> tuple[int, int, int]:
    """Files new, changed and unchanged."""
    statistics = made.snapshot.statistics
    return statistics.new, statistics.changed, statistics.unchanged


def compared(source: Path, target: Path, *options: str) -> str:
    """What rsync finds different, either way: bytes, owners, modes, times, links, devices, attributes, ACLs."""
    found = ""
    for one, other in ((source, target), (target, source)):
        command = ["rsync", "-aHAXn", "--checksum", "--itemize-changes", "--delete", *options, f"{one}/", f"{other}/"]
        found += subprocess.run(command, capture_output=True, check=True).stdout.decode(errors="backslashreplace")
    return found


def dumped(top: Path) -> dict[str, str]:
    """What the system's own programs say of everything below a folder, times to the nanosecond."""
    commands = {
        "find": ["find", ".", "-printf", "%p %y %#m %U:%G %T@ %n %l\\n"],
        "attributes": ["getfattr", "-h", "-R", "-d", "-m", "-", "-e", "hex", "."],
        "acl": ["getfacl", "-n", "-R", "-P", "."],
        "flags": ["lsattr", "-R", "-a", "."],
        "deep files": ["find", ".", "-path", "*/deeper/file", "-execdir", "md5sum", "{}", ";"],
    }
    return {name: _sorted_output(command, top) for name, command in commands.items()}


def _sorted_output(command: list[str], top: Path) -> str:
    found = subprocess.run(command, cwd=top, capture_output=True, check=False)
    between = "\n\n" if command[0].startswith("getf") else "\n"
    return between.join(sorted(found.stdout.decode(errors="backslashreplace").split(between)))


def during(monkeypatch: Any, module: Any, name: str, action: Callable[..., None], times: int = 1) -> None:
    """Call ``action`` with the arguments of the first calls of ``module.name``, before they are made; False does not count."""
    real = getattr(module, name)
    left = [times]

    def hooked(*arguments: Any, **options: Any) -> Any:
        if left[0] > 0:
            left[0] -= 1
            if action(*arguments, **options) is False:
                left[0] += 1
        return real(*arguments, **options)

    monkeypatch.setattr(module, name, hooked)
