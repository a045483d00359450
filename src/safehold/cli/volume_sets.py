"""``volumes:NAME`` on the command line: which view of a set a command works on, and what happens after it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Protocol

from safehold.core.errors import SafeholdError, UsageError, Waiting

if TYPE_CHECKING:
    from safehold.cli.call import Call
    from safehold.cli.settings import Named
    from safehold.ops.volumes.drive_set import DriveSet
    from safehold.repo.keys.unlock import Credential
    from safehold.repo.repository import Repository
    from safehold.repo.snapshots import Snapshot
    from safehold.storage.store import Store
    from safehold.storage.volumes.catalogue import Catalogue, Volume
    from safehold.storage.volumes.drives.presence import Found, Present

SCHEME = "volumes:"
_PLACE = re.compile(r"volumes:(?://)?([^@]+)(?:@(.+))?")
_NO_VIEW = frozenset(
    ("snapshots", "forget", "undelete", "prune", "key add", "key list", "key recovery", "key remove", "key rotate", "key writer")
)
"""They need to know of all drives, and none of them."""
_WRITING = frozenset(("backup", "db watch", "pg receive", "pg archive-upload", "share create", "share receive"))
"""They add: onto the drive that is most behind."""


def is_set(location: str) -> bool:
    """Whether a place is a volume set."""
    return location.startswith(SCHEME)


def parse(location: str) -> tuple[str, str]:
    """Name and view of ``volumes:NAME[@VIEW]``.  Raises ``UsageError``."""
    match = _PLACE.fullmatch(location)
    if match is None:
        raise UsageError(f"{location} names no volume set.", "Write volumes:NAME; `safehold volumes list` shows the sets.")
    return match[1], match[2] or ""


def catalogue_of(call: Call, name: str) -> Catalogue:
    """The catalogue of a set, closed at the end of the call.  Raises ``UsageError``."""
    from safehold.storage.volumes.catalogue import Catalogue, folder_of

    catalogue = Catalogue(folder_of(call.state, name))
    call.closing(catalogue)
    return catalogue


def drive_set(call: Call, catalogue: Catalogue, credential: Callable[[], Credential]) -> DriveSet:
    """A set of drives, closed at the end of the call."""
    from safehold.ops.volumes.drive_set import DriveSet

    drives = DriveSet(catalogue, credential, call.cache, call.clock, call.out.report)
    call.closing(drives)
    return drives


class VolumeSession(Protocol):
    """One call's work on a set, of whichever kind."""

    write_once: bool
    """What is deleted frees no room."""

    def repository(self, wrap: Callable[[Store], Store] | None = None) -> Repository:
        """What the command works on.  Raises ``Waiting`` where that is on no volume that is here."""

    def all_views(self) -> Iterator[Repository]:
        """Every view that can be worked on just now, for what is done to each by itself."""

    def holders(self) -> dict[str, list[str]]:
        """Snapshot -> the labels of the volumes, or the names of the views, that hold it."""

    def unproven(self) -> set[str]:
        """Snapshots of which no copy counts for a policy: no volume that holds them is verified."""

    def prepare(self, repository: Repository, snapshot: Snapshot, path: bytes, include: list[str]) -> None:
        """Before a restore: have what it needs at hand.  Raises ``StoreUnreachable``."""

    def restored(self) -> None:
        """After a restore."""

    def undeleted(self, name: str) -> None:
        """A snapshot was taken out of the trash, and is to be so everywhere."""

    def settle(self) -> None:
        """What was done so far reaches every volume that is here."""

    def finish(self) -> None:
        """After a command that went well."""


def of_place(call: Call, place: Named, credential: Callable[[], Credential], *, writing: bool = False) -> VolumeSession:
    """What a call does with a set; ``writing``: it adds to it.  Raises ``UsageError``."""
    name, view = parse(place.location)
    catalogue = catalogue_of(call, name)
    writing = writing or call.command in _WRITING
    if catalogue.set.kind != "drives":
        from safehold.cli.disc_sets import DiscSession, disc_set

        return DiscSession(call, disc_set(call, catalogue, credential), view, writing)
    return DriveSession(call, drive_set(call, catalogue, credential), view, writing)


