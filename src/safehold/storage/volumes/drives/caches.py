"""Having the system forget what it remembers of a drive, so that what is read next comes from the drive itself."""

from __future__ import annotations

import os
import sys
from contextlib import suppress

from safehold.storage.volumes.drives.mounts import Mount

FUSE = "fuseblk"
"""The kind of a file system that a program reads from a device: ntfs-3g, exfat-fuse."""


def drop_cached(descriptor: int) -> None:
    """Have the system forget what it holds of a file, or of a device, in memory.  Clean pages only."""
    if sys.platform == "linux":
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)


def drop_device(mount: Mount) -> bool:
    """The same for what lies between a FUSE program and its device, where forgetting the files alone changes nothing.

    False: who runs this may not read the device, so what is read next may come from memory.
    """
    if mount.kind != FUSE or not mount.source.startswith("/dev/"):
        return True
    with suppress(OSError), open(mount.source, "rb", buffering=0) as device:
        drop_cached(device.fileno())
        return True
    return False
