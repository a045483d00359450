"""A set of drives as a repository: one view for each drive, and one of what the machine knows of all of them.

The machine keeps a small store of its own for each set, the *mirror*: config, keys, the snapshot objects of all drives, and the
marks of the trash; no index and no packs.  So snapshots are listed, named, forgotten and taken back, and keys are changed, with
no drive there; each drive is told when it appears.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import cached_property
from pathlib import Path

from safehold.core.clock import Clock
from safehold.core.errors import DamageError, ObjectExists, ObjectMissing, SafeholdError, StoreError, StoreUnreachable, WrongKey
from safehold.core.events import Event, Reporter, Warn
from safehold.ops import forget
from safehold.ops.volumes import shared_keys
from safehold.ops.volumes.catching import CaughtUp, catch_up, lacking
from safehold.repo import condemned, envelopes, snapshots
from safehold.repo.config import Config
from safehold.repo.config import read as read_config
from safehold.repo.keys.opening import refresh
from safehold.repo.keys.unlock import Credential
from safehold.repo.repository import Repository, open_repository
from safehold.repo.seals import Seals
from safehold.storage.local import LocalStore
from safehold.storage.volumes.catalogue import Catalogue
from safehold.storage.volumes.drives import marks
from safehold.storage.volumes.drives.drive_store import DriveStore
from safehold.storage.volumes.drives.presence import OUT_OF_USE, Found, Present, look, require_single

KIND = "volume-catalogue"
"""Of the sealed object that a catalogue becomes on a drive."""
MIRROR = "mirror"
_HELD = "CREATE TABLE IF NOT EXISTS held (volume TEXT, snapshot TEXT, PRIMARY KEY (volume, snapshot)) WITHOUT ROWID"


def mirror_of(catalogue: Catalogue) -> LocalStore:
    """The machine's own store of a set; made if it is not there."""
    return LocalStore(catalogue.folder / MIRROR, create=True)


