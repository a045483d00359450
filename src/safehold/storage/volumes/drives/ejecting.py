"""Letting go of a drive: everything written out, unmounted, safe to remove."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from safehold.core.errors import StoreError
from safehold.storage import filesystem as fs
from safehold.storage.oserrors import explained
from safehold.storage.volumes.drives.mounts import is_own_disk
from safehold.storage.volumes.drives.presence import PLAIN, Present

_SECONDS = 600
"""A slow stick may have a lot to write out."""


def eject(present: Present) -> bool:
    """Write everything out and unmount; whether it was unmounted: a plain folder is not.  Raises ``StoreError``."""
    flush(present.folder)
    if present.volume.settings.get(PLAIN) or is_own_disk(present.mount):
        return False
    failures = []
    for words in _ways(present.mount.path, present.mount.source):
        done = subprocess.run(words, capture_output=True, text=True, timeout=_SECONDS, check=False, errors="replace")
        if done.returncode == 0:
            return True
        failures.append(" ".join(done.stderr.split()) or f"{words[0]} failed with status {done.returncode}")
    reason = failures[-1].rstrip(".") if failures else "this system has no program for it"
    raise StoreError(
        f"{present.title} could not be unmounted: {reason}.",
        "Everything is written out.  Close what uses it (files, terminals, programs) and try again; do not unplug it yet.",
    )


def flush(folder: Path) -> None:
    """Return when everything on the drive survives being unplugged.  Raises ``StoreError``."""
    try:
        if hasattr(os, "sync"):
            os.sync()
        fs.flush_folder(str(folder))
    except OSError as error:
        raise explained(error, "What was written", str(folder)) from error


def _ways(mount: str, source: str) -> list[list[str]]:
    """The commands to try, one after the other."""
    if sys.platform == "darwin":
        return [["diskutil", "eject", mount]]
    if sys.platform == "win32":
        quoted = mount.rstrip("\\")
        script = f"(New-Object -comObject Shell.Application).Namespace(17).ParseName('{quoted}').InvokeVerb('Eject')"
        return [["powershell", "-NoProfile", "-Command", script]]
    ways = [["umount", "--", mount]]
    if shutil.which("udisksctl") and source.startswith("/dev/"):
        ways.insert(0 if os.geteuid() else 1, ["udisksctl", "unmount", "-b", source])
    return ways
