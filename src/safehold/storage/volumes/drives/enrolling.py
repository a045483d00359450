"""The files that make a system run backups when a drive is plugged in: a udev rule and a systemd unit.

As udev(7) and systemd.device(5) have them.  The rule starts nothing itself, since udev kills what runs long: it has systemd want
the unit when the device is there.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from safehold.core.errors import StoreError, UsageError
from safehold.core.systemd import execution
from safehold.storage import filesystem as fs
from safehold.storage.volumes.catalogue import Volume

RULES = "etc/udev/rules.d"
UNITS = "etc/systemd/system"
_SAFE = re.compile(r"[A-Za-z0-9._-]+")


def files(name: str, volumes: Sequence[Volume], program: Sequence[str], variables: dict[str, str], user: str) -> dict[str, str]:
    """Path below the root -> content, for a set and its drives.  Raises ``UsageError`` where no drive has a known UUID."""
    known = [each for each in volumes if each.fs_uuid and _SAFE.fullmatch(each.fs_uuid)]
    if not known:
        raise UsageError(
            f"No drive of {name} has a file system that the system knows by a UUID.",
            "`safehold volumes watch` notices drives without udev.",
        )
    return {
        f"{RULES}/90-safehold-{name}.rules": _rules(name, known),
        f"{UNITS}/safehold-volumes-{name}.service": _unit(name, program, variables, user),
    }


def _rules(name: str, volumes: list[Volume]) -> str:
    lines = [f"# Safehold: backups of the set {name} when one of its drives is plugged in.", ""]
    for each in volumes:
        lines += [
            f"# drive {each.number}",
            f'ACTION=="add|change", SUBSYSTEM=="block", ENV{{ID_FS_UUID}}=="{each.fs_uuid}", TAG+="systemd", '
            f'ENV{{SYSTEMD_WANTS}}+="safehold-volumes-{name}.service"',
        ]
    return "\n".join(lines) + "\n"


def _unit(name: str, program: Sequence[str], variables: dict[str, str], user: str) -> str:
    lines = [
        "[Unit]",
        f"Description=Safehold: backups that wait for a drive of {name}",
        "",
        "[Service]",
        "Type=oneshot",
        *([f"User={user}"] if user else []),
        *execution(program, variables),
    ]
    return "\n".join(lines) + "\n"


def write(root: Path, wanted: dict[str, str]) -> list[Path]:
    """Write the files below a root; where they are.  Raises ``StoreError``."""
    written = []
    for name, text in wanted.items():
        path = root / name
        try:
            fs.make_folders(path.parent)
            partial = path.with_name(path.name + ".tmp")
            partial.write_text(text, encoding="utf-8")
            partial.chmod(0o644)
            partial.replace(path)
        except OSError as error:
            raise StoreError(
                f"{path} cannot be written: {error.strerror}.",
                "Run it as root, or have it shown by --show and put it there yourself.",
            ) from error
        written.append(path)
    return written
