"""Mounting through the program: in the foreground until a signal, and in the background until it is unmounted."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path

from cli_program import Program


def wait_for(path: Path) -> None:
    for _ in range(600):
        if path.exists():
            return
        time.sleep(0.05)
    raise AssertionError(f"{path} never came")


def test_mount_until_a_signal(safehold: Program, source: Path, tmp_path: Path) -> None:
    safehold.do("backup", source)
    folder = tmp_path / "mounted"
    running = safehold.start("mount", folder)
    try:
        file = folder / "latest" / str(source).lstrip("/") / "letters" / "one.txt"
        wait_for(file)
        assert file.read_bytes() == b"one\n"
    finally:
        running.send_signal(signal.SIGTERM)
        _, said = running.communicate(timeout=30)
    assert running.returncode == 0, said
    assert b"Ctrl-C ends it" in said and not folder.exists()


def test_mount_in_the_background(safehold: Program, source: Path, tmp_path: Path) -> None:
    safehold.do("backup", source)
    folder = tmp_path / "mounted"
    assert safehold.spawn("mount", folder, "--background").status == 0
    try:
        assert list((folder / "by-id").iterdir())
    finally:
        subprocess.run(["umount", str(folder)], check=True)
    wrong = safehold.spawn("mount", source, "--background")
    assert wrong.status == 1 and "is not empty" in wrong.err
    safehold.set(SAFEHOLD_KEY_FILE="absent")
    assert safehold.spawn("mount", tmp_path / "x", "-b").status == 12
