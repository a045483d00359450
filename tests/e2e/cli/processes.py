"""Runs of the program that have children, from outside."""

from __future__ import annotations

import os
import random
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from cli_program import Program

CORES = len(os.sched_getaffinity(0))
COUNTING = """
import resource, sys
from safehold.cli.main import run
status = run(sys.argv[1:])
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime > 0, file=sys.stderr)
sys.exit(status)
"""
"""Runs the program, and says at the end whether children of it did some work."""


def many_files(top: Path, *, files: int, large: int, big: int, sparse: int) -> Path:
    """A tree of ``files`` files in many folders, ``large`` in one, a big and a sparse one, of several names, with attributes."""
    randomness = random.Random(8)
    for number in range(files):
        folder = top / f"{number % 70:02}" / ("deep/er" if number % 3 else "")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"file {number}").write_bytes(randomness.randbytes(randomness.choice([0, 10, 3000, 30_000])))
    (top / "large").mkdir()
    for number in range(large):
        (top / "large" / str(number)).write_text(f"{number}\n")
    os.link(top / "00" / "file 0", top / "another name")
    (top / "link").symlink_to("nowhere")
    (top / "01" / "deep" / "er" / "file 1").chmod(0o4751)
    os.setxattr(top / "01" / "deep" / "er" / "file 1", "user.note", b"kept")
    (top / "big").write_bytes(randomness.randbytes(big))
    with open(top / "sparse", "wb") as file:
        file.truncate(sparse)
        file.write(b"begins")
    return top


def differences(one: Path, other: Path) -> list[str]:
    done = subprocess.run(
        ["rsync", "-naHAXi", "--checksum", "--delete", f"{one}/", f"{other}/"], capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()


def children_of(process: subprocess.Popen[bytes]) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def until(condition: Callable[[], bool], message: str) -> None:
    for _ in range(3000):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError(message)


def begun(safehold: Program, condition: Callable[[], bool], *words: object) -> tuple[subprocess.Popen[bytes], list[int]]:
    """A run that is just where the condition holds, or ended before, and its children."""
    running = safehold.start(*words)
    until(lambda: running.poll() is not None or condition(), "it never came so far")
    return running, children_of(running) if running.poll() is None else []


def finish(running: subprocess.Popen[bytes]) -> tuple[int, str]:
    _, said = running.communicate(timeout=60)
    return running.returncode, said.decode()
