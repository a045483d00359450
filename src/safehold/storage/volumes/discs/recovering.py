"""A set made known to a machine that has never seen it, from its volumes alone."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from safehold.core.errors import DamageError, FormatError, ObjectExists, SafeholdError, StoreError, UsageError
from safehold.core.events import Note, Reporter, Warn
from safehold.storage.local import LocalStore
from safehold.storage.volumes.catalogue import Catalogue, Volume, VolumeSet, names
from safehold.storage.volumes.discs import record
from safehold.storage.volumes.discs.layout import Layout, layout_of
from safehold.storage.volumes.discs.ledger import UNFINISHED, Ledger, Session, Stored
from safehold.storage.volumes.discs.opening import Reach, generations, mirror_folder, open_discs
from safehold.storage.volumes.discs.planning import Range, plan
from safehold.storage.volumes.discs.scan import Survey, last_catalogue, survey
from safehold.storage.volumes.discs.shelf import Identity, identify, open_medium
from safehold.storage.volumes.discs.staging import Gathering, Stage
from safehold.storage.volumes.media.folder import find_data
from safehold.storage.volumes.media.medium import Medium

STAGE = "staging"
IMAGES = "images"
"""In the folder of a set that was learned from discs in drives."""


@dataclass(slots=True)
class Found:
    """A volume that is here."""

    place: Path
    identity: Identity
    record: record.Record | None = None
    """The catalogue of its last session ..."""
    data_end: int = 0
    """... and the slot behind its last frame."""


@dataclass(slots=True)
class Shown:
    """What was found at the places that were given."""

    volumes: dict[int, Found] = field(default_factory=dict)
    sets: set[bytes] = field(default_factory=set)


def look(places: Iterable[Path], report: Reporter) -> Shown:
    """Which volumes lie at some places: images, folders, devices, or folders with such in them."""
    shown = Shown()
    for place in _candidates(places):
        try:
            medium = open_medium(place)
        except SafeholdError:
            continue
        try:
            identity = identify(medium)
            if identity is not None:
                shown.sets.add(identity.set_id)
                last = last_catalogue(medium, identity.frame_size)
                shown.volumes[identity.volume] = Found(place, identity, *(last or ()))
                report(Note(message=f"Volume {identity.volume} is at {place}."))
        except SafeholdError:
            continue
        finally:
            medium.close()
    return shown


def recover(folder: Path, shown: Shown, report: Reporter, now_ns: int) -> tuple[Catalogue, record.Record | None]:
    """Make a catalogue in a folder that has none, of the volumes that were shown; and the newest catalogue that was on them.

    Raises ``UsageError`` where no volume was shown, or those of several sets.
    """
    if not shown.volumes:
        raise UsageError("There is no volume of discs at those places.", "Give image files, mounted discs, or folders of them.")
    if len(shown.sets) > 1:
        raise UsageError(f"There are volumes of {len(shown.sets)} sets at those places.", "Give those of one set.")
    _require_unknown(folder, next(iter(shown.sets)))
    records = [found.record for found in shown.volumes.values() if found.record is not None]
    newest = max(records, key=lambda each: each.time_ns, default=None)
    catalogue = Catalogue(folder, create=True)
    if catalogue.exists:
        catalogue.close()
        raise UsageError(f"This machine knows the set {folder.name} already.", "Give another name, or move its folder away.")
    ledger = Ledger(catalogue)
    with catalogue.transaction():
        _take_set(catalogue, ledger, shown, newest, now_ns)
        layout = layout_of(catalogue.set)
        for number, found in sorted(shown.volumes.items()):
            _take_rest(ledger, layout, number, found, report)
        torn = drop_torn(ledger, layout)
        if torn:
            report(Note(message=f"{torn} objects were left out: their writing was cut short, or part of them is not here."))
    return catalogue, newest


def _require_unknown(folder: Path, set_id: bytes) -> None:
    """Two catalogues of one set would each write other volumes of the same numbers.  Raises ``UsageError``."""
    for name in names(folder.parent.parent):
        with suppress(FormatError, StoreError), closing(Catalogue(folder.parent / name)) as known:
            if name != folder.name and known.exists and known.set.id.startswith(set_id.hex()):
                raise UsageError(
                    f"This machine knows that set already, as {name}.",
                    f"Use it as volumes:{name}; to learn it anew, move the folder {known.folder} away.",
                )


def _take_set(catalogue: Catalogue, ledger: Ledger, shown: Shown, newest: record.Record | None, now_ns: int) -> None:
    first = next(iter(shown.volumes.values()))
    generation = max((disc.generation for disc in newest.discs), default=1) if newest else 1
    settings = {"images": str(_images(shown, catalogue.folder)), "generation": generation}
    made = VolumeSet(
        id=newest.set if newest else first.identity.set_id.hex().ljust(32, "0"),
        name=catalogue.folder.name,
        kind="discs",
        media=newest.media if newest else "other",
        capacity=newest.capacity if newest else max(_used(found) for found in shown.volumes.values()),
        inner=newest.inner if newest else "100+15",
        parity=newest.parity if newest else "",
        created_ns=now_ns,
        settings=settings,
    )
    catalogue.put_set(made)
    discs = {disc.number: disc for disc in newest.discs} if newest else {}
    for number in sorted({*discs, *shown.volumes}):
        disc, found = discs.get(number), shown.volumes.get(number)
        state = disc.state if disc and disc.state not in ("open", "blank") else "closed"
        volume = Volume(
            uuid=disc.uuid if disc else f"{made.id[:16]}{number:016x}",
            number=number,
            label=f"{made.name.upper()}-{number:03}",
            kind=made.media,
            capacity=made.capacity,
            state=state,
            path=str(found.place.absolute()) if found else "",
            seen_ns=now_ns if found else 0,
            used=_used(found) if found else 0,
            generation=disc.generation if disc else 1,
            parity=disc.parity if disc else False,
        )
        catalogue.put(volume)
    if newest is not None:
        record.adopt(newest, catalogue, ledger)


def _images(shown: Shown, folder: Path) -> Path:
    """Where further images go: beside those that were shown, or else, as of drives and mounted discs, into the set's folder."""
    beside = (found.place.absolute().parent for found in shown.volumes.values() if found.place.is_file())
    return next((each for each in beside if os.access(each, os.W_OK)), folder.absolute() / IMAGES)


