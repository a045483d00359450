"""What only real hardware shows, or a guest that has it: sticks that are pulled, FAT32 and exFAT, udev, discs, floppies.  One boot for all.

A story is a script in this folder, and the devices that it wants; it ends with the line ``name-OK``.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from disc_sets import make_set, open_set

from safehold.core.clock import SystemClock
from safehold.core.events import silent
from safehold.storage.volumes.burning.burn import Burning
from safehold.storage.volumes.burning.plain_files import PlainFiles
from safehold.storage.volumes.burning.plan import plan
from safehold.storage.volumes.burning.programs import Xorriso

sys.path.insert(0, str(Path(__file__).parent))

from guest import lab

HERE = Path(__file__).parent


def drives(work: Path, files: Path) -> list[str]:
    """Two USB sticks."""
    options = ["-device", "qemu-xhci"]
    for number in (1, 2):
        image = work / f"stick{number}"
        with image.open("wb") as file:
            file.truncate(160 << 20)
        options += ["-blockdev", f"driver=file,filename={image},node-name=u{number}"]
        options += ["-device", f"usb-storage,drive=u{number},id=stick{number},serial=STICK{number},removable=on"]
    return options


def discs(work: Path, files: Path) -> list[str]:
    """A disc with two sessions, burned one after the other, and a floppy."""
    catalogue = make_set(work / "set", capacity=72 << 20, inner="20+4", parity="")
    disc, sums, second = work / "disc", "", 0
    disc.touch()
    for key in ("packs/aa/1", "packs/bb/2"):
        data = os.urandom(900_000)
        sums += f"{hashlib.sha256(data).hexdigest()}  {key}\n"
        store = open_set(work / "set", finisher=PlainFiles(catalogue))
        store.put(key, data)
        store.close_session()
        store.close()
        (waiting,) = plan(catalogue, [])
        second = waiting.first
        Burning(catalogue, Xorriso(f"stdio:{disc}"), silent, SystemClock()).burn(waiting)
    (files / "discs.sums").write_text(sums)
    (files / "discs.second").write_text(str(second))
    subprocess.run(["mkfs.vfat", "-C", work / "floppy", "1440"], check=True, capture_output=True)
    options = ["-drive", f"file={disc},format=raw,media=cdrom,readonly=on"]
    return [*options, "-drive", f"file={work / 'floppy'},format=raw,if=floppy,id=floppy0"]


def pulls(work: Path, files: Path) -> list[str]:
    """A USB stick."""
    with (work / "stick1").open("wb") as file:
        file.truncate(400 << 20)
    options = ["-device", "qemu-xhci", "-blockdev", f"driver=file,filename={work / 'stick1'},node-name=u1"]
    return [*options, "-device", "usb-storage,drive=u1,id=stick1,serial=STICK1,removable=on"]


def smart(work: Path, files: Path) -> list[str]:
    """A disk that says how it is."""
    with (work / "sata").open("wb") as file:
        file.truncate(64 << 20)
    return ["-drive", f"file={work / 'sata'},format=raw,if=ide,index=3"]


STORIES: dict[str, Callable[[Path, Path], list[str]]] = {"drives": drives, "discs": discs}
SECONDS = 900
"""Of the guest, with its boot: an idle machine needs a quarter of it."""
_WATCHED = """story() {
    setsid bash -c 'sleep LONGEST; exec >/dev/ttyS0 2>&1; echo "STORY TOO LONG: $1"; tail -n 50 /tmp/out /tmp/watched 2>/dev/null
    for p in /proc/[0-9]*; do
        words=$(tr "\\0" " " <$p/cmdline) && [ -n "$words" ] && { echo "== $p $words"; cat $p/stack; }
    done
    kill -STOP $2; for p in $(pgrep python3); do kill -ABRT $p; done; sleep 5; tail -n 80 /tmp/watched
    sync; echo o >/proc/sysrq-trigger' watchdog "$1" $$ </dev/null >/dev/null 2>&1 &
    watchdog=$!
    PYTHONFAULTHANDLER=1 bash "/mnt/files/$1.sh" && echo "$1-OK"
    kill -- -$watchdog
}
"""
"""A story that stands still says what was said, and where each process is (proc(5), stack), before the guest is switched off."""


@pytest.mark.skipif(sys.platform != "linux", reason="the guest is made by Debian's tools")
@pytest.mark.timeout(SECONDS + 600)
def test_the_stories_on_hardware(tmp_path: Path) -> None:
    tell(STORIES, tmp_path, SECONDS)


@pytest.mark.soak
@pytest.mark.skipif(sys.platform != "linux", reason="the guest is made by Debian's tools")
@pytest.mark.timeout(3 * SECONDS + 600)
def test_sticks_are_pulled_at_many_moments(tmp_path: Path) -> None:
    tell({"pulls": pulls}, tmp_path, 3 * SECONDS)


@pytest.mark.soak
@pytest.mark.skipif(sys.platform != "linux", reason="the guest is made by Debian's tools")
@pytest.mark.timeout(SECONDS + 600)
def test_a_disk_says_how_it_is(tmp_path: Path) -> None:
    """What is made of smartctl's words is shown in tests/unit/volumes/test_smart.py; here that there is such a disk."""
    tell({"smart": smart}, tmp_path, SECONDS)


def tell(stories: dict[str, Callable[[Path, Path], list[str]]], tmp_path: Path, seconds: int) -> None:
    script = _WATCHED.replace("LONGEST", str(seconds // 2)) + "\n".join(f"story {name}" for name in stories)
    files = tmp_path / "files"
    files.mkdir()
    options = [option for devices in stories.values() for option in devices(tmp_path, files)]
    for name in stories:
        (files / f"{name}.sh").write_bytes((HERE / f"{name}.sh").read_bytes())
    ended = lab(Path(sys.prefix) / "lab").run(script, tmp_path, *options, files=files, seconds=seconds)
    for name in stories:
        assert f"{name}-OK" in ended.output.splitlines(), f"after {ended.seconds:.0f} s:\n{ended.output[-6000:]}"
