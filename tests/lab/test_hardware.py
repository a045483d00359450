"""What only real hardware shows, or a guest that has it: sticks that are pulled, FAT32 and exFAT, udev.  One boot for all of it.

A story is a script in this folder, and the devices that it wants; it ends with the line ``NAME-OK``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from guest import lab

HERE = Path(__file__).parent


def drives(work: Path) -> list[str]:
    """Two USB sticks."""
    options = ["-device", "qemu-xhci"]
    for number in (1, 2):
        image = work / f"stick{number}"
        with image.open("wb") as file:
            file.truncate(160 << 20)
        options += ["-blockdev", f"driver=file,filename={image},node-name=u{number}"]
        options += ["-device", f"usb-storage,drive=u{number},id=stick{number},serial=STICK{number},removable=on"]
    return options


STORIES: dict[str, Callable[[Path], list[str]]] = {"drives": drives}
SECONDS = 900


@pytest.mark.skipif(sys.platform != "linux", reason="the guest is made by Debian's tools")
@pytest.mark.timeout(SECONDS + 600)
def test_the_stories_on_hardware(tmp_path: Path) -> None:
    script = "\n".join(f"bash /mnt/files/{name}.sh && echo {name.upper()}-OK" for name in STORIES)
    options = [option for devices in STORIES.values() for option in devices(tmp_path)]
    files = tmp_path / "files"
    files.mkdir()
    for name in STORIES:
        (files / f"{name}.sh").write_bytes((HERE / f"{name}.sh").read_bytes())
    ended = lab(Path(sys.prefix) / "lab").run(script, tmp_path, *options, files=files, seconds=SECONDS)
    for name in STORIES:
        assert f"{name.upper()}-OK" in ended.output.splitlines(), f"after {ended.seconds:.0f} s:\n{ended.output[-6000:]}"
