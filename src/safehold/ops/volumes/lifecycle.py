"""Making a set of drives, adding drives to it, and finding it again from its drives alone."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from pathlib import Path

from safehold.core.clock import Clock
from safehold.core.errors import DamageError, FormatError, RepositoryMissing, StoreError, UsageError
from safehold.core.events import Reporter, Warn
from safehold.ops.volumes import shared_keys
from safehold.ops.volumes.drive_set import DriveSet, mirror_of, open_catalogue, repository_on
from safehold.ops.volumes.making import making
from safehold.repo.config import Config
from safehold.repo.keys.unlock import Credential
from safehold.repo.repository import create as create_repository
from safehold.repo.repository import exists, open_repository
from safehold.storage import filesystem as fs
from safehold.storage.local import LocalStore
from safehold.storage.oserrors import explained
from safehold.storage.volumes import catalogue as catalogues
from safehold.storage.volumes.catalogue import Catalogue, Volume, VolumeSet
from safehold.storage.volumes.drives import marks
from safehold.storage.volumes.drives.marks import Identity
from safehold.storage.volumes.drives.mounts import Mount, device_of, is_own_disk
from safehold.storage.volumes.drives.presence import PLAIN, where_for

Random = Callable[[int], bytes]


def create(
    folder: Path, volume_set: VolumeSet, credential: Callable[[Config], Credential], cache: Path, clock: Clock, report: Reporter
) -> Catalogue:
    """Make a set of drives, with a repository's config and keys and no drive yet.  Raises ``UsageError`` if it exists.

    ``credential`` is asked, for the new repository's config, what is to open it.
    """
    with making(folder, lambda catalogue: catalogue.exists) as catalogue:
        with closing(mirror_of(catalogue)) as mirror:
            config = Config(id=os.urandom(16).hex())
            create_repository(mirror, credential(config), cache, parameters=lambda _: config, clock=clock, report=report)
        catalogue.put_set(volume_set)
    return catalogue


def add(
    drives: DriveSet, place: Path, label: str, kept: str, *, plain: bool = False, renew: bool = False, random: Random = os.urandom
) -> Volume:
    """Make a drive one of the set, or go on where that was interrupted.

    ``kept``: where it is kept; ``plain``: a folder that is on no drive of its own is meant; ``renew``: it is a copy of a drive of
    the set, and becomes one of its own.  Raises ``UsageError``, ``StoreError``.
    """
    catalogue = drives.catalogue
    folder, mount = where_for(place, plain=plain)
    identity = _identity(catalogue.set, folder)
    known = catalogue.volume(identity.uuid) if identity is not None and not renew else None
    if known is not None and known.path and Path(known.path) != folder and _is_here(known, catalogue.set):
        raise UsageError(
            f"{folder} says that it is {known.label}, which is at {known.path}: one is a copy of the other.",
            "To make the copy a drive of its own, say --renew.",
        )
    label = label or (known.label if known else f"Drive {catalogue.next_number()}")
    if any(each.label.lower() == label.lower() and (known is None or each.uuid != known.uuid) for each in catalogue.volumes()):
        raise UsageError(f"There already is a drive called {label} in {catalogue.set.name}.", "Give another --label.")
    uuid = identity.uuid if identity is not None and not renew else random(16).hex()
    number = known.number if known else _number(catalogue, identity, renew)
    volume = _volume(known, uuid, number, label, kept, folder, mount, plain, drives.clock.now_ns())
    _set_up(drives, folder, volume)
    catalogue.put(volume)
    return volume


def _identity(volume_set: VolumeSet, folder: Path) -> Identity | None:
    """Who a folder says it is.  Raises ``UsageError`` where it belongs to something else."""
    try:
        identity = marks.read(folder)
    except OSError as error:
        raise explained(error, marks.IDENTITY, str(folder)) from error
    if identity is not None and identity.set != volume_set.id:
        raise UsageError(
            f"{folder} is a drive of another set: {identity.label!r} of {identity.name!r}.",
            "Use an empty drive, or delete that folder if its backups are needed no more.",
        )
    return identity


def _is_here(volume: Volume, volume_set: VolumeSet) -> bool:
    with suppress(OSError):
        identity = marks.read(Path(volume.path))
        return identity is not None and identity.uuid == volume.uuid and identity.set == volume_set.id
    return False


def _number(catalogue: Catalogue, identity: Identity | None, renew: bool) -> int:
    taken = {each.number for each in catalogue.volumes()}
    if identity is not None and not renew and identity.number not in taken:
        return identity.number
    return catalogue.next_number()


def _volume(
    known: Volume | None, uuid: str, number: int, label: str, kept: str, folder: Path, mount: Mount, plain: bool, now_ns: int
) -> Volume:
    device = device_of(mount)
    settings = {"folder": os.path.relpath(folder, mount.path), **({PLAIN: True} if plain else {})}
    return Volume(
        uuid=uuid,
        number=number,
        label=label,
        kind="drive",
        place=kept or (known.place if known else ""),
        state=known.state if known and known.state not in ("lost", "retired") else "blank" if known is None else "open",
        fs_uuid="" if plain else device.fs_uuid,
        serial="" if plain else device.serial,
        path=str(folder),
        seen_ns=now_ns,
        written_ns=known.written_ns if known else 0,
        verified_ns=known.verified_ns if known else 0,
        used=known.used if known else 0,
        settings=settings,
    )


def _set_up(drives: DriveSet, folder: Path, volume: Volume) -> None:
    """Config and keys first, then the name: whoever finds the name finds a repository."""
    config = drives.union.config
    try:
        fs.make_folders(folder)
    except OSError as error:
        raise explained(error, "The folder", str(folder)) from error
    with closing(LocalStore(folder)) as store:
        if exists(store) and repository_on(folder).id != config.id:
            raise UsageError(
                f"There already is a repository in {folder}, which is not of this set.",
                "Use an empty drive, or copy its snapshots first: `safehold copy`.",
            )
        shared_keys.give_all(drives.mirror, store)
    volume_set = drives.catalogue.set
    identity = Identity(
        set=volume_set.id,
        name=volume_set.name,
        uuid=volume.uuid,
        number=volume.number,
        label=volume.label,
        repository=config.id,
    )
    marks.write(folder, identity)


def rename(present_folder: Path, label: str) -> None:
    """Write a drive's new label onto it.  Raises ``StoreError``."""
    try:
        identity = marks.read(present_folder)
    except OSError as error:
        raise explained(error, marks.IDENTITY, str(present_folder)) from error
    if identity is not None and identity.label != label:
        values = {name: getattr(identity, name) for name in identity.__struct_fields__}
        marks.write(present_folder, Identity(**(values | {"label": label})))