def _take_rest(ledger: Ledger, layout: Layout, number: int, found: Found, report: Reporter) -> None:
    """What a volume holds beyond what the newest catalogue says of it: its last session, or all of it."""
    medium = open_medium(found.place)
    try:
        known = {each.session: each for each in ledger.sessions(number)}
        closed = [each for each in known.values() if each.is_closed]
        if found.record is not None and found.record.session in known and found.record.session not in {s.session for s in closed}:
            closed.append(_closed(known[found.record.session], found, medium, layout))
            ledger.put_session(closed[-1])
        end = max((each.end for each in closed), default=0)
        if end and end * layout.frame >= medium.used:
            return
        if not end:
            report(Note(message=f"Reading all of volume {number}."))
        _take_survey(ledger, survey(medium, layout.frame, end), number)
    finally:
        medium.close()


def _closed(session: Session, found: Found, medium: Medium, layout: Layout) -> Session:
    """The session that a catalogue ends, which it says is open still: its frames up to the parity, and all that follows."""
    count = found.data_end - session.start
    closed = msgspec.structs.replace(session, frames=count, closed_ns=found.record.time_ns if found.record else 0)
    end = session.start + count + layout.rows(closed).parity
    return msgspec.structs.replace(closed, end=max(end, -(-medium.used // layout.frame)))


def _take_survey(ledger: Ledger, found: Survey, number: int) -> None:
    for session in found.sessions.values():
        if session.session not in {each.session for each in ledger.sessions(number)}:
            ledger.put_session(session)
    generation = next((each.generation for each in ledger.catalogue.volumes() if each.number == number), 1)
    with ledger.catalogue.transaction() as db:
        for piece in found.pieces:
            values = [getattr(piece, name) for name in piece.__struct_fields__]
            db.execute("INSERT OR IGNORE INTO pieces VALUES (?, ?, ?, ?, ?)", values)
    for name, (key, size, data) in found.names.items():
        known = ledger.catalogue.rows("SELECT 1 FROM objects WHERE number = ?", (name,))
        if key != record.KEY and not known and ledger.find(generation, key) is None:
            ledger.add(Stored(name, generation, key, size, 0, int(data)), ())


def drop_torn(ledger: Ledger, layout: Layout) -> int:
    """Forget objects without all their frames: their writing was cut short; how many.  Those that turn out whole count."""
    rows = ledger.catalogue.rows("SELECT object, sum(frames) FROM pieces GROUP BY object")
    there: dict[int, int] = {row[0]: row[1] for row in rows}
    torn = []
    with ledger.catalogue.transaction() as db:
        for each in ledger.all_objects():
            if there.get(each.number, 0) < layout.count(each.size):
                torn += [] if each.dead else [each]
                db.execute("DELETE FROM objects WHERE number = ?", (each.number,))
            elif each.dead == UNFINISHED and ledger.find(each.generation, each.key) is None:
                db.execute("UPDATE objects SET dead = 0 WHERE number = ?", (each.number,))
    return len(torn)


def fill_mirrors(catalogue: Catalogue, reach: Reach, report: Reporter, shown: Shown | None = None) -> None:
    """Copy all but data packs from the volumes, so that nothing but file content needs one.  Asks for those that are not here.

    Those that ``reach`` calls lost are lost from now on.  What lay on volumes that are lost for good is said and left out, but
    config and keys, which each catalogue has with it.
    """
    for volume in catalogue.volumes():
        if volume.number in reach.lost:
            catalogue.change(volume.uuid, state="lost")
    for generation in generations(catalogue):
        store = open_discs(catalogue, generation=generation, reach=reach, report=report)
        mirror = LocalStore(mirror_folder(catalogue, generation), create=True)
        try:
            _take_first(mirror, _newest(catalogue, shown, generation) if shown else None)
            wanted = [each for each in store.ledger.listing(generation, "") if not each.data and not _there(mirror, each)]
            ranges: list[Range] = [(each.key, 0, each.size) for each in wanted]
            stage = Stage(catalogue.folder / STAGE)
            gathered = plan(store.ledger, generation, ranges, store.reader.layout.frame)
            gathering = Gathering(store.ledger, store.reader, stage, reach.ask, report)
            if any(store.reader.shelf.at_hand(number) is None for number in gathering.missing(gathered)):
                gathering.gather(gathered)
                store.reader.stage = stage
            gone = [each for each in wanted if not _copy(store.read, mirror, each)]
            for each in gone:
                store.ledger.bury(generation, each.key)
            if gone:
                message = f"{len(gone)} objects of the repository lay on volumes that are lost, and are gone."
                report(Warn(code="volume-beyond", message=message, hint="`safehold repair` puts right what can be put right."))
            stage.clear()
        finally:
            store.close()
            mirror.close()


def take_private(catalogue: Catalogue, found: record.Record, unseal: record.Seal) -> str:
    """Labels, places and what was forgotten, which only a key opens; the name that the set had, if that was kept."""
    private = record.open_private(found, unseal)
    if private is None:
        return ""
    with catalogue.transaction():
        for volume in private.volumes:
            known = next((each for each in catalogue.volumes() if each.number == volume.number), None)
            if known is not None:
                values = {
                    name: getattr(volume, name) for name in ("label", "place", "serial", "verified_ns", "written_ns", "copy")
                }
                catalogue.change(known.uuid, **values)
        for snapshot, time_ns in private.forgotten.items():
            catalogue.forget([snapshot], time_ns)
        settings = {**private.set.settings, **catalogue.set.settings}
        catalogue.put_set(msgspec.structs.replace(private.set, name=catalogue.set.name, settings=settings))
    return private.set.name


def _newest(catalogue: Catalogue, shown: Shown, generation: int) -> record.Record | None:
    numbers = {each.number for each in catalogue.volumes() if each.generation == generation}
    records = [found.record for number, found in shown.volumes.items() if found.record is not None and number in numbers]
    return max((each for each in records if each.first), key=lambda each: each.time_ns, default=None)


def _take_first(mirror: LocalStore, newest: record.Record | None) -> None:
    for key, data in newest.first.items() if newest is not None else ():
        with suppress(ObjectExists):
            if key in record.FIRST or key.startswith(record.SLOTS):
                mirror.put(key, data)


def _copy(read: Callable[[str], bytes], mirror: LocalStore, each: Stored) -> bool:
    """Whether it could be read."""
    try:
        data = read(each.key)
    except DamageError:
        return False
    try:
        mirror.put(each.key, data)
    except ObjectExists:
        mirror.delete(each.key)
        mirror.put(each.key, data)
    return True


def _there(mirror: LocalStore, each: Stored) -> bool:
    try:
        return mirror.size(each.key) == each.size
    except StoreError:
        return False


def _candidates(places: Iterable[Path]) -> Iterable[Path]:
    for place in places:
        if place.is_dir() and find_data(place) is None:
            yield from sorted(each for each in place.iterdir() if not each.name.startswith("."))
        else:
            yield place


def _used(found: Found) -> int:
    medium = open_medium(found.place)
    try:
        return medium.used
    finally:
        medium.close()
