"""A drive that is plugged in and that nobody mounts: on a server there is no desktop to do it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from safehold.core.clock import Clock
from safehold.core.errors import StoreError
from safehold.storage.volumes.catalogue import Catalogue, Volume
from safehold.storage.volumes.drives.arrivals import Arrivals
from safehold.storage.volumes.drives.presence import OUT_OF_USE, look

RUN = Path("/run/safehold/volumes")
_BY_UUID = Path("/dev/disk/by-uuid")
_LOOK_SECONDS = 5.0
_SECONDS = 120


def wait_for_one(catalogue: Catalogue, seconds: float, clock: Clock) -> bool:
    """Wait until a drive of a set is mounted, for so long at most; whether one is."""
    until = clock.monotonic() + seconds
    with Arrivals() as arrivals:
        while not look(catalogue, clock.now_ns()).present:
            left = until - clock.monotonic()
            if left <= 0:
                return False
            arrivals.wait(min(left, _LOOK_SECONDS))
    return True


@contextmanager
def mounted(catalogue: Catalogue, wanted: bool, clock: Clock) -> Iterator[None]:
    """Mount what is plugged in and not mounted, if that is ``wanted``; unmounted at the end.  Raises ``StoreError``."""
    if not wanted or look(catalogue, clock.now_ns()).present:
        yield
        return
    made: list[Path] = []
    try:
        for volume in catalogue.volumes():
            device = _BY_UUID / volume.fs_uuid
            if volume.fs_uuid and volume.state not in OUT_OF_USE and device.exists():
                made.append(_mount(device, volume))
        yield
    finally:
        for place in made:
            subprocess.run(["umount", "--", str(place)], capture_output=True, timeout=_SECONDS, check=False)
            with suppress(OSError):
                place.rmdir()


def _mount(device: Path, volume: Volume) -> Path:
    place = RUN / volume.uuid
    try:
        os.makedirs(place, mode=0o700, exist_ok=True)
        words = ["mount", "-o", "nosuid,nodev,noexec", "--", str(device), str(place)]
        done = subprocess.run(words, capture_output=True, text=True, timeout=_SECONDS, check=False, errors="replace")
    except OSError as error:
        raise StoreError(
            f"{volume.label} cannot be mounted: {error.strerror}.", "Only root may; or mount it yourself."
        ) from error
    if done.returncode:
        reason = " ".join(done.stderr.split()).rstrip(".")
        raise StoreError(f"{volume.label} cannot be mounted: {reason}.", "Only root may; or mount it yourself.")
    return place
