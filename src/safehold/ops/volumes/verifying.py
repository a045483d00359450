"""Reading a whole drive back, past what the system remembers of it."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path

from safehold.core.errors import DamageError, ObjectMissing, StoreError
from safehold.core.events import Warn
from safehold.ops.volumes.drive_set import DriveSet
from safehold.repo.check import CheckOptions, Report, check
from safehold.storage.store import Store
from safehold.storage.volumes.drives.caches import drop_cached, drop_device
from safehold.storage.volumes.drives.drive_store import NAMED_BY_CONTENT
from safehold.storage.volumes.drives.presence import Present


def verify(drives: DriveSet, present: Present) -> Report:
    """Check a drive with every byte of it; the catalogue then says that it is verified, or damaged.  Raises store errors."""
    view = drives.view(present)
    forget_cached(present.folder)
    if not drop_device(present.mount):
        drives.report(
            Warn(
                code="read-from-memory",
                message=f"What is read of {present.title} may come from memory: only root can have a FUSE drive forgotten.",
                hint="Unmount it, plug it in again, and verify it then; or run this as root.",
            )
        )
    report = check(view, CheckOptions(read_data=100))
    now = drives.clock.now_ns()
    if report.clean:
        drives.catalogue.change(present.volume.uuid, state="verified", verified_ns=now)
    else:
        drives.catalogue.change(present.volume.uuid, state="damaged")
    return report


def mend(drives: DriveSet, present: Present, report: Report) -> list[str]:
    """Replace what a report found damaged or missing by what another drive that is here has under the same name; the keys.

    What is damaged is kept in quarantine.  Verify again afterwards.
    """
    mended = []
    target = drives.view(present).store
    others = [drives.view(each).store for each in drives.present if each.volume.uuid != present.volume.uuid]
    for key in sorted({found.key for found in report.damage if found.key.startswith(NAMED_BY_CONTENT)}):
        data = next((data for store in others if (data := _whole(store, key)) is not None), None)
        if data is not None:
            with suppress(ObjectMissing):
                target.quarantine(key)
            target.put(key, data)
            mended.append(key)
    return mended


def _whole(store: Store, key: str) -> bytes | None:
    """An object that is as its name says; None if there is none."""
    try:
        data = store.get(key)
    except (StoreError, DamageError):
        return None
    return data if hashlib.sha256(data).hexdigest() == key.rpartition("/")[2] else None


def forget_cached(folder: Path) -> None:
    """Write everything below a folder out, and have the system forget it, so that what is read comes from the drive."""
    for parent, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError), open(os.path.join(parent, name), "rb", buffering=0) as file:
                with suppress(OSError):
                    os.fsync(file.fileno())
                drop_cached(file.fileno())
