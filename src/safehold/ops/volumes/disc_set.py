"""A set of discs as a repository: one for each generation, all with the same keys."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path

import msgspec

from safehold.core.clock import Clock
from safehold.core.entries import DIRECTORY, FILE, Entry
from safehold.core.errors import DamageError, StoreUnreachable, UsageError
from safehold.core.events import Note, Reporter
from safehold.ops.volumes import gone, shared_keys
from safehold.ops.volumes.making import making
from safehold.repo import envelopes, files, trees
from safehold.repo.config import Config
from safehold.repo.keys.unlock import Credential
from safehold.repo.packs import key_of
from safehold.repo.repository import Repository, open_repository
from safehold.repo.repository import create as create_repository
from safehold.repo.seals import DATA, Seals
from safehold.repo.snapshots import Snapshot
from safehold.sources.files.exclude import Excluder
from safehold.storage.volumes.catalogue import Catalogue, Volume, VolumeSet
from safehold.storage.volumes.discs import recovering, renewing
from safehold.storage.volumes.discs.finishing import Finisher
from safehold.storage.volumes.discs.opening import Reach, newest, open_discs
from safehold.storage.volumes.discs.planning import Range, plan
from safehold.storage.volumes.discs.renewing import Verdict
from safehold.storage.volumes.discs.staging import Gathering, Stage
from safehold.storage.volumes.discs.store import DiscStore
from safehold.storage.volumes.drives.caches import drop_cached
from safehold.storage.volumes.profiles import DISCS

KIND = "volume-catalogue"
"""Of the sealed object that the private part of a catalogue becomes."""
MONTH_NS = 30 * 86_400 * 10**9


def create(
    folder: Path, volume_set: VolumeSet, credential: Callable[[Config], Credential], cache: Path, clock: Clock, report: Reporter
) -> Catalogue:
    """Make a set of discs, with a repository's config and keys on the first.  Raises ``UsageError`` if it exists."""
    with making(folder, _is_made) as catalogue:
        catalogue.put_set(volume_set)
        with closing(open_discs(catalogue, clock=clock, report=report)) as store:
            config = Config(id=os.urandom(16).hex())
            create_repository(store, credential(config), cache, parameters=lambda _: config, clock=clock, report=report)
    return catalogue


def _is_made(catalogue: Catalogue) -> bool:
    """Whether there is more than what a making that was cut short leaves: a repository, or anything in it."""
    if not catalogue.exists:
        return False
    if catalogue.set.kind != DISCS or catalogue.rows("SELECT 1 FROM sqlite_master WHERE name = 'objects'") == []:
        return catalogue.set.kind != DISCS
    content = "SELECT 1 FROM objects WHERE key GLOB 'packs/*' OR key GLOB 'snapshots/*' OR key GLOB 'config*' LIMIT 1"
    return bool(catalogue.rows(content))