class DriveSession:
    """One call's work on a set of drives."""

    write_once = False

    def __init__(self, call: Call, drives: DriveSet, view: str, writing: bool) -> None:
        self._call = call
        self.drives = drives
        self.catalogue = drives.catalogue
        self._view = view
        self._writing = writing
        self.used: list[Present] = []
        self.when_finished: list[Callable[[], None]] = []
        """What is noted once all has ended well."""

    def repository(self, wrap: Callable[[Store], Store] | None = None) -> Repository:
        """What the command works on.  Raises ``Waiting`` where that is on no drive that is here."""
        if self._call.command in _NO_VIEW:
            return self.drives.union
        chosen = self._chosen()
        opened = self.drives.view(chosen)
        if chosen not in self.used:
            self.used.append(chosen)
            self._call.out.note(f"Using {chosen.title}, at {chosen.folder}.")
        if wrap is None:
            return opened
        return type(opened)(wrap(opened.store), opened.config, opened.seals, opened.cache.parent, opened.clock, opened.report)

    def all_views(self) -> Iterator[Repository]:
        """Every drive that is here, one after the other.  Raises ``Waiting`` if none is."""
        self.require(self.drives.present, self._volumes())
        for each in self.drives.present:
            self._call.out.note(f"On {each.title}:")
            yield self.drives.view(each)

    def _chosen(self) -> Present:
        if self._view:
            volume = self.catalogue.named(self._view)
            return self.require([each for each in self.drives.present if each.volume.uuid == volume.uuid], [volume])
        if self._writing:
            from safehold.ops.volumes.drive_set import behind

            self.require(self.drives.present, self._volumes())
            return behind(self.drives.present)
        return self._reading()

    def _reading(self) -> Present:
        """The drive that holds what is meant; where nothing is, that which holds most."""
        self._look_around()
        wanted = named_snapshots(self._call, self.drives.union)
        held = self.drives.held()
        holding = set.intersection(*(held.get(name, set()) for name in wanted)) if wanted else None
        here = [each for each in self.drives.present if holding is None or each.volume.uuid in holding]
        if not here and holding is not None:
            raise self._elsewhere(wanted, [each for each in self._volumes() if each.uuid in holding])
        self.require(here, self._volumes())
        counts = {each.volume.uuid: sum(each.volume.uuid in uuids for uuids in held.values()) for each in here}
        return max(here, key=lambda each: (counts[each.volume.uuid], each.volume.written_ns, -each.volume.number))

    def _look_around(self) -> None:
        """Learn what the drives that are here hold by now."""
        for each in self.drives.present:
            self.drives.view(each)

    def _elsewhere(self, wanted: list[str], holders: list[Volume]) -> SafeholdError:
        from safehold.storage.volumes.drives.presence import title_of

        names = " and ".join(name[:8] for name in dict.fromkeys(wanted))
        if not holders:
            return UsageError(f"No drive holds {names} together.", "Name snapshots that are on one drive.")
        drives = " or ".join(title_of(each) for each in holders)
        return Waiting(f"Snapshot {names} is on {drives}, which is not here.", "Plug it in and run it again.")

    def _volumes(self) -> list[Volume]:
        from safehold.storage.volumes.drives.presence import OUT_OF_USE

        return [each for each in self.catalogue.volumes() if each.state not in OUT_OF_USE]

    def require(self, here: list[Present], wanted: list[Volume]) -> Present:
        """The first of the drives that are here.  Raises ``Waiting`` if none is."""
        if here:
            return here[0]
        raise waiting(self.catalogue.set.name, wanted, self.drives.found)

    def holders(self) -> dict[str, list[str]]:
        """Snapshot -> the labels of the drives that hold it, as far as is known."""
        labels = {each.uuid: each.label for each in self.catalogue.volumes()}
        return {name: sorted(labels[uuid] for uuid in uuids) for name, uuids in self.drives.held().items()}

    def unproven(self) -> set[str]:
        """What is on no verified drive."""
        self._look_around()
        verified = {each.uuid for each in self.catalogue.volumes() if each.state == "verified"}
        return {name for name, uuids in self.drives.held().items() if not uuids & verified}

    def prepare(self, repository: Repository, snapshot: Snapshot, path: bytes, include: list[str]) -> None:
        """A drive holds everything."""

    def restored(self) -> None:
        """Nothing was fetched for it."""

    def undeleted(self, name: str) -> None:
        """A snapshot was taken out of the trash, and is to be so on every drive."""
        self.drives.undeleted(name)

    def settle(self) -> None:
        """What was done so far reaches every drive that is here."""
        self.drives.settle()

    def finish(self) -> None:
        """After a command that went well: what was written is proven, and all drives that are here hear of it."""
        if self._call.command in _NO_VIEW and self._call.command != "snapshots":
            self._look_around()
        self.drives.settle()
        if self._call.command == "backup" and not self._call.values.dry_run and len(self.drives.present) > 1 and not self._view:
            self.catch_up()
        for note in self.when_finished:
            note()

    def catch_up(self) -> None:
        """The drives that are here catch up from each other."""
        from safehold.cli.render import words

        for each in self.drives.present:
            come = self.drives.catch_up(each)
            if come.snapshots:
                what = f"{words.count(len(come.snapshots), 'snapshot')} ({words.size(come.bytes)})"
                self._call.out.note(f"{each.title} caught up: {what}.")
        self.drives.settle()


