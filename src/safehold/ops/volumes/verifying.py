"""Reading a whole drive back, past what the system remembers of it."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from safehold.ops.volumes.drive_set import DriveSet
from safehold.repo.check import CheckOptions, Report, check
from safehold.storage.volumes.drives.drive_store import drop_cached
from safehold.storage.volumes.drives.presence import Present


def verify(drives: DriveSet, present: Present) -> Report:
    """Check a drive with every byte of it; the catalogue then says that it is verified, or damaged.  Raises store errors."""
    view = drives.view(present)
    forget_cached(present.folder)
    report = check(view, CheckOptions(read_data=100))
    now = drives.clock.now_ns()
    if report.clean:
        drives.catalogue.change(present.volume.uuid, state="verified", verified_ns=now)
    else:
        drives.catalogue.change(present.volume.uuid, state="damaged")
    return report


def forget_cached(folder: Path) -> None:
    """Write everything below a folder out, and have the system forget it, so that what is read comes from the drive."""
    for parent, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError), open(os.path.join(parent, name), "rb", buffering=0) as file:
                with suppress(OSError):
                    os.fsync(file.fileno())
                drop_cached(file.fileno())
