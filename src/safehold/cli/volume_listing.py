"""What is shown of volume sets: lists, and the state of a set at a glance."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from safehold.cli.render import words
from safehold.cli.volume_sets import catalogue_of
from safehold.storage.volumes import catalogue as catalogues
from safehold.storage.volumes.burning.plan import burned_of
from safehold.storage.volumes.discs.ledger import Ledger
from safehold.storage.volumes.drives.presence import OUT_OF_USE, Present, look, title_of
from safehold.storage.volumes.profiles import profile

if TYPE_CHECKING:
    from safehold.cli.call import Call
    from safehold.storage.volumes.catalogue import Catalogue, Volume

SEEN_EVERY_DAYS = 30
"""A drive that was not seen for longer is overdue, unless the set says otherwise."""
VERIFIED_EVERY_DAYS = 180
"""A drive that was not read back for longer should be."""
_DAY = 86_400 * 10**9


class Attention(NamedTuple):
    """Something that a person should do."""

    code: str
    message: str


def volume_value(volume: Volume, present: Present | None) -> dict[str, object]:
    """A volume for JSON."""
    return {
        "number": volume.number,
        "label": volume.label,
        "volume": volume.uuid,
        "kind": volume.kind,
        "place": volume.place,
        "state": volume.state,
        "here": present is not None or bool(volume.kind != "drive" and _images([volume])),
        "folder": str(present.folder) if present else volume.path,
        "capacity": volume.capacity,
        "used": volume.used,
        "free": present.free if present else None,
        "fs_uuid": volume.fs_uuid,
        "serial": volume.serial,
        "seen": _iso(volume.seen_ns),
        "written": _iso(volume.written_ns),
        "verified": _iso(volume.verified_ns),
        "burned": _iso(burned_of(volume).time_ns),
        "generation": volume.generation,
        "copy": volume.copy,
        "parity": volume.parity,
    }


def list_sets(call: Call) -> None:
    """Every set of this machine."""
    rows = [["Name", "Kind", "Volumes", "Here"]]
    found: list[dict[str, object]] = []
    for name in catalogues.names(call.state):
        catalogue = catalogue_of(call, name)
        kept = catalogue.set
        here = _here(call, catalogue)
        count = len(catalogue.volumes())
        shown = ", ".join(each.volume.label for each in here.values())
        if kept.kind == "discs":
            shown = words.count(len(_images(catalogue.volumes())), "image")
        rows.append([name, kept.media, str(count), shown or "-"])
        number = len(_images(catalogue.volumes())) if kept.kind == "discs" else len(here)
        found.append({"name": name, "set": kept.id, "kind": kept.kind, "media": kept.media, "volumes": count, "here": number})
    if call.out.as_json:
        call.out.result("", {"sets": found})
    else:
        call.out.result("\n".join(words.table(rows, frozenset({2}))) if found else "There is no volume set.")


def list_volumes(call: Call, name: str) -> None:
    """The volumes of a set."""
    catalogue = catalogue_of(call, name)
    here = _here(call, catalogue)
    volumes = catalogue.volumes()
    if call.out.as_json:
        listed = [volume_value(each, here.get(each.uuid)) for each in volumes]
        call.out.result("", {"name": name, "volumes": listed})
        return
    for line in words.table(_rows(catalogue, volumes, here), frozenset({0})):
        call.out.result(line)


def show_status(call: Call, name: str) -> None:
    """A set at a glance."""
    catalogue = catalogue_of(call, name)
    here = _here(call, catalogue)
    volumes = catalogue.volumes()
    copies = _copies(catalogue)
    attention = attention_of(catalogue, here, call.clock.now_ns())
    if call.out.as_json:
        value = {
            "name": name,
            "kind": catalogue.set.kind,
            "volumes": [volume_value(each, here.get(each.uuid)) for each in volumes],
            "snapshots": {str(count): number for count, number in sorted(copies.items())},
            "attention": [each._asdict() for each in attention],
        }
        call.out.result("", value)
        return
    in_use = [each for each in volumes if each.state not in OUT_OF_USE]
    call.out.result(f"{name}: {_how_many(catalogue, in_use, here)}")
    for line in words.table(_rows(catalogue, volumes, here), frozenset({0})) if volumes else []:
        call.out.result(f"  {line}")
    for line in _protected(catalogue, in_use, copies):
        call.out.result(f"  {line}")
    for each in attention:
        call.out.result(f"  ! {each.message}")
    if not attention:
        call.out.result("  Everything is as it should be.")


def _protected(catalogue: Catalogue, volumes: list[Volume], copies: dict[int, int]) -> list[str]:
    """What is protected by how much."""
    kept = catalogue.set
    if kept.kind != "discs":
        return [
            f"{words.count(number, 'snapshot')} on {words.count(count, kept.media)}"
            for count, number in sorted(copies.items(), reverse=True)
        ]
    k, _, m = kept.parity.partition("+")
    lost = f"any {m} of {int(k) + int(m)} discs may be lost" if m else "no disc may be lost"
    begun = m and any(each.state in ("blank", "open") for each in volumes)
    count = f"{words.count(sum(copies.values()), 'snapshot')} on {words.count(len(volumes), 'disc')}"
    return [f"{count}; {lost}{', once parity is written' if begun else ''}"] if copies else []


def attention_of(catalogue: Catalogue, here: dict[str, Present], now_ns: int) -> list[Attention]:
    """What a person should do about a set of drives."""
    if catalogue.set.kind == "discs":
        return _of_discs(catalogue, now_ns)
    volumes = [each for each in catalogue.volumes() if each.state not in OUT_OF_USE]
    every = int(catalogue.set.settings.get("seen_every_days", SEEN_EVERY_DAYS))
    found: list[Attention] = []
    if len(volumes) < 2 and catalogue.set.kind == "drives":
        found.append(Attention("one-drive", "Two drives or more should rotate: add another one."))
    for each in volumes:
        title = title_of(each)
        if each.state == "damaged":
            found.append(Attention("damaged", f"{title} is damaged: verify it, repair it, or replace it."))
        if each.uuid not in here and now_ns - each.seen_ns > every * _DAY:
            days = (now_ns - each.seen_ns) // _DAY
            found.append(Attention("overdue", f"{title} was not seen for {days:,} days: plug it in and back up."))
        if each.state == "blank":
            found.append(Attention("blank", f"Nothing is on {title} yet: plug it in and back up."))
        elif each.state != "damaged" and now_ns - each.verified_ns > VERIFIED_EVERY_DAYS * _DAY:
            found.append(Attention("unverified", f"{title} should be read back: `safehold volumes verify`."))
    found += _too_few(catalogue, volumes)
    return found


def _of_discs(catalogue: Catalogue, now_ns: int) -> list[Attention]:
    """What a person should do about a set of discs."""
    from safehold.storage.volumes.burning.plan import plan

    name = catalogue.set.name
    volumes = {each.number: each for each in catalogue.volumes() if each.state != "retired"}
    found = [
        Attention("damaged", f"{title_of(each)} is {each.state}: {_way_out(catalogue, each, volumes)}.")
        for each in volumes.values()
        if each.state in ("damaged", "lost")
    ]
    ledger = Ledger(catalogue)
    for group in ledger.groups():
        members = [volumes[each.volume] for each in ledger.members(group.number) if each.volume in volumes]
        if group.m and not group.closed_ns and members:
            labels = ", ".join(each.label for each in members)
            message = f"Not yet covered by parity across volumes: {labels}. `safehold volumes close {name}` writes it."
            found.append(Attention("uncovered", message))
    waiting = {each.volume.number for each in plan(catalogue, [])}
    unburned = waiting if _is_burned(catalogue) else set()
    old = [
        each
        for each in volumes.values()
        if each.state == "closed" and each.number not in unburned and now_ns - each.verified_ns > VERIFIED_EVERY_DAYS * _DAY
    ]
    if old:
        what = words.count(len(old), "disc was", "discs were")
        message = f"{what} not read back for half a year, or never: `safehold volumes verify {name}`."
        found.append(Attention("unverified", message))
    return found + _to_burn(catalogue, len(waiting))


def _way_out(catalogue: Catalogue, volume: Volume, volumes: dict[int, Volume]) -> str:
    """What to do about a disc that is damaged or lost."""
    from safehold.storage.volumes.discs.planning import is_beyond

    name = catalogue.set.name
    lost = {number for number, each in volumes.items() if each.state == "lost"}
    if volume.state == "lost" and not volume.parity and is_beyond(Ledger(catalogue), volume.number, lost.__contains__):
        return "nothing can make what was on it; the next backups store again what you still have"
    return f"`safehold volumes repair {name} {volume.number}` writes it anew"


def _to_burn(catalogue: Catalogue, planned: int) -> list[Attention]:
    """Of sets that are burned: what waits for it, of so many that a burn would write, and which discs are spoiled."""
    name = catalogue.set.name
    burned = {each.label: burned_of(each) for each in catalogue.volumes() if burned_of(each).time_ns}
    found = [
        Attention("spoiled", f"The disc of {label} is spoiled ({state.problem.rstrip('.')}): `safehold volumes burn {name}`.")
        for label, state in burned.items()
        if state.problem
    ]
    waiting = planned - len(found) if burned or _is_burned(catalogue) else 0
    if waiting > 0:
        what = words.count(waiting, "image is", "images are")
        found.append(Attention("unburned", f"{what} not on a disc yet: `safehold volumes burn {name}`."))
    return found


def _is_burned(catalogue: Catalogue) -> bool:
    """Whether the set's images are to be written to media; those of another size are taken as they are."""
    return catalogue.set.media != "other"