def recover(
    state: Path,
    folders: Sequence[Path],
    credential: Callable[[str], Credential],
    cache: Path,
    clock: Clock,
    report: Reporter,
    name: str = "",
) -> tuple[Catalogue, list[Volume]]:
    """Learn a set from its drives: what the newest catalogue on them says, and the drives themselves.

    Raises ``RepositoryMissing`` where none of the folders is a drive of a set, ``UsageError``, ``WrongKey``.
    """
    drives = [(folder, identity) for folder in folders if (identity := _read(folder)) is not None]
    if not drives:
        raise RepositoryMissing(
            f"There is no drive of a set at {', '.join(map(str, folders))}.",
            f"Name the folder `{marks.FOLDER}` on the drive, or the drive itself.",
        )
    first = drives[0][1]
    if any(identity.set != first.set for _, identity in drives):
        raise UsageError("These drives are not all of one set.", "Recover one set after the other.")
    target = catalogues.folder_of(state, name or first.name)
    if (target / catalogues.FILE).exists():
        raise UsageError(f"This machine knows a volume set {target.name} already.", "Give another name: --name.")
    key = credential(first.name)
    newest = _newest_catalogue([folder for folder, _ in drives], key, cache, clock, report)
    catalogue = catalogues.restore(newest, target) if newest else Catalogue(target, create=True)
    _complete(catalogue, target.name, drives, clock)
    with closing(mirror_of(catalogue)) as mirror, closing(LocalStore(drives[0][0])) as store:
        shared_keys.give_all(store, mirror)
    return catalogue, catalogue.volumes()


def _read(folder: Path) -> Identity | None:
    try:
        return marks.read(folder)
    except OSError as error:
        raise explained(error, marks.IDENTITY, str(folder)) from error


def _newest_catalogue(folders: list[Path], key: Credential, cache: Path, clock: Clock, report: Reporter) -> bytes:
    """Of the catalogues on the drives that which was written last; empty if none can be read.  Raises ``WrongKey``."""
    found: list[tuple[int, bytes]] = []
    for folder in folders:
        with closing(LocalStore(folder)) as store:
            seals = open_repository(store, key, cache, clock=clock, report=report).seals
        try:
            sealed = marks.read_catalogue(folder)
            if sealed is not None:
                found.append((os.stat(folder / marks.CATALOGUE).st_mtime_ns, open_catalogue(seals, sealed)))
        except (DamageError, FormatError, StoreError, OSError) as error:
            message = f"The catalogue on {folder} cannot be read: {error}"
            report(Warn(code="catalogue-damaged", message=message, hint="What the drives themselves say is used."))
    return max(found)[1] if found else b""


def _complete(catalogue: Catalogue, name: str, drives: list[tuple[Path, Identity]], clock: Clock) -> None:
    """What the catalogue lacks is told by the drives; where they are now is remembered."""
    now = clock.now_ns()
    first = drives[0][1]
    if not catalogue.exists:
        catalogue.put_set(VolumeSet(id=first.set, name=name, kind="drives", media="drive", created_ns=now))
    for folder, identity in drives:
        known = catalogue.volume(identity.uuid)
        resolved, mount = where_for(folder, plain=True)
        plain = bool(known and known.settings.get(PLAIN)) or is_own_disk(mount)
        number = known.number if known else identity.number
        volume = _volume(known, identity.uuid, number, identity.label, "", resolved, mount, plain, now)
        catalogue.put(volume)