def waiting(name: str, wanted: Iterable[Volume], found: Found) -> SafeholdError:
    """The error that says which drives are waited for."""
    from safehold.storage.volumes.drives.presence import title_of

    titles = [title_of(each) for each in wanted]
    if not titles:
        return UsageError(f"The set {name} has no drive yet.", f"Plug one in: `safehold volumes add {name} /media/me/STICK`.")
    stranger = next(iter(found.strangers), None)
    hint = "Plug one of them in and run it again." if len(titles) > 1 else "Plug it in and run it again."
    if stranger is not None:
        volume, folder, identity = stranger
        what = f"{identity.label!r} of the set {identity.name!r}" if identity else "something else"
        hint = f"At {folder}, where {volume.label} was, is now {what}.  {hint}"
    return Waiting(f"Waiting for a drive of {name}: {' or '.join(titles)}.", hint)


def named_snapshots(call: Call, repository: Repository) -> list[str]:
    """Ids of the snapshots that the command names.  Raises ``SnapshotMissing``."""
    from safehold.ops.resolve import resolve, resolve_path

    values = call.values
    plain = [*_texts(values, ("snapshot", "snaps"))]
    with_path = [*_texts(values, ("snap", "old", "new", "places"))]
    if call.command in ("tag add", "tag remove", "drill"):
        plain, with_path = plain + with_path, []
    return [resolve(repository, text).id for text in plain] + [resolve_path(repository, text)[0].id for text in with_path]


def _texts(values: object, names: Iterable[str]) -> Iterator[str]:
    for name in names:
        found = getattr(values, name, None) or []
        yield from [found] if isinstance(found, str) else found


def drives_of(call: Call, name: str) -> DriveSet:
    """A set of drives by its name, opened with the key that is given.  Raises ``UsageError``."""
    from safehold.cli.settings import Named

    catalogue = catalogue_of(call, name)
    require_drives(catalogue)
    configured = next((each for each in call.settings.repositories.values() if each.location == f"{SCHEME}{name}"), None)
    place = configured or Named(location=f"{SCHEME}{name}")
    return drive_set(call, catalogue, lambda: call.credential(place))


def require_drives(catalogue: Catalogue) -> None:
    """Raise ``UsageError`` for a set of another kind."""
    if catalogue.set.kind != "drives":
        raise UsageError(
            f"{catalogue.set.name} is a set of discs; this is for drives.", "`safehold volumes --help` lists what is."
        )


def chosen(drives: DriveSet, wanted: str) -> list[Present]:
    """The drives that are here, or the one that is wanted.  Raises ``Waiting``, ``UsageError``."""
    volume = drives.catalogue.named(wanted) if wanted else None
    found = [each for each in drives.present if volume is None or each.volume.uuid == volume.uuid]
    if not found:
        every = [volume] if volume is not None else drives.catalogue.volumes()
        raise waiting(drives.catalogue.set.name, every, drives.found)
    return found


def present_of(call: Call, catalogue: Catalogue, wanted: str) -> list[Present]:
    """The same without opening any key."""
    from safehold.storage.volumes.drives.presence import look

    require_drives(catalogue)
    volume = catalogue.named(wanted) if wanted else None
    found = look(catalogue, call.clock.now_ns())
    here = [each for each in found.present if volume is None or each.volume.uuid == volume.uuid]
    if not here:
        raise waiting(catalogue.set.name, [volume] if volume is not None else catalogue.volumes(), found)
    return here