def _too_few(catalogue: Catalogue, volumes: list[Volume]) -> list[Attention]:
    """Snapshots that only one drive holds, though there are several."""
    copies = _copies(catalogue)
    if len(volumes) < 2 or not copies.get(1):
        return []
    what = words.count(copies[1], "snapshot is", "snapshots are")
    return [Attention("one-copy", f"{what} on one drive only: plug in another one and back up.")]


def _copies(catalogue: Catalogue) -> dict[int, int]:
    """How many drives hold a snapshot -> how many snapshots.  Damaged drives don't count, nor what was forgotten."""
    forgotten = catalogue.forgotten()
    if catalogue.set.kind == "discs":
        there = Ledger(catalogue).catalogue.rows("SELECT count(*) AS n FROM objects WHERE key GLOB 'snapshots/*' AND NOT dead")[
            0
        ]["n"]
        return {1: there} if there else {}
    if not catalogue.rows("SELECT 1 FROM sqlite_master WHERE name = 'held'"):
        return {}
    query = (
        "SELECT snapshot, count(*) AS n FROM held JOIN volumes ON uuid = volume WHERE state NOT IN (?, ?, ?) GROUP BY snapshot"
    )
    found: dict[int, int] = {}
    for row in catalogue.rows(query, (*OUT_OF_USE, "damaged")):
        if row["snapshot"] not in forgotten:
            found[row["n"]] = found.get(row["n"], 0) + 1
    return found


