"""Which drives of a set are here just now, and where."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from safehold.core.errors import StoreError
from safehold.storage.volumes.catalogue import Catalogue, Volume
from safehold.storage.volumes.drives import marks
from safehold.storage.volumes.drives.marks import Identity
from safehold.storage.volumes.drives.mounts import NETWORK, Mount, device_of, is_own_disk, mount_of, mounts

PLAIN = "plain_folder"
"""In a volume's settings: it was said that its folder is on no drive of its own."""
OUT_OF_USE = ("lost", "retired")


@dataclass(frozen=True, slots=True)
class Present:
    """A drive that is here."""

    volume: Volume
    folder: Path
    """Of the repository."""
    mount: Mount

    @property
    def title(self) -> str:
        """What people call it."""
        return title_of(self.volume)

    @property
    def free(self) -> int:
        """Bytes that are free there; 0 where the system doesn't say."""
        with suppress(OSError):
            return shutil.disk_usage(self.folder).free
        return 0


@dataclass(frozen=True, slots=True)
class Found:
    """What a look around found."""

    present: list[Present]
    doubles: list[tuple[Present, Path]]
    """Drives that say they are one that was found already: one of them is a copy of the other."""
    strangers: list[tuple[Volume, Path, Identity | None]]
    """Where a drive was last, something else is now."""


def title_of(volume: Volume) -> str:
    """What people call a volume: its label, and where it is kept."""
    return f"{volume.label} ({volume.place})" if volume.place else volume.label


def look(catalogue: Catalogue, now_ns: int) -> Found:
    """Look for every drive of the set, where it was last and wherever something is mounted; remembers what it finds."""
    volumes = {each.uuid: each for each in catalogue.volumes()}
    set_id = catalogue.set.id
    table = mounts()
    here: dict[str, Present] = {}
    doubles: list[tuple[Present, Path]] = []
    for folder in _unique(_candidates(volumes.values(), table)):
        identity = _identity(folder)
        if identity is None or identity.set != set_id:
            continue
        volume = volumes.get(identity.uuid) or _newcomer(catalogue, folder, identity)
        if volume is None or (mount := _fit_mount(volume, folder)) is None:
            continue
        if volume.uuid in here:
            doubles.append((here[volume.uuid], folder))
            continue
        known = catalogue.change(volume.uuid, seen_ns=now_ns, path=str(folder))
        here[volume.uuid] = Present(known, folder, mount)
    return Found(sorted(here.values(), key=lambda each: each.volume.number), doubles, list(_strangers(volumes.values(), here)))


def require_single(found: Found) -> None:
    """Raise ``StoreError`` where two drives say that they are the same one."""
    for first, second in found.doubles:
        raise StoreError(
            f"Two drives say that they are {first.title}: {first.folder} and {second}.",
            "One is a copy of the other.  Unplug the copy, or make it a drive of its own: `safehold volumes add` with --renew.",
        )


def where_for(folder: Path, *, plain: bool) -> tuple[Path, Mount]:
    """The repository's folder on the drive that a user names, and the drive's mount.

    Raises ``StoreError`` where that is no drive: an empty mount point, or the machine's own disk, unless ``plain``.
    """
    try:
        mount = mount_of(folder)
    except OSError as error:
        raise StoreError(f"{folder} cannot be used: {error.strerror}.", "Is the drive plugged in and mounted?") from error
    if not plain and is_own_disk(mount):
        raise StoreError(
            f"{folder} is on this machine's own disk: no drive is mounted there.",
            "Mount the drive first.  If a plain folder is meant to stand for a drive, say so with --plain-folder.",
        )
    inside = folder if folder.name == marks.FOLDER or os.path.isfile(folder / marks.IDENTITY) else folder / marks.FOLDER
    return Path(os.path.realpath(inside)), mount


def _newcomer(catalogue: Catalogue, folder: Path, identity: Identity) -> Volume | None:
    """A drive of the set that the catalogue does not know: it was added on another machine, or the catalogue was an older one."""
    with suppress(OSError):
        mount = mount_of(folder)
        if is_own_disk(mount):
            return None
        device = device_of(mount)
        known = catalogue.volumes()
        taken = any(each.number == identity.number for each in known)
        volume = Volume(
            uuid=identity.uuid,
            number=catalogue.next_number() if taken else identity.number,
            label=identity.label,
            kind="drive",
            state="open",
            fs_uuid=device.fs_uuid,
            serial=device.serial,
            path=str(folder),
            settings={"folder": os.path.relpath(folder, mount.path)},
        )
        catalogue.put(volume)
        return volume
    return None


def _candidates(volumes: Iterable[Volume], table: list[Mount]) -> Iterator[Path]:
    relatives = {marks.FOLDER}
    for volume in volumes:
        if volume.state not in OUT_OF_USE:
            yield Path(volume.path)
            relatives.add(str(volume.settings.get("folder", marks.FOLDER)))
    for mount in table:
        for relative in relatives if mount.kind not in NETWORK else ():
            yield Path(mount.path, relative)


def _unique(folders: Iterable[Path]) -> Iterator[Path]:
    """Each folder once, by what it is: one may be mounted at several places."""
    seen: set[tuple[int, int]] = set()
    for folder in folders:
        with suppress(OSError):
            status = folder.stat()
            if (status.st_dev, status.st_ino) not in seen:
                seen.add((status.st_dev, status.st_ino))
                yield folder


def _identity(folder: Path) -> Identity | None:
    with suppress(OSError):
        return marks.read(folder)
    return None


def _fit_mount(volume: Volume, folder: Path) -> Mount | None:
    """The mount of a drive's folder; None where the folder is not on a drive though it should be."""
    with suppress(OSError):
        mount = mount_of(folder)
        if volume.settings.get(PLAIN) or not is_own_disk(mount):
            return mount
    return None


def _strangers(volumes: Iterable[Volume], here: dict[str, Present]) -> Iterator[tuple[Volume, Path, Identity | None]]:
    for volume in volumes:
        folder = Path(volume.path)
        if volume.uuid not in here and volume.state not in OUT_OF_USE and volume.path and os.path.isdir(folder):
            identity = _identity(folder)
            if identity is None or identity.uuid != volume.uuid:
                yield volume, folder, identity
