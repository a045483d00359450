"""Which file systems are mounted where, and what the system knows of their devices."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_TABLE = "/proc/self/mountinfo"
_UDEV = Path("/run/udev/data")
_BY_UUID = Path("/dev/disk/by-uuid")
_SYSFS = Path("/sys/dev/block")
_OFFLINE = frozenset(("offline", "transport-offline", "cancel", "deleted"))
"""States of a SCSI device that has gone (Linux, drivers/scsi/scsi_sysfs.c)."""
_LOOK_SECONDS = 0.1
_NO_DRIVES = frozenset(
    (
        *("autofs", "bpf", "cgroup", "cgroup2", "configfs", "debugfs", "devpts", "devtmpfs", "efivarfs", "fusectl", "hugetlbfs"),
        *("mqueue", "nsfs", "proc", "pstore", "ramfs", "rpc_pipefs", "securityfs", "selinuxfs", "squashfs", "sysfs", "tracefs"),
    )
)
"""Kinds that hold nobody's files."""
NETWORK = frozenset(("nfs", "nfs4", "cifs", "smb3", "9p", "afs", "ceph", "fuse.sshfs", "fuse.rclone", "fuse.s3fs", "davfs"))
"""Kinds that may keep whoever looks at them waiting for ever."""


@dataclass(frozen=True, slots=True)
class Mount:
    """A mounted file system."""

    path: str
    device: str = ""
    """``8:17``: major and minor number, as Linux has them; empty elsewhere."""
    kind: str = ""
    """``ext4``, ``vfat`` and so on."""
    source: str = ""
    """The device's node, such as ``/dev/sdb1``."""


@dataclass(frozen=True, slots=True)
class Device:
    """What tells one device from another; empty where the system doesn't say."""

    fs_uuid: str = ""
    serial: str = ""


def mounts() -> list[Mount]:
    """The mounted file systems on which there may be a drive's files; of several at one place the one that is seen."""
    if sys.platform != "linux":
        return _other_mounts()
    found: dict[str, Mount] = {}
    try:
        lines = Path(_TABLE).read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return []
    for line in lines:
        before, _, after = line.partition(" - ")
        fields, rest = before.split(" "), after.split(" ")
        if len(fields) > 4 and len(rest) > 1:
            path = _unescaped(fields[4])
            found[path] = Mount(path, fields[2], rest[0], _unescaped(rest[1]))
    return [each for each in found.values() if each.kind not in _NO_DRIVES]


def mount_of(path: Path) -> Mount:
    """The mounted file system that a folder is on.  Raises ``OSError``."""
    real = os.path.realpath(path, strict=True)
    best = Mount("/")
    for each in mounts():
        if (real == each.path or real.startswith(each.path.rstrip("/") + "/")) and len(each.path) >= len(best.path):
            best = each
    if sys.platform != "linux":
        at = real
        while not os.path.ismount(at):
            at = os.path.dirname(at)
        return Mount(at)
    return best


def is_own_disk(mount: Mount) -> bool:
    """Whether that is the file system of the machine itself, or where the user's own files are: no drive to take away."""
    try:
        here = os.stat(mount.path).st_dev
        return any(os.stat(place).st_dev == here for place in (os.sep, os.path.expanduser("~")))
    except OSError:
        return False


def device_of(mount: Mount) -> Device:
    """What udev, or else blkid, says of a mounted device."""
    facts = _udev(mount.device)
    uuid = facts.get("ID_FS_UUID", "") or _by_uuid(mount.source) or _blkid(mount.source)
    return Device(uuid, facts.get("ID_SERIAL_SHORT", "") or facts.get("ID_SERIAL", ""))


def is_plugged_in(device: str) -> bool:
    """Whether a device (``8:17``) is still there and answers; True where the system doesn't say."""
    if not device or not _SYSFS.is_dir() or device.startswith("0:"):
        return True
    here = _SYSFS / device
    # A partition's disk is the folder above (sysfs); its state is that of the SCSI device, which USB sticks and disks are.
    states = (here / "device/state", here.resolve().parent / "device/state")
    return here.exists() and not any(_says(state, _OFFLINE) for state in states)


def goes_away(device: str, seconds: float) -> bool:
    """Whether a device that just failed turns out to be unplugged: errors come before the system has noticed."""
    for _ in range(int(seconds / _LOOK_SECONDS)):
        if not is_plugged_in(device):
            return True
        time.sleep(_LOOK_SECONDS)
    return not is_plugged_in(device)


def _says(path: Path, words: frozenset[str]) -> bool:
    with suppress(OSError):
        return path.read_text().strip() in words
    return False


def _udev(device: str) -> dict[str, str]:
    """udev's own record of a block device: lines ``E:KEY=VALUE`` (systemd, src/libsystemd/sd-device)."""
    facts: dict[str, str] = {}
    with suppress(OSError):
        for line in (_UDEV / f"b{device}").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("E:"):
                key, _, value = line[2:].partition("=")
                facts[key] = value
    return facts


def _by_uuid(source: str) -> str:
    with suppress(OSError):
        real = os.path.realpath(source)
        return next((each.name for each in _BY_UUID.iterdir() if os.path.realpath(each) == real), "")
    return ""


def _blkid(source: str) -> str:
    program = shutil.which("blkid", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if not program or not source.startswith("/dev/"):
        return ""
    with suppress(OSError, subprocess.SubprocessError):
        words = [program, "-p", "-s", "UUID", "-o", "value", source]
        return subprocess.run(words, capture_output=True, text=True, timeout=20, check=False).stdout.strip()
    return ""


def _other_mounts() -> list[Mount]:
    if sys.platform == "win32":
        return [Mount(f"{letter}:\\") for letter in "DEFGHIJKLMNOPQRSTUVWXYZ" if os.path.isdir(f"{letter}:\\")]
    folders = [Path(name) for name in ("/Volumes", "/media", "/mnt", "/run/media") if os.path.isdir(name)]
    return [Mount(str(each)) for folder in folders for each in folder.iterdir() if os.path.ismount(each)]


def _unescaped(text: str) -> str:
    """The kernel writes space, tab, newline and backslash as octal numbers (proc(5))."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)