def _here(call: Call, catalogue: Catalogue) -> dict[str, Present]:
    if catalogue.set.kind != "drives":
        return {}  # a disc is looked for when it is needed
    return {each.volume.uuid: each for each in look(catalogue, call.clock.now_ns()).present}


def _how_many(catalogue: Catalogue, volumes: list[Volume], here: dict[str, Present]) -> str:
    kept = catalogue.set
    if kept.kind != "discs":
        return f"{words.count(len(volumes), kept.media)}, {len(here)} here"
    return f"{words.count(len(volumes), 'disc')} ({profile(kept.media, kept.capacity).title}), {_of_images(volumes)}"


def _of_images(volumes: list[Volume]) -> str:
    images = _images(volumes)
    folders = {str(path.parent) for path in images}
    count = words.count(len(images), "image")
    return f"{count} in {folders.pop()}" if len(folders) == 1 else f"{count} here"


def _images(volumes: list[Volume]) -> list[Path]:
    """Those that are there."""
    return [path for each in volumes if each.path and (path := Path(each.path)).is_file()]


def _disc_rows(volumes: list[Volume]) -> list[list[str]]:
    rows = [["#", "Label", "Place", "Image", "State", "Written", "Burned", "Verified"]]
    for each in volumes:
        image = Path(each.path).name if _images([each]) else "-"
        state = f"{each.state}, parity" if each.parity else each.state
        moments = [_moment(each.written_ns), _moment(burned_of(each).time_ns), _moment(each.verified_ns)]
        rows.append([str(each.number), each.label, each.place, image, state, *moments])
    return rows


def _rows(catalogue: Catalogue, volumes: list[Volume], here: dict[str, Present]) -> list[list[str]]:
    if catalogue.set.kind == "discs":
        return _disc_rows(volumes)
    rows = [["#", "Label", "Place", "Here", "State", "Written", "Seen", "Verified", "Free"]]
    for each in volumes:
        present = here.get(each.uuid)
        free = words.size(present.free) if present else ""
        where = str(present.folder) if present else "-"
        moments = [_moment(each.written_ns), "now" if present else _moment(each.seen_ns), _moment(each.verified_ns)]
        rows.append([str(each.number), each.label, each.place, where, each.state, *moments, free])
    return rows


def _moment(time_ns: int) -> str:
    return words.moment(time_ns) if time_ns else "never"


def _iso(time_ns: int) -> str | None:
    return words.iso(time_ns) if time_ns else None
