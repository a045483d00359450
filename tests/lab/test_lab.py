"""What only a machine with drives can show, in one boot of an emulated one: discs, floppies, sticks.

Each part is a script that runs with ``set -e``; its test looks at what it printed.  The guest runs the real program.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from disc_sets import images, make_set, open_set

from safehold.core.clock import SystemClock
from safehold.core.events import silent
from safehold.storage.volumes.burning.burn import Burning
from safehold.storage.volumes.burning.plain_files import PlainFiles
from safehold.storage.volumes.burning.plan import plan
from safehold.storage.volumes.burning.programs import Xorriso
from safehold.storage.volumes.catalogue import Catalogue

sys.path.insert(0, str(Path(__file__).parent))

from guest import lab

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="the guest is made by Debian's tools"),
    pytest.mark.timeout(1500),
]
FOLDER = Path(sys.prefix) / "lab"

DISC = """
mkdir -p /run/disc && mount -o ro /dev/sr0 /run/disc
echo "first: $(cd /run/disc && find . -type f | sort | tr '\\n' ' ')"
umount /run/disc
mount -o ro,sbsector=SECOND /dev/sr0 /run/disc
echo "second: $(cd /run/disc && find . -type f | sort | tr '\\n' ' ')"
for file in /run/disc/data/*; do echo "data $(basename $file) $(sha256sum <$file)"; done
python3 /run/disc/restore.pyz collect /tmp/collected /run/disc
umount /run/disc
(cd /tmp/collected/repository && find . -type f | sort | xargs sha256sum)
"""

FLOPPY = """
export SAFEHOLD_STATE_DIR=/tmp/floppies XDG_CACHE_HOME=/tmp/cache SAFEHOLD_KEY_FILE=/tmp/floppy.key
mkdir -p /tmp/letters && head -c 500000 /dev/urandom >/tmp/letters/one && cp /mnt/script.sh /tmp/letters/two
safehold volumes create box --media floppy --images /tmp/images --parity 0 --key-file $SAFEHOLD_KEY_FILE
safehold -r volumes:box backup /tmp/letters
safehold volumes burn box && exit 1 || echo "in the drive is something else: $?"
safehold volumes burn box --overwrite
cmp -n "$(stat -c %s /tmp/images/box-001.img)" /tmp/images/box-001.img /dev/fd0 && echo "the same bytes"
rm -r /tmp/images
safehold -r volumes:box restore latest --target /tmp/back --media-dir /dev/fd0
diff -r /tmp/letters /tmp/back/tmp/letters && echo "the same files"
echo "LAB: eject -f floppy0"
sleep 1
safehold volumes verify box --media-dir /dev/fd0 || echo "without a floppy: $?"
"""

STICK = """
for n in $(seq 100); do [ -b /dev/sda ] && break; sleep 0.1; done
mkfs.vfat -F 32 -n STICK /dev/sda >/dev/null
mkdir -p /run/stick && mount -t vfat /dev/sda /run/stick
ln -s x /run/stick/link 2>/dev/null && echo "links?" || echo "no links"
truncate -s 4294967296 /run/stick/big 2>/dev/null && echo "4 GiB?" || echo "no files of 4 GiB"
export SAFEHOLD_STATE_DIR=/tmp/sticks XDG_CACHE_HOME=/tmp/cache SAFEHOLD_KEY_FILE=/tmp/stick.key
mkdir -p "/tmp/odd/a:b" && echo 1 >"/tmp/odd/a:b/What?" && echo 2 >"/tmp/odd/a:b/what?" && ln -s /nowhere /tmp/odd/link
ln "/tmp/odd/a:b/what?" "/tmp/odd/same*" && chmod 4750 "/tmp/odd/a:b/What?" && touch -d "2001-02-03 04:05:06.789012345" "/tmp/odd/a:b/What?"
safehold volumes create sticks --key-file $SAFEHOLD_KEY_FILE
safehold volumes add sticks /run/stick --label "Stick A"
safehold -r volumes:sticks backup /tmp/odd
safehold -r volumes:sticks restore latest --target /tmp/odd-back
see() { (cd $1 && find . -exec stat -c '%n %A %y %N %h' {} +; find . -type f -exec cat {} +) | grep -v "^\\. " | sed "s#$1##g" | sort; }
diff <(see /tmp/odd) <(see /tmp/odd-back/tmp/odd) && echo "the same files"
umount /run/stick
"""

PARTS = {"disc": DISC, "floppy": FLOPPY, "stick": STICK}


@pytest.fixture(scope="module")
def disc(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int, dict[str, bytes]]:
    """A disc with two sessions, the sector of the second, and the objects that are on it."""
    root = tmp_path_factory.mktemp("disc")
    catalogue = make_set(root, capacity=72 << 20, inner="20+4", parity="")
    content: dict[str, bytes] = {}
    path, second = root / "disc", 0
    path.touch()
    for number in (1, 2):
        content[f"packs/aa/{number}"] = os.urandom(900_000)
        _add(root, catalogue, f"packs/aa/{number}", content[f"packs/aa/{number}"])
        (waiting,) = plan(catalogue, [])
        second = waiting.first
        Burning(catalogue, Xorriso(f"stdio:{path}"), silent, SystemClock()).burn(waiting)
    assert len(images(root)) == 1
    return path, second, content


def _add(root: Path, catalogue: Catalogue, key: str, data: bytes) -> None:
    store = open_set(root, finisher=PlainFiles(catalogue))
    store.put(key, data)
    store.recorder.close_session()
    store.close()


@pytest.fixture(scope="module")
def said(disc: tuple[Path, int, dict[str, bytes]], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What each part printed, and behind it ``status N``."""
    if not shutil.which("qemu-system-x86_64") or not shutil.which("mmdebstrap"):
        pytest.fail("The lab needs the Debian packages that `make packages` installs.")
    work = tmp_path_factory.mktemp("lab")
    floppy, stick = work / "floppy", work / "stick"
    subprocess.run(["mkfs.vfat", "-C", floppy, "1440"], check=True, capture_output=True)
    with stick.open("wb") as file:
        file.truncate(300 << 20)
    script = "".join(f"echo 'PART {name}'\n(set -e\n{text}) 2>&1\necho \"status $?\"\n" for name, text in PARTS.items())
    options = ["-drive", f"file={disc[0]},format=raw,media=cdrom,readonly=on"]
    options += ["-drive", f"file={floppy},format=raw,if=floppy,id=floppy0"]
    options += ["-drive", f"file={stick},format=raw,if=none,id=stick0", "-device", "qemu-xhci"]
    options += ["-device", "usb-storage,drive=stick0,id=stick,removable=on"]
    ended = lab(FOLDER).run(script.replace("SECOND", str(disc[1])), work / "run", *options, seconds=800)
    assert ended.status == 0, ended.output
    pieces = re.split(r"^PART (\w+)\n", ended.output, flags=re.MULTILINE)
    return dict(zip(pieces[1::2], pieces[2::2], strict=True))


def test_the_kernel_reads_both_sessions_of_a_disc(disc: tuple[Path, int, dict[str, bytes]], said: dict[str, str]) -> None:
    text = said["disc"]
    plain = "./readme.txt ./restore.pyz ./volume.jsn"
    assert f"first: ./data/d0000001.shd {plain}" in text, text
    assert f"second: ./data/d0000001.shd ./data/d0000002.shd {plain}" in text, text
    assert all(f"{hashlib.sha256(data).hexdigest()}  ./{key}" in text for key, data in disc[2].items()), text
    assert text.rstrip().endswith("status 0"), text


def test_a_floppy_is_written_and_read_in_its_drive(said: dict[str, str]) -> None:
    text = said["floppy"]
    for line in (
        "The medium in /dev/fd0 is not blank",
        "something else: 1",
        "burned and verified",
        "the same bytes",
        "the same files",
    ):
        assert line in text, text


def test_a_stick_with_fat32_keeps_what_fat_cannot(said: dict[str, str]) -> None:
    text = said["stick"]
    for line in ("no links", "no files of 4 GiB", "the same files"):
        assert line in text, text
    assert text.rstrip().endswith("status 0"), text
