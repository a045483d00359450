"""``volumes:NAME`` on the command line where it is a set of discs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from safehold.core.errors import SnapshotMissing, UsageError

if TYPE_CHECKING:
    from safehold.cli.call import Call
    from safehold.cli.parsing import Parser
    from safehold.ops.volumes.disc_set import DiscSet
    from safehold.repo.keys.unlock import Credential
    from safehold.repo.repository import Repository
    from safehold.repo.snapshots import Snapshot
    from safehold.storage.store import Store
    from safehold.storage.volumes.catalogue import Catalogue, Volume
    from safehold.storage.volumes.discs.opening import Reach


def reach_arguments(parser: Parser) -> None:
    """How volumes are got at."""
    media_argument(parser)
    lost_argument(parser)


def media_argument(parser: Parser) -> None:
    """Where volumes are."""
    what = "of a set of discs: look for volumes there (images, mounted discs, devices, or a folder of them); may be repeated"
    parser.add_argument("--media-dir", metavar="PLACE", action="append", default=[], help=what)


def lost_argument(parser: Parser) -> None:
    """Which volumes are gone."""
    what = "of a set of discs: this volume (its number) is gone, make what was on it from the others; may be repeated"
    parser.add_argument("--lost", metavar="N", type=int, action="append", default=[], help=what)


def reach_of(call: Call) -> Reach:
    """Where volumes are looked for, and who is asked for others."""
    from safehold.storage.volumes.discs.opening import Reach

    places = tuple(Path(each).expanduser().absolute() for each in getattr(call.values, "media_dir", None) or [])
    absent = next((each for each in places if not each.exists()), None)
    if absent is not None:
        raise UsageError(f"There is nothing at {absent}, which --media-dir names.", "Is it plugged in, and mounted there?")
    lost = tuple(getattr(call.values, "lost", None) or [])
    asks = sys.stdin is not None and sys.stdin.isatty() and not call.out.as_json
    return Reach(places, _asking(call, places) if asks else None, lost)


def _asking(call: Call, places: tuple[Path, ...]) -> Callable[[list[Volume], str], Path | None]:
    """Ask a person; where nothing is typed, every place is looked at in turn."""
    from safehold.core.events import silent
    from safehold.storage.volumes.discs.recovering import look

    def ask(wanted: list[Volume], sentence: str) -> Path | None:
        call.out.settle()
        print(sentence, file=sys.stderr)
        typed = input("Press Enter when it is there, or type where it is (q: stop): ").strip()
        if typed == "q":
            return None
        if typed:
            return Path(typed).expanduser().absolute()
        numbers = {each.number for each in wanted}
        found = look([*places, *_usual_places()], silent).volumes
        here = [each.place for number, each in found.items() if number in numbers]
        others = [each.place for each in found.values()]
        return next(iter([*here, *others]), Path("/nonexistent"))

    return ask


def _usual_places() -> list[Path]:
    """Where discs appear: drives of discs, and what the desktop has mounted."""
    devices = [path for pattern in ("sr*", "fd?") for path in Path("/dev").glob(pattern)]
    mounted = [path for root in ("/media", "/run/media") for path in Path(root).glob("*/*") if path.is_dir()]
    return [*devices, *mounted, *(path for path in Path("/media").glob("*") if path.is_dir())]


def disc_set(call: Call, catalogue: Catalogue, credential: Callable[[], Credential]) -> DiscSet:
    """A set of discs, closed at the end of the call."""
    from safehold.ops.volumes.disc_set import DiscSet

    reach = reach_of(call)
    numbers = {each.number for each in catalogue.volumes()}
    unknown = next((each for each in reach.lost if each not in numbers), None)
    if unknown is not None:
        raise UsageError(
            f"--lost {unknown}: {catalogue.set.name} has no volume {unknown}.", f"It has 1 to {max(numbers, default=0)}."
        )
    discs = DiscSet(catalogue, credential, call.cache, call.clock, call.out.report, reach)
    call.closing(discs)
    return discs


def discs_of(call: Call, name: str) -> DiscSet:
    """A set of discs by its name.  Raises ``UsageError``."""
    from safehold.cli.settings import Named
    from safehold.cli.volume_sets import SCHEME, catalogue_of

    catalogue = catalogue_of(call, name)
    if catalogue.set.kind != "discs":
        raise UsageError(f"{name} is a set of drives; this is for discs.", "`safehold volumes --help` lists what is.")
    configured = next((each for each in call.settings.repositories.values() if each.location == f"{SCHEME}{name}"), None)
    return disc_set(call, catalogue, lambda: call.credential(configured or Named(location=f"{SCHEME}{name}")))


class DiscSession:
    """One call's work on a set of discs."""

    write_once = True

    def __init__(self, call: Call, discs: DiscSet, view: str, writing: bool) -> None:
        self._call = call
        self.discs = discs
        self.catalogue = discs.catalogue
        self._view = _generation(view, self.catalogue)
        self._writing = writing

    def repository(self, wrap: Callable[[Store], Store] | None = None) -> Repository:
        """The newest generation for what adds to it; else that which holds the snapshots that are named."""
        if self._writing and not self._view and self._call.command == "backup" and not self._call.values.dry_run:
            self._tell_of_what_is_gone()
            self.discs.repository()
            if self.discs.is_due():
                self.discs.begin_generation()
        opened = self.discs.repository(self._view or (0 if self._writing else self._holding()))
        if wrap is None:
            return opened
        rest = (opened.config, opened.seals, opened.cache.parent, opened.clock, opened.report)
        wrapped = type(opened)(wrap(opened.store), *rest)
        wrapped.give_up(opened.gone, opened.hurt)
        return wrapped

    def _tell_of_what_is_gone(self) -> None:
        """What was on discs that are lost, and that nothing can make, is stored again as far as it is still there."""
        from safehold.core.events import Warn
        from safehold.ops.volumes import gone

        lost = gone.volumes(self.discs.store().ledger)
        gone.write_down(self.catalogue, lost, self._call.clock)
        for volume in lost:
            message = f"{volume.label} is lost, and nothing can make what was on it: what you still have of it is stored again."
            hint = "Back up all that was in this set once more.  If it turns up: `safehold volumes label --found`."
            self._call.out.report(Warn(code="volume-beyond", message=message, hint=hint))

    def _holding(self) -> int:
        """The newest generation that has the snapshot that is named, if one is named."""
        from safehold.cli.volume_sets import named_snapshots
        from safehold.storage.volumes.discs.opening import newest

        last = newest(self.catalogue)
        for generation in range(last, 0, -1) if last > 1 else ():
            repository = self.discs.repository(generation)
            try:
                if named_snapshots(self._call, repository) or repository.snapshot_names():
                    return generation
            except SnapshotMissing:
                continue
        return last

    def all_views(self) -> Iterator[Repository]:
        """The generation that is worked on."""
        yield self.repository()

    def holders(self) -> dict[str, list[str]]:
        """Snapshot -> the volumes that it was written to."""
        found: dict[str, list[str]] = {}
        query = (
            "SELECT key, label FROM objects JOIN pieces ON object = objects.number JOIN volumes ON volumes.number = volume"
            " WHERE key >= 'snapshots/' AND key < 'snapshots0' AND NOT dead"
        )
        for row in self.catalogue.rows(query):
            found.setdefault(row["key"].removeprefix("snapshots/"), []).append(row["label"])
        return found

    def unproven(self) -> set[str]:
        """Nothing needs to be held back: what is forgotten stays on the discs."""
        return set()

    def prepare(self, repository: Repository, snapshot: Snapshot, path: bytes, include: list[str]) -> None:
        """Before a restore: have what it needs at hand, volume by volume.  Raises ``StoreUnreachable``."""
        from safehold.ops.volumes.disc_set import wanted
        from safehold.storage.volumes.discs.store import DiscStore

        store = repository.store
        if isinstance(store, DiscStore):
            self.discs.prepare(store.generation, wanted(repository, snapshot, path, include))

    def restored(self) -> None:
        """After a restore: what was fetched for it is needed no more."""
        self.discs.stage.clear()

    def undeleted(self, name: str) -> None:
        """There is one generation that holds it."""

    def settle(self) -> None:
        """Nothing is left to do: what was acknowledged is on the open volume."""

    def finish(self) -> None:
        """The session on the open volume is closed when the set is."""


