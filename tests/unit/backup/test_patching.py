"""Patched paged files, compared with plain bytes over random changes; with a key that reads, and one that may only write."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from safehold.ops.backup.memory import Memory
from safehold.ops.backup.patching import Patch
from safehold.ops.databases.assembly import Assembly
from safehold.ops.databases.recording import Filled, RecordOptions, record_database
from safehold.repo import files, trees
from safehold.repo.paged import BLOCK
from safehold.repo.snapshots import Database
from safehold.storage.local import LocalStore
from safehold.testing.builders import Household

PAGE = 8192
WHAT = Database(engine="postgresql", system="1", name="test")


def _changed(old: bytes, dice: random.Random) -> tuple[bytes, Patch]:
    """New content for a file, and the patch that leads there."""
    kept = dice.choice([len(old), len(old), dice.randrange(len(old) // PAGE + 1) * PAGE])
    size = max(kept, dice.choice([len(old), kept, kept + dice.randrange(200) * PAGE, PAGE]))
    new = bytearray(old[:kept] + bytes(size - kept))
    runs = []
    pages = sorted(dice.sample(range(size // PAGE), min(size // PAGE, dice.choice([0, 1, 3, 60]))))
    for page in pages:
        data = dice.choice([bytes(PAGE), dice.randbytes(PAGE)])
        new[page * PAGE : page * PAGE + PAGE] = data
        runs.append((page * PAGE, data))
    return bytes(new), Patch(size, kept, PAGE, runs)


def _blocks(data: bytes) -> list[bytes]:
    return [data[at : at + BLOCK] for at in range(0, len(data), BLOCK)]


@pytest.mark.parametrize("role", ["owner", "writer"])
@pytest.mark.parametrize("seed", range(3))
def test_a_patched_file_is_what_the_patch_says(tmp_path: Path, role: str, seed: int) -> None:
    household = Household(LocalStore(tmp_path / "repo", create=True), tmp_path / "cache")
    key = household.add_key("writer", "server") if role == "writer" else None
    dice = random.Random(seed)
    content = dice.randbytes(300 * PAGE)

    def open_it():  # type: ignore[no-untyped-def]
        return household.open(key) if key else household.open()

    def first(assembly: Assembly, memory: Memory) -> Filled:
        del memory
        assembly.paged(b"file", iter(_blocks(content)), len(content), PAGE)
        assembly.data(b"small", content[: 5 * PAGE])
        return Filled(database=WHAT)

    record_database(open_it(), "postgresql", "one", RecordOptions(), first)
    small = content[: 5 * PAGE]
    for turn in range(8):
        is_read = turn % 4 == 3  # a whole one in between finds all pages where they are
        if not is_read:
            content, patch = _changed(content, dice)
            small, little = _changed(small, dice)

        def fill(assembly: Assembly, memory: Memory) -> Filled:
            del memory
            if is_read:  # noqa: B023
                assembly.paged(b"file", iter(_blocks(content)), len(content), PAGE)  # noqa: B023
                assembly.paged(b"small", iter(_blocks(small)), len(small), PAGE)  # noqa: B023
            else:
                assert assembly.patched(b"file", patch)  # noqa: B023
                assert assembly.patched(b"small", little)  # noqa: B023
            return Filled(database=WHAT)

        result = record_database(open_it(), "postgresql", "one", RecordOptions(), fill)
        if is_read and role == "owner":
            known = result.snapshot.statistics.added_raw - len(small)  # whose first pages were never hashed
            assert known < 40_000, "maps"
        reader = household.open().reader
        for name, expected in ((b"file", content), (b"small", small)):
            entry = trees.find(reader, result.snapshot.tree, name)
            assert entry is not None
            assert b"".join(files.stream(files.open_file(reader, entry))) == expected


def test_what_is_not_known_is_not_patched(tmp_path: Path) -> None:
    household = Household(LocalStore(tmp_path / "repo", create=True), tmp_path / "cache")

    def fill(assembly: Assembly, memory: Memory) -> Filled:
        del memory
        assert not assembly.patched(b"file", Patch(PAGE, 0, PAGE, [(0, bytes(PAGE))]))
        assembly.data(b"other", b"x")
        return Filled(database=WHAT)

    record_database(household.open(), "postgresql", "one", RecordOptions(), fill)
