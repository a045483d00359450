"""Which drive, and which program writes in it."""

from __future__ import annotations

import shutil

from safehold.core.errors import UsageError
from safehold.storage.volumes.burning.burner import STDIO, Burner
from safehold.storage.volumes.burning.programs import Growisofs, Xorriso
from safehold.storage.volumes.burning.raw_drive import RawDrive
from safehold.storage.volumes.catalogue import VolumeSet
from safehold.storage.volumes.profiles import profile

BURNERS = ("xorriso", "growisofs", "raw")
OPTICAL_DRIVE = "/dev/sr0"
FLOPPY_DRIVE = "/dev/fd0"


def choose(volume_set: VolumeSet, device: str = "", name: str = "") -> Burner:
    """The drive that is meant, or the usual one.  Raises ``UsageError``, ``ProgramMissing``."""
    if name not in ("", *BURNERS):
        raise UsageError(f"{name} is no program that Safehold burns with.", f"There are: {', '.join(BURNERS)}.")
    optical = profile(volume_set.media, volume_set.capacity).optical
    device = device or str(volume_set.settings.get("device") or (OPTICAL_DRIVE if optical else FLOPPY_DRIVE))
    if not optical:
        if name not in ("", "raw"):
            raise UsageError(f"{name} burns discs; this is a set of {volume_set.media}.", "Leave out --burner.")
        return RawDrive(device)
    if name == "raw":
        raise UsageError("Discs are burned, not written as raw devices.", "Use --burner xorriso or growisofs.")
    if name == "growisofs" or (not name and not shutil.which("xorriso") and shutil.which("growisofs")):
        if device.startswith(STDIO):
            raise UsageError("growisofs burns in drives only.", "For a file install xorriso.")
        return Growisofs(device)
    return Xorriso(device)