def verify_discs(call: Call, name: str, wanted: str) -> int:
    """Read volumes back; 4 if one is damaged."""
    from safehold.core.errors import Waiting
    from safehold.ops.volumes.disc_set import verify

    discs = discs_of(call, name)
    volumes = [discs.catalogue.named(wanted)] if wanted else discs.catalogue.volumes()
    status = read = 0
    for volume in volumes:
        found = verify(discs, volume)
        if found is None:
            continue
        read += 1
        state = "damaged" if found.beyond else "verified"
        status = max(status, 4 if found.damaged else 0)
        how = "every frame is whole"
        if found.damaged:
            how = f"{found.damaged:,} of {found.frames:,} frames are damaged, "
            how += f"{found.beyond:,} of them beyond its own parity" if found.beyond else "all within its own parity"
        value = {
            "event": "volumes-verify",
            "label": volume.label,
            "state": state,
            "frames": found.frames,
            "damaged": found.damaged,
            "beyond": found.beyond,
        }
        call.out.result(f"{volume.label}: {how}.", value)
    if not read:
        raise Waiting(f"No volume of {name} that this needs is here.", "Insert one, or say where it is: --media-dir.")
    return status


def recover_discs(call: Call, places: list[Path], name: str) -> int:
    """Learn a set from its discs."""
    import msgspec

    from safehold.cli.render import words
    from safehold.cli.settings import Named
    from safehold.cli.volume_sets import SCHEME
    from safehold.ops.volumes.disc_set import recover
    from safehold.storage.volumes.catalogue import folder_of
    from safehold.storage.volumes.discs.opening import Reach

    reach = reach_of(call)
    reach = Reach((*reach.places, *places), reach.ask, reach.lost)
    given, name = name, name or "discs"
    folder = folder_of(call.state, name)
    catalogue, own = recover(
        folder, places, reach, lambda: call.credential(Named(location=f"{SCHEME}{name}")), call.cache, call.clock, call.out.report
    )
    if not given:
        catalogue = _renamed(catalogue, folder_of(call.state, own or name))
    call.closing(catalogue)
    if call.values.images:
        settings = {**catalogue.set.settings, "images": str(Path(call.values.images).expanduser().absolute())}
        catalogue.put_set(msgspec.structs.replace(catalogue.set, settings=settings))
    name, volumes = catalogue.set.name, catalogue.volumes()
    here = sum(bool(each.path) for each in volumes)
    snapshots = len(catalogue.rows("SELECT 1 FROM objects WHERE key >= 'snapshots/' AND key < 'snapshots0' AND NOT dead"))
    value = {"event": "volumes-recover", "name": name, "volumes": len(volumes), "here": here, "snapshots": snapshots}
    text = (
        f"The set {name} has {words.count(len(volumes), 'disc')}, {here} of them here, with {words.count(snapshots, 'snapshot')}."
    )
    call.out.result(f"{text} Use it as -r {SCHEME}{name}.", value)
    call.out.note(f"Images of further discs go into {catalogue.set.settings['images']}.")
    return 0


def _renamed(catalogue: Catalogue, folder: Path) -> Catalogue:
    """A set under the name that it had before, unless another set of this machine has it."""
    import msgspec

    if folder.exists():
        return catalogue
    images = Path(str(catalogue.set.settings["images"]))
    if images.is_relative_to(catalogue.folder):
        images = folder / images.relative_to(catalogue.folder)
    catalogue.close()
    catalogue.folder.rename(folder)
    found = type(catalogue)(folder)
    settings = {**found.set.settings, "images": str(images)}
    found.put_set(msgspec.structs.replace(found.set, name=folder.name, settings=settings))
    return found


def _generation(view: str, catalogue: Catalogue) -> int:
    from safehold.storage.volumes.discs.opening import newest

    if not view:
        return 0
    if not view.isdecimal() or not 1 <= int(view) <= newest(catalogue):
        raise UsageError(f"{view} is no generation of {catalogue.set.name}.", f"It has 1 to {newest(catalogue)}.")
    return int(view)
