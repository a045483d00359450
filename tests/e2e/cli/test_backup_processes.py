"""A backup of many files reads them in child processes: the same is stored and told, and nobody is left behind."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from cli_program import Program
from processes import CORES, COUNTING, begun, differences, finish, gone, many_files, until

from safehold.ops.backup.readers import FORK_FROM, UNIT_FILES


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """More files than one process reads: alike and different, small and large, of several names, with attributes."""
    top = many_files(tmp_path / "many", files=FORK_FROM, large=2 * UNIT_FILES + 7, big=3 << 20, sparse=1 << 17)
    shutil.copytree(top, top / "zz copy", symlinks=True)
    return top


def restored(safehold: Program, many: Path, tmp_path: Path) -> list[str]:
    """How a restore differs from the source."""
    out = tmp_path / f"out {len(list(tmp_path.iterdir()))}"
    safehold.do("restore", f"latest:{many}", "--target", out, "--verify")
    return differences(many, out)


def test_children_read_all_and_store_what_is_alike_once(safehold: Program, many: Path, tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", COUNTING, "backup", str(many)], capture_output=True, text=True, check=True)
    assert done.stderr.splitlines()[-1] == str(CORES > 1)
    assert restored(safehold, many, tmp_path) == []
    sizes = [path.stat().st_size for path in (many / "zz copy").rglob("*") if path.is_file() and not path.is_symlink()]
    stored = sum(path.stat().st_size for path in safehold.repository.glob("packs/*/*"))
    assert stored < 1.1 * sum(sizes) - (1 << 17)
    assert safehold.do("check", "--read-data").status == 0


def test_the_next_backup_is_by_what_children_found(safehold: Program, many: Path, tmp_path: Path) -> None:
    safehold.spawn("backup", many)
    first = safehold.spawn("backup", many, "--json").lines[-1]
    for number in range(0, FORK_FROM, 3):
        (many / f"{number % 70:02}" / f"file {number}").write_bytes(b"changed %d" % number)
    (many / "new").write_bytes(b"new")
    shutil.rmtree(many / "02")
    second = safehold.spawn("backup", many, "--json").lines[-1]
    # Folders above, which other tests write into, may have changed.
    assert first["bytes_added"] < 4096 < second["bytes_added"] < 1 << 20
    assert restored(safehold, many, tmp_path) == []


def test_an_interrupt_ends_the_children_and_the_next_run_goes_on(safehold: Program, many: Path, tmp_path: Path) -> None:
    running, children = begun(safehold, lambda: any((safehold.repository / "tmp").glob("*")), "backup", many)
    running.send_signal(signal.SIGINT)
    status, said = finish(running)
    assert status == 130 and said.startswith("safehold: Interrupted."), said
    assert all(gone(pid) for pid in children)
    safehold.spawn("backup", many)
    assert restored(safehold, many, tmp_path) == []


def test_children_end_with_a_parent_that_is_killed(safehold: Program, many: Path, tmp_path: Path) -> None:
    running, children = begun(safehold, lambda: any((safehold.repository / "tmp").glob("*")), "backup", many)
    running.kill()
    assert finish(running)[0] == -signal.SIGKILL
    until(lambda: all(gone(pid) for pid in children), "a child lives on")
    safehold.spawn("backup", many)
    assert restored(safehold, many, tmp_path) == []


def test_a_child_that_is_killed_is_told(safehold: Program, many: Path, tmp_path: Path) -> None:
    running, children = begun(safehold, lambda: any((safehold.repository / "tmp").glob("*")), "backup", many)
    for pid in children:
        os.kill(pid, signal.SIGKILL)
    status, said = finish(running)
    if children:
        assert status == 1 and "was killed" in said, said
    assert all(gone(pid) for pid in children)
    assert safehold.do("check").status == 0