class DiscSet:
    """A set of discs whose keys are opened when they are needed.  ``close`` it at the end."""

    def __init__(
        self,
        catalogue: Catalogue,
        credential: Callable[[], Credential],
        cache: Path,
        clock: Clock,
        report: Reporter,
        reach: Reach | None = None,
        finisher: Finisher | None = None,
    ) -> None:
        self.catalogue = catalogue
        self.reach = reach or Reach()
        self.report = report
        self._credential = credential
        self._cache = cache / "volumes" / catalogue.set.id
        self._clock = clock
        self._finisher = finisher
        self._stores: dict[int, DiscStore] = {}
        self._opened: dict[int, Repository] = {}
        self.stage = Stage(catalogue.folder / recovering.STAGE)

    def store(self, generation: int = 0) -> DiscStore:
        """The store of a generation; 0: the newest."""
        generation = generation or newest(self.catalogue)
        if generation not in self._stores:
            self._stores[generation] = open_discs(
                self.catalogue,
                generation=generation,
                reach=self.reach,
                finisher=self._finisher,
                report=self.report,
                clock=self._clock,
            )
        return self._stores[generation]

    def repository(self, generation: int = 0) -> Repository:
        """The repository of a generation.  Raises ``WrongKey``."""
        generation = generation or newest(self.catalogue)
        if generation not in self._opened:
            store = self.store(generation)
            cache = self._cache / str(generation)
            opened = open_repository(store, self._credential(), cache, clock=self._clock, report=self.report)
            store.seal_with(lambda data: seal(opened.seals, data))
            gone.give_up(opened, store.ledger, generation)
            self._opened[generation] = opened
        return self._opened[generation]

    def is_due(self) -> bool:
        """Whether the next backup begins a new generation: after so many volumes or months, as the set says."""
        settings, now = self.catalogue.set.settings, self._clock.now_ns()
        volumes = [each for each in self.catalogue.volumes() if each.generation == newest(self.catalogue) and not each.parity]
        most = int(str(settings.get("generation_volumes", 0)))
        months = int(str(settings.get("generation_months", 0)))
        begun = min((each.written_ns for each in volumes if each.written_ns), default=now)
        closed = sum(each.state not in ("blank", "open") for each in volumes)
        return bool((most and closed >= most) or (months and now - begun > months * MONTH_NS))

    def begin_generation(self) -> int:
        """Close the newest generation and begin the next, with the same config and keys."""
        before = self.store()
        before.finish()
        volume_set = self.catalogue.set
        number = newest(self.catalogue) + 1
        self.catalogue.put_set(msgspec.structs.replace(volume_set, settings={**volume_set.settings, "generation": number}))
        shared_keys.give_all(before, self.store(number))
        self.report(Note(message=f"Generation {number} begins: the next backup is a full one, on new volumes."))
        return number

    def prepare(self, generation: int, ranges: Iterator[Range]) -> None:
        """Have everything at hand that a restore needs, volume by volume, each read once.

        Raises ``StoreUnreachable`` when a volume is needed and nobody brings it; what was read is kept for the next time.
        """
        store = self.store(generation)
        shelf = store.reader.shelf
        needed = plan(store.ledger, generation, ranges, store.reader.layout.frame)
        gathering = Gathering(store.ledger, store.reader, self.stage, self.reach.ask, self.report)
        missing = gathering.missing(needed)
        absent = [volume for volume in missing if shelf.at_hand(volume) is None]
        if absent:
            here = [volume for volume in missing if volume not in absent]
            count = f"{len(absent)} of {len(missing)} volumes that are needed are not here" if here else f"{len(absent)} needed"
            self.report(Note(message=f"Volumes: {count}."))
            gathering.gather(needed)
        store.reader.stage = self.stage

    def now_ns(self) -> int:
        """The time."""
        return self._clock.now_ns()

    def close(self) -> None:
        for store in self._stores.values():
            store.close()
        self._stores.clear()


def wanted(repository: Repository, snapshot: Snapshot, path: bytes, include: list[str]) -> Iterator[Range]:
    """Where the content of what is to be restored lies: pack, offset and length of each segment, once."""
    reader = repository.reader
    entry = trees.find(reader, snapshot.tree, path)
    excluder = Excluder(include)
    above = b"/" + path.strip(b"/")
    seen: set[bytes] = set()
    if entry is not None and entry.kind != DIRECTORY:
        yield from _of_file(repository, entry, seen)
        return
    stack = [(entry.content if entry else snapshot.tree, above, not include or excluder.excludes(above, True))]
    while stack:
        tree, folder, selected = stack.pop()
        try:
            node = trees.read_node(reader, tree)
        except DamageError:
            continue  # the restore tells of it
        for each in node.entries:
            name = folder.rstrip(b"/") + b"/" + each.name
            if each.kind == DIRECTORY:
                stack.append((each.content, name, selected or excluder.excludes(name, True)))
            elif each.kind == FILE and (selected or excluder.excludes(name, False)):
                yield from _of_file(repository, each, seen)


