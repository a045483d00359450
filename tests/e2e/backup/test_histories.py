"""Random histories: files made, changed, renamed, linked and removed; backups, crashes, forgetting and pruning between; and every
snapshot that is left is what a plain copy of that time is."""

from __future__ import annotations

import os
import random
import shutil
import stat
import tempfile
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from homes import Home
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from safehold.core.errors import SafeholdError
from safehold.ops import forget
from safehold.ops.restore import restore
from safehold.repo import snapshots
from safehold.sources.files.placing.terms import Options
from safehold.testing.stores import MemoryStore

_NAMES = st.sampled_from(["a", "b", "c", "d/a", "d/b", "d/e/a", "d/e/b", "f/a", "f/x.img", "g"])
_WHICH = st.integers(0, 1000)
_SIZES = st.sampled_from([0, 1, 100, 5000, 70_000, 300_000, 4_300_000])

Copy = dict[str, tuple[Any, ...]]


def _copied(top: Path) -> Copy:
    """Everything below a folder, as plain data; of a file also how many names it has there."""
    found: Copy = {}
    paths = sorted(top.rglob("*"))
    names = Counter(path.lstat().st_ino for path in paths)
    for path in paths:
        at = path.lstat()
        content: Any = None
        if path.is_symlink():
            content = os.readlink(path)
        elif path.is_file():
            content = (path.read_bytes(), names[at.st_ino])
        found[str(path.relative_to(top))] = (stat.S_IFMT(at.st_mode), stat.S_IMODE(at.st_mode), at.st_mtime_ns, content)
    return found


class _Crashing(MemoryStore):
    """Fails every change from the one that is told on."""

    left = -1

    def put(self, key: str, data: Any) -> None:
        if not key.startswith("sessions/"):
            if self.left == 0:
                raise SafeholdError("It crashed.")
            self.left -= 1
        super().put(key, data)


class Histories(RuleBasedStateMachine):
    """A folder in memory, a repository, and copies of the folder at the time of each backup."""

    def __init__(self) -> None:
        super().__init__()
        shared = Path("/dev/shm")
        self.top = Path(tempfile.mkdtemp(dir=shared if shared.is_dir() else None))
        self.source = self.top / "source"
        self.source.mkdir()
        self.store = _Crashing()
        self.home = Home(self.top, self.store)
        self.copies: dict[str, Copy] = {}
        self.dice = random.Random(1)

    def teardown(self) -> None:
        shutil.rmtree(self.top)

    def _path(self, name: str) -> Path:
        path = self.source / name
        with suppress(FileExistsError, NotADirectoryError):
            path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def _chosen(self, which: int) -> str | None:
        """A snapshot.  Ids are random, so nothing that Hypothesis draws may depend on how many there are."""
        names = list(self.copies)
        return names[which % len(names)] if names else None

    @rule(name=_NAMES, size=_SIZES)
    def write(self, name: str, size: int) -> None:
        with suppress(OSError):
            self._path(name).write_bytes(self.dice.randbytes(size))

    @rule(name=_NAMES, data=st.binary(max_size=50), at=st.floats(0, 1))
    def change(self, name: str, data: bytes, at: float) -> None:
        with suppress(OSError), open(self.source / name, "r+b") as file:
            file.seek(int(at * os.fstat(file.fileno()).st_size))
            file.write(data)

    @rule(name=_NAMES, size=_SIZES)
    def cut_or_extend(self, name: str, size: int) -> None:
        with suppress(OSError):
            os.truncate(self.source / name, size)

    @rule(name=_NAMES)
    def same_size_and_time(self, name: str) -> None:
        with suppress(OSError):
            at = (self.source / name).stat()
            (self.source / name).write_bytes(self.dice.randbytes(at.st_size))
            os.utime(self.source / name, ns=(at.st_atime_ns, at.st_mtime_ns))

    @rule(name=_NAMES, other=_NAMES)
    def rename(self, name: str, other: str) -> None:
        with suppress(OSError):
            (self.source / name).rename(self._path(other))

    @rule(name=_NAMES, other=_NAMES)
    def link(self, name: str, other: str) -> None:
        with suppress(OSError):
            os.link(self.source / name, self._path(other))

    @rule(name=_NAMES, points=st.sampled_from(["a", "nowhere", ".."]))
    def symlink(self, name: str, points: str) -> None:
        with suppress(OSError):
            self._path(name).symlink_to(points)

    @rule(name=st.one_of(_NAMES, st.sampled_from(["d", "d/e", "f"])))
    def remove(self, name: str) -> None:
        path = self.source / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            with suppress(OSError):
                path.unlink()

    @rule(name=_NAMES, mode=st.integers(0, 0o7777))
    def chmod(self, name: str, mode: int) -> None:
        if not (self.source / name).is_symlink():
            with suppress(OSError):
                (self.source / name).chmod(mode)

    @rule(folder=st.sampled_from(["d", "f", "d/e"]))
    def move_out_and_in_again(self, folder: str) -> None:
        """With a backup in between that does not see it."""
        if (self.source / folder).is_dir():
            (self.source / folder).rename(self.top / "aside")
            self.back_up(ahead=10)
            (self.top / "aside").rename(self.source / folder)

    @rule(ahead=st.sampled_from([10, 10, 10, 0]))
    def back_up(self, ahead: float) -> None:
        self.home.clock.seconds = ahead
        made = self.home.back_up(self.source)
        assert not made.snapshot.incomplete
        self.copies[made.id] = _copied(self.source)

    @rule(after=st.integers(0, 4))
    def crash_in_a_backup(self, after: int) -> None:
        self.store.left = after
        with suppress(SafeholdError):
            made = self.home.back_up(self.source)
            self.copies[made.id] = _copied(self.source)
        self.store.left = -1

    @rule()
    def lose_the_memory(self) -> None:
        shutil.rmtree(self.home.household.cache)

    @rule(which=_WHICH)
    def forget(self, which: int) -> None:
        name = self._chosen(which)
        if name is None:
            return
        forget.forget(self.home.open(), [name])
        del self.copies[name]

    @rule()
    def prune(self) -> None:
        self.home.prune()

    @rule(which=_WHICH)
    def restore(self, which: int) -> None:
        name = self._chosen(which)
        if name is None:
            return
        target = self.home.restored(name, self.source)
        assert _copied(target) == self.copies[name]
        shutil.rmtree(target)

    @rule(which=_WHICH)
    def rewind(self, which: int) -> None:
        """Restore over the source itself."""
        name = self._chosen(which)
        if name is None:
            return
        repository = self.home.open()
        snapshot = snapshots.load(repository.seals, repository.store, name).snapshot
        restore(repository, snapshot, self.source, Options(delete=True), path=os.fsencode(self.source))
        assert _copied(self.source) == self.copies[name]

    @invariant()
    def nothing_else_is_stored(self) -> None:
        hidden = {trashed.id for trashed in forget.list_trash(self.home.open())}
        assert set(self.copies) == set(snapshots.names(self.store)) - hidden


def _run(examples: int, steps: int) -> None:
    checks = [HealthCheck.too_slow, HealthCheck.data_too_large]
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        Histories,
        settings=settings(
            max_examples=examples, stateful_step_count=steps, deadline=None, suppress_health_check=checks, database=None
        ),
    )


def test_random_histories() -> None:
    _run(80, 40)


@pytest.mark.soak
def test_long_random_histories() -> None:
    _run(500, 100)