class DriveSet:
    """A set whose keys were opened.  ``close`` it at the end."""

    def __init__(
        self,
        catalogue: Catalogue,
        credential: Callable[[], Credential],
        cache: Path,
        clock: Clock,
        report: Reporter,
    ) -> None:
        """``credential`` is asked for when the keys are first needed."""
        self.catalogue = catalogue
        self.clock = clock
        self.report = report
        self.mirror = mirror_of(catalogue)
        self._credential = credential
        self._cache = cache / "volumes" / catalogue.set.id
        self._views: dict[str, tuple[Repository, DriveStore]] = {}
        catalogue.extend(_HELD)

    @cached_property
    def found(self) -> Found:
        """Which drives are here.  Raises ``StoreError`` where two say that they are the same."""
        found = look(self.catalogue, self.clock.now_ns())
        require_single(found)
        return found

    @property
    def present(self) -> list[Present]:
        """The drives that are here and in use."""
        return [each for each in self.found.present if each.volume.state not in OUT_OF_USE]

    @cached_property
    def union(self) -> Repository:
        """What the machine knows of all drives: snapshots, trash and keys.  Raises ``WrongKey``."""
        try:
            return self._open(self.mirror, self._cache / "all", self._but_vanished)
        except WrongKey:
            # Keys may have been changed on another machine, of which a drive tells.
            for each in self.present:
                with suppress(WrongKey, StoreError):
                    return self._learn_keys(each)
            raise

    @property
    def seals(self) -> Seals:
        return self.union.seals

    def _open(self, store: LocalStore, cache: Path, report: Reporter) -> Repository:
        return open_repository(store, self._credential(), cache, clock=self.clock, report=report)

    def _learn_keys(self, present: Present) -> Repository:
        store = LocalStore(present.folder)
        shared_keys.require_same_config(self.mirror, store, present.title)
        opened = self._open(store, self._cache / present.volume.uuid, self.report)
        shared_keys.bring_together(self.mirror, store, opened.keyring, self.report, present.title)
        return self._open(self.mirror, self._cache / "all", self._but_vanished)

    def view(self, present: Present) -> Repository:
        """The repository on a drive, told of what it has missed.  Raises ``StoreUnreachable``, ``StoreError``."""
        uuid = present.volume.uuid
        if uuid not in self._views:
            union = self.union
            marks.require_repository(present.folder, present.title)
            store = DriveStore(present.folder, present.title, present.mount)
            shared_keys.require_same_config(self.mirror, store, present.title)
            self._tolerant(present, lambda: self._share_keys(store, present))
            repository = self._repository(store, self._cache / uuid, union.config)
            self._views[uuid] = repository, store
            self._mirror(uuid, store)
            self._learn_catalogue(present)
            self._tolerant(present, lambda: self._share_trash(repository))
        return self._views[uuid][0]

    def _repository(self, store: DriveStore, cache: Path, parameters: Config) -> Repository:
        return Repository(store, parameters, self.seals, cache, self.clock, self.report)

    def _share_keys(self, store: DriveStore, present: Present) -> None:
        union = self.union
        if shared_keys.bring_together(self.mirror, store, union.keyring, self.report, present.title):
            union.seals = Seals(refresh(self.mirror, union.keyring, self.report))

    def _tolerant(self, present: Present, action: Callable[[], None]) -> None:
        """A drive that is full, or that can only be read, can still be read."""
        try:
            action()
        except (StoreUnreachable, DamageError):
            raise
        except SafeholdError as error:  # also: a prune that was cut short there may seem to be running for a day
            message = f"{present.title} was not told of everything that changed: {error}"
            self.report(Warn(code="drive-not-told", message=message, hint=error.hint))

    def _learn_catalogue(self, present: Present) -> None:
        """Another machine may have left news on the drive."""
        try:
            sealed = marks.read_catalogue(present.folder)
            if sealed is not None:
                self.catalogue.merge(open_catalogue(self.seals, sealed))
        except DamageError as error:
            message = f"The catalogue on {present.title} cannot be read, and is written anew: {error}"
            self.report(Warn(code="catalogue-damaged", message=message))

    def _share_trash(self, view: Repository) -> None:
        """What was forgotten anywhere is forgotten everywhere, and what was taken back is back."""
        self._note_forgotten()
        marked = view.condemned()
        there, stored = condemned.trash(marked), set(snapshots.names(view.store))
        undeleted, forgotten = self.catalogue.undeleted(), self.catalogue.forgotten()
        back = {name for name, mark in there.items() if undeleted.get(name, 0) > mark.condemned.time_ns}
        news = (there.keys() - back) | (condemned.removed(marked) - undeleted.keys())
        news -= forgotten.keys()
        if news:
            self.catalogue.forget(news, self.clock.now_ns())
            self._forget_here(news)
        if view.keyring.role == "owner":
            missed = (forgotten.keys() & stored) - there.keys()
            if missed:
                forget.forget(view, missed)
            for name in sorted(back & stored):
                forget.undelete(view, name)

    def _note_forgotten(self) -> None:
        """The catalogue learns what is in the trash here; and the mirror, what was forgotten or taken back elsewhere."""
        marked = condemned.trash(self.union.condemned())
        forgotten, undeleted = self.catalogue.forgotten().keys(), self.catalogue.undeleted()
        back = {name for name, mark in marked.items() if undeleted.get(name, 0) > mark.condemned.time_ns}
        mirrored = set(snapshots.names(self.mirror))
        for name in sorted(back & mirrored) if self.union.keyring.role == "owner" else ():
            forget.undelete(self.union, name)
        self.catalogue.forget(marked.keys() - back - forgotten, self.clock.now_ns())
        self._forget_here(forgotten - marked.keys())

    def _forget_here(self, names: Iterable[str]) -> None:
        mirrored = set(snapshots.names(self.mirror)).intersection(names)
        if mirrored and self.union.keyring.role == "owner":
            forget.forget(self.union, mirrored)

    def undeleted(self, name: str) -> None:
        """A snapshot was taken out of the trash of the mirror: so it is to be on every drive."""
        self.catalogue.undelete([name], self.clock.now_ns())

    def _mirror(self, uuid: str, store: DriveStore | LocalStore) -> None:
        """Take over the snapshot objects of a drive, and remember which it holds."""
        names = set(snapshots.names(store))
        for name in names - set(snapshots.names(self.mirror)):
            with suppress(ObjectExists, ObjectMissing):
                data = store.get(snapshots.PREFIX + name)
                if hashlib.sha256(data).hexdigest() == name:
                    self.mirror.put(snapshots.PREFIX + name, data)
        with self.catalogue.transaction() as db:
            db.execute("DELETE FROM held WHERE volume = ?", (uuid,))
            db.executemany("INSERT INTO held VALUES (?, ?)", [(uuid, name) for name in sorted(names)])
        self._tidy()

    def _tidy(self) -> None:
        """What no drive holds any more is no snapshot any more."""
        held = self.held()
        for name in snapshots.names(self.mirror):
            if name not in held:
                self.mirror.delete(snapshots.PREFIX + name)

    def held(self) -> dict[str, set[str]]:
        """Snapshot -> the UUIDs of the drives in use that hold it, as far as is known."""
        found: dict[str, set[str]] = {}
        query = "SELECT snapshot, volume FROM held JOIN volumes ON uuid = volume WHERE state NOT IN (?, ?)"
        for row in self.catalogue.rows(query, OUT_OF_USE):
            found.setdefault(row["snapshot"], set()).add(row["volume"])
        return found

    def catch_up(self, target: Present) -> CaughtUp:
        """A drive takes over, from the others that are here, the snapshots that it lacks.  Raises store errors."""
        total = CaughtUp([], 0, 0)
        for source in self.present:
            if source.volume.uuid != target.volume.uuid:
                come = self._from(source, target)
                total = CaughtUp(total.snapshots + come.snapshots, total.packs + come.packs, total.bytes + come.bytes)
        return total

    def _from(self, source: Present, target: Present) -> CaughtUp:
        try:
            forgotten, back = self.catalogue.forgotten(), self.catalogue.undeleted()
            wanted = lacking(self.view(source), self.view(target), forgotten.keys(), back.keys())
            return catch_up(self.view(source), self.view(target), wanted)
        except DamageError as error:
            message = f"{target.title} could not catch up from {source.title}: {error}"
            self.report(Warn(code="drive-damaged", message=message, hint="Run `safehold volumes verify`."))
            self.catalogue.change(source.volume.uuid, state="damaged")
            return CaughtUp([], 0, 0)

    def settle(self) -> None:
        """After the work: what was forgotten reaches all drives that are here, what was written is read back and remembered."""
        if "union" not in self.__dict__:
            return
        self._note_forgotten()
        for each in self.present:
            if each.volume.uuid in self._views:
                self._settle_one(each)

    def _settle_one(self, present: Present) -> None:
        repository, store = self._views[present.volume.uuid]
        self._tolerant(present, lambda: self._share_keys(store, present))
        self._tolerant(present, lambda: self._share_trash(repository))
        if store.changed:
            self.read_back(present)
        self._mirror(present.volume.uuid, store)
        self._tolerant(present, lambda: self.write_catalogue(present.folder))

    def read_back(self, present: Present) -> None:
        """Prove that the drive gives back what was just written to it; only then does it count.  Raises ``DamageError``."""
        _, store = self._views[present.volume.uuid]
        now = self.clock.now_ns()
        try:
            store.read_back()
        except DamageError:
            self.catalogue.change(present.volume.uuid, state="damaged", written_ns=now)
            raise
        before = self.catalogue.volume(present.volume.uuid)
        was = before.state if before is not None else "open"
        state = "verified" if was == "blank" else was if was in ("verified", "damaged") else "open"
        verified = {"verified_ns": now} if before is not None and before.state == "blank" else {}
        used = sum(info.size for info in store.list("packs/"))
        self.catalogue.change(present.volume.uuid, state=state, written_ns=now, used=used, **verified)
        store.written.clear()
        store.deleted = False

    def wrote(self, present: Present) -> bool:
        """Whether this run changed anything lasting on a drive."""
        opened = self._views.get(present.volume.uuid)
        return opened is not None and opened[1].changed

    def write_catalogue(self, folder: Path) -> None:
        """Put the sealed catalogue onto a drive.  Raises store errors."""
        sealed = envelopes.wrap(self.seals, KIND, self.catalogue.dump())
        marks.write_catalogue(folder, sealed)

    def close(self) -> None:
        for _, store in self._views.values():
            store.close()
        self._views.clear()
        self.mirror.close()

    def _but_vanished(self, event: Event) -> None:
        """What the mirror no longer has was on a drive that is lost: each drive's own view tells what it lost itself."""
        if not (isinstance(event, Warn) and event.code == "rolled-back"):
            self.report(event)


def open_catalogue(seals: Seals, sealed: bytes) -> bytes:
    """The catalogue from what was on a drive.  Raises ``DamageError``."""
    return envelopes.unwrap(seals, KIND, envelopes.name_of(sealed), sealed).body


def behind(present: Iterable[Present]) -> Present:
    """Of the drives that are here the one that was written to longest ago."""
    return min(present, key=lambda each: (each.volume.written_ns, each.volume.number))


def repository_on(folder: Path) -> Config:
    """The config of the repository in a folder.  Raises ``RepositoryMissing``, ``StoreUnreachable``."""
    store = LocalStore(folder)
    try:
        return read_config(store).config
    finally:
        store.close()
