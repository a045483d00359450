"""Ctrl-C and SIGTERM while discs are written, restored from and burned: one sentence, status 130, and the next run goes on."""

from __future__ import annotations

import filecmp
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
from cli_program import Program

BOTH = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])


@pytest.fixture
def photos(program: Program, monkeypatch: pytest.MonkeyPatch) -> Program:
    """The program with a set of discs of 8 MB, and eight discs' worth of files to back up."""
    monkeypatch.setenv("SAFEHOLD_STATE_DIR", str(program.folder / "state"))
    options = ("--media", "cd", "--capacity", "8M", "--images", program.folder / "images", "--parity", "4+2")
    program.do("volumes", "create", "photos", *options, "--key-file", program.key)
    program.set(SAFEHOLD_REPO="volumes:photos", SAFEHOLD_KEY_FILE=str(program.key))
    folder, random = program.folder / "source", Random(7)
    folder.mkdir()
    for name in range(48):
        (folder / f"{name}.jpg").write_bytes(random.randbytes(1_000_000))
    return program


def interrupted(running: subprocess.Popen[bytes], number: signal.Signals, begun: Callable[[], bool]) -> None:
    """Send a signal once something is seen of the work; it ends as docs/errors.md says."""
    deadline = time.monotonic() + 60
    while not begun():
        assert running.poll() is None and time.monotonic() < deadline, running.communicate()
        time.sleep(0.005)
    running.send_signal(number)
    _, said = running.communicate(timeout=60)
    sentences = [line for line in said.decode().splitlines() if line.startswith("safehold: ")]
    assert running.returncode == 130, said
    assert sentences == ["safehold: Interrupted. What is finished stays; run it again to go on."] and b"Traceback" not in said


def same(left: Path, right: Path) -> bool:
    names = sorted(os.listdir(left))
    return names == sorted(os.listdir(right)) and filecmp.cmpfiles(left, right, names, shallow=False)[0] == names


def images(photos: Program) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((photos.folder / "images").iterdir())}


@BOTH
def test_a_backup_and_a_restore(photos: Program, number: signal.Signals) -> None:
    source, folder = photos.folder / "source", photos.folder / "images"
    interrupted(photos.start("backup", source), number, (folder / "photos-003.iso").exists)
    before = images(photos)
    states = {str(each["label"]): each["state"] for each in volumes(photos)}
    photos.do("backup", source)
    after = images(photos)
    assert all(after[name] == data for name, data in before.items() if states[Path(name).stem.upper()] == "closed")
    written = sum(map(len, after.values()))
    assert written < 2.3 * 48_000_000, "a pack that was whole is not written again (with parity 2 x, again 2.9 x)"
    photos.do("volumes", "close", "photos")
    photos.do("check", "--read-data")
    target = photos.folder / "back"
    shelf = folder.rename(photos.folder / "shelf")
    restore = ("restore", f"latest:{source}", "--target", target, "--media-dir", shelf)
    interrupted(photos.start(*restore), number, lambda: target.exists() and any(target.iterdir()))
    photos.do(*restore, "--overwrite", "if-changed")
    assert same(source, target)


@BOTH
def test_a_burn(photos: Program, number: signal.Signals, monkeypatch: pytest.MonkeyPatch) -> None:
    """The burning program is ended; the disc counts as spoiled, and the image is burned again."""
    for each in range(1, 48):
        (photos.folder / "source" / f"{each}.jpg").unlink()
    photos.do("backup", photos.folder / "source")
    photos.do("volumes", "close", "photos")
    programs, pid = photos.folder / "bin", photos.folder / "pid"
    programs.mkdir()
    stuck = programs / "xorriso"
    real = shutil.which("xorriso")
    stuck.write_text(f'#!/bin/sh\ncase "$*" in *cdrecord*) echo $$ >{pid}; exec sleep 60;; esac\nexec {real} "$@"\n')
    stuck.chmod(0o755)
    (photos.folder / "disc").touch()
    burn = ("volumes", "burn", "photos", "1", "--device", f"stdio:{photos.folder / 'disc'}")
    with monkeypatch.context() as patch:
        patch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
        running = photos.start(*burn)
        interrupted(running, number, lambda: pid.exists() and pid.read_text().endswith("\n"))
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)
    assert volumes(photos)[0]["state"] == "closed"
    assert "burned and verified" in photos.do(*burn).out
    burned = (photos.folder / "disc").read_bytes()
    assert burned.startswith(images(photos)["photos-001.iso"])


def volumes(photos: Program) -> list[dict[str, object]]:
    listed = photos.do("volumes", "list", "photos", "--json").value["volumes"]
    assert isinstance(listed, list)
    return listed
