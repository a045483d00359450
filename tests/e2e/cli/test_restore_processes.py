"""A restore of many files places them in child processes: the same is restored and told, and nobody is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from cli_program import Program
from processes import CORES, COUNTING, begun, differences, finish, gone, many_files, until

from safehold.ops.lending import FORK_FROM
from safehold.ops.placing import UNIT_ENTRIES


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """More files than one process restores: in many folders, in one large folder, of several names, with attributes."""
    top = many_files(tmp_path / "many", files=FORK_FROM, large=2 * UNIT_ENTRIES + 7, big=9 << 20, sparse=1 << 24)
    for number in range(2 * UNIT_ENTRIES + 7):
        os.link(top / "large" / str(number), top / f"{number % 70:02}" / f"another name {number}")
    return top


@pytest.fixture
def stored(safehold: Program, many: Path) -> str:
    """The snapshot's part to restore."""
    safehold.do("backup", many)
    return f"latest:{many}"


def test_all_is_restored_by_children(safehold: Program, many: Path, stored: str, tmp_path: Path) -> None:
    arguments = ["restore", stored, "--target", str(tmp_path / "out")]
    done = subprocess.run([sys.executable, "-c", COUNTING, *arguments], capture_output=True, text=True, check=True)
    assert done.stderr.splitlines()[-1] == str(CORES > 1)
    assert differences(many, tmp_path / "out") == []
    assert (tmp_path / "out" / "sparse").stat().st_blocks * 512 < 1 << 20
    made = sum(1 for _ in many.rglob("*"))
    assert f"{made:,} made" in done.stdout


def test_what_is_there_is_compared_and_told_by_children(safehold: Program, many: Path, stored: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    safehold.spawn("restore", stored, "--target", out)
    (out / "03" / "file 3").write_bytes(b"other")
    (out / "large" / "8").unlink()
    (out / "02" / "deep" / "er" / "file 2").unlink()
    (out / "02" / "deep" / "er" / "file 2").mkdir()
    (out / "02" / "deep" / "left").touch()
    done = safehold.spawn("restore", stored, "--target", out, "--delete", "--verbose", "--json")
    assert done.status == 0, done.err
    told = {(event["action"], event["path"]) for event in done.events if event["event"] == "placed" and event["action"] != "keep"}
    assert told == {
        ("change", "03/file 3"),
        ("create", "large/8"),
        ("delete", "02/deep/er/file 2"),
        ("replace", "02/deep/er/file 2"),
        ("delete", "02/deep/left"),
        ("change", "02/deep"),
        ("change", "02/deep/er"),
        ("change", "large"),
    }
    assert done.lines[-1]["created"] == 1 and done.lines[-1]["deleted"] == 2
    assert differences(many, out) == []


def test_damage_is_told_from_children(safehold: Program, many: Path, stored: str, tmp_path: Path) -> None:
    pack = max((safehold.repository / "packs").glob("*/*"), key=lambda path: path.stat().st_size)
    with pack.open("r+b") as file:
        file.seek(pack.stat().st_size // 2)
        file.write(bytes(64))
    done = safehold.spawn("restore", stored, "--target", tmp_path / "out", "--json")
    told = {event["path"] for event in done.events if event["event"] == "warn"}
    missing = {
        str(path.relative_to(many)) for path in many.rglob("*") if not os.path.lexists(tmp_path / "out" / path.relative_to(many))
    }
    assert done.status != 0 and told == missing and told
    assert done.lines[-1]["damaged"] == len(told)


def test_an_interrupt_ends_the_children_and_the_next_run_goes_on(
    safehold: Program, many: Path, stored: str, tmp_path: Path
) -> None:
    running, children = begun(
        safehold, lambda: any((tmp_path / "out").glob("*/file *")), "restore", stored, "--target", tmp_path / "out"
    )
    running.send_signal(signal.SIGINT)
    status, said = finish(running)
    assert status == 130 and said.startswith("safehold: Interrupted."), said
    assert all(gone(pid) for pid in children)
    safehold.do("restore", stored, "--target", tmp_path / "out", "--overwrite", "if-changed")
    assert differences(many, tmp_path / "out") == []


def test_children_end_with_a_parent_that_is_killed(safehold: Program, many: Path, stored: str, tmp_path: Path) -> None:
    running, children = begun(
        safehold, lambda: any((tmp_path / "out").glob("*/file *")), "restore", stored, "--target", tmp_path / "out"
    )
    running.kill()
    assert finish(running)[0] == -signal.SIGKILL
    until(lambda: all(gone(pid) for pid in children), "a child lives on")
    safehold.do("restore", stored, "--target", tmp_path / "out", "--overwrite", "if-changed")
    assert differences(many, tmp_path / "out") == []


def test_a_child_that_is_killed_is_told(safehold: Program, many: Path, stored: str, tmp_path: Path) -> None:
    running, children = begun(
        safehold, lambda: any((tmp_path / "out").glob("*/file *")), "restore", stored, "--target", tmp_path / "out"
    )
    for pid in children:
        os.kill(pid, signal.SIGKILL)
    status, said = finish(running)
    assert (status, "was killed" in said) == (1, True) if CORES > 1 else (0, False)
    assert all(gone(pid) for pid in children)