def _of_file(repository: Repository, entry: Entry, seen: set[bytes]) -> Iterator[Range]:
    try:
        for kind, name in files.references(repository.reader, entry):
            place = repository.index.find(name) if kind == DATA else None
            if place is not None and place.segment.id not in seen:
                seen.add(place.segment.id)
                yield key_of(place.segment.pack), place.segment.offset, place.segment.length
    except DamageError:
        return


def seal(seals: Seals, data: bytes) -> bytes:
    """Private things, for volumes that anybody may find."""
    return envelopes.wrap(seals, KIND, data)


def unseal(seals: Seals, sealed: bytes) -> bytes:
    """The other way round.  Raises ``DamageError``."""
    return envelopes.unwrap(seals, KIND, envelopes.name_of(sealed), sealed).body


def recover(
    folder: Path,
    places: list[Path],
    reach: Reach,
    credential: Callable[[], Credential],
    cache: Path,
    clock: Clock,
    report: Reporter,
) -> tuple[Catalogue, str]:
    """Learn a set from its discs and a key; and the name that it had, if that is known.

    What was learned is dropped again where it ends early, so that it can be tried once more.
    Raises ``UsageError``, ``WrongKey``, ``StoreUnreachable``.
    """
    shown = recovering.look(places, report)
    catalogue, found = recovering.recover(folder, shown, report, clock.now_ns())
    with ExitStack() as undo:
        undo.callback(shutil.rmtree, folder, ignore_errors=True)
        undo.callback(catalogue.close)
        try:
            recovering.fill_mirrors(catalogue, reach, report, shown)
        except StoreUnreachable as error:
            hint = "Recover once more with all of them at hand, and with --lost NUMBER for each that is gone."
            raise StoreUnreachable(str(error), hint) from error
        name = ""
        with closing(DiscSet(catalogue, credential, cache, clock, report, reach)) as discs:
            seals = discs.repository().seals
            if found is not None:
                name = recovering.take_private(catalogue, found, lambda data: unseal(seals, data))
        undo.pop_all()
    return catalogue, name


def verify(discs: DiscSet, volume: Volume) -> Verdict | None:
    """Read a volume back, past the system's memory, and remember how it is; None: it is not here."""
    store = discs.store(volume.generation)
    medium = store.reader.shelf.at_hand(volume.number)
    if medium is None:
        return None
    with suppress(OSError), open(medium.location, "rb", buffering=0) as file:
        drop_cached(file.fileno())
    verdict = renewing.verify(store.reader, volume.number, medium)
    if volume.state not in ("blank", "open"):
        state = "damaged" if verdict.beyond else "verified"
        discs.catalogue.change(volume.uuid, state=state, **({} if verdict.beyond else {"verified_ns": discs.now_ns()}))
    return verdict


def repair(discs: DiscSet, volume: Volume) -> Path:
    """Write a volume's image anew, from its own parity and that of its group.

    Raises ``UsageError`` for one that is still written, ``DamageError``, ``StoreUnreachable``.
    """
    if volume.state in ("blank", "open"):
        name = discs.catalogue.set.name
        hint = f"`safehold volumes close {name}` first; if it is gone, `safehold volumes label {name} {volume.number} --lost`."
        raise UsageError(f"{volume.label} is still written to.", hint)
    store = discs.store(volume.generation)
    path = store.recorder.path(volume.number)
    path = path.with_name(Path(volume.path).name or path.name)
    renewing.renew(store.reader, store.ledger, volume, path, store.recorder.finisher, discs.now_ns())
    store.reader.shelf.drop(volume.number)
    state = store.ledger.state_of_found(volume.number)
    discs.catalogue.change(volume.uuid, state=state, path=str(path), verified_ns=0, written_ns=discs.now_ns())
    return path
