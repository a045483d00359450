"""What is to be burned: which volumes, from which sector on, and how long that takes."""

from __future__ import annotations

from pathlib import Path

import msgspec

from safehold.storage.volumes.catalogue import USABLE, Catalogue, Volume
from safehold.storage.volumes.discs.finishing import extents
from safehold.storage.volumes.discs.layout import NEXT_SECTOR, Layout, layout_of
from safehold.storage.volumes.discs.ledger import Ledger, Session
from safehold.storage.volumes.media.medium import SECTOR, Extent

BURNED = "burned"
"""In a volume's settings: ``Burned``."""
SPEEDS = {"cd": (153_600, 16), "dvd": (1_385_000, 8), "bd": (4_495_625, 4), "floppy": (30_000, 1)}
"""Bytes a second of speed 1 (75 sectors a second; DVD and BD by their specifications), and the speed that is reckoned with."""
_FINAL = ("full", "closed", "verified")


class Burned(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a volume's disc."""

    sessions: int = 0
    """So many of the image's sessions are on it."""
    sectors: int = 0
    """So many sectors of the image."""
    copies: int = 0
    """Discs that were read back whole."""
    time_ns: int = 0
    device: str = ""
    problem: str = ""
    """What went wrong the last time; the disc is spoiled then."""


class Waiting(msgspec.Struct, frozen=True, kw_only=True):
    """What one disc is to get."""

    volume: Volume
    first: int
    """The first sector that is written; 0: onto a blank disc."""
    end: int
    sessions: int
    """How many sessions are on it then."""
    final: bool
    """No more sessions will follow."""
    files: list[Extent]
    """What its directory will show."""
    packs: int
    snapshots: int

    @property
    def bytes(self) -> int:
        return (self.end - self.first) * SECTOR


def burned_of(volume: Volume) -> Burned:
    """What is known of a volume's disc."""
    return msgspec.convert(volume.settings.get(BURNED, {}), Burned)


def plan(catalogue: Catalogue, wanted: list[Volume], *, again: bool = False) -> list[Waiting]:
    """What waits for being burned, of the volumes that are wanted, or of all.  ``again``: also what was burned already."""
    ledger, layout = Ledger(catalogue), layout_of(catalogue.set)
    uuids = {each.uuid for each in wanted}
    found = []
    for volume in catalogue.volumes():
        if (not uuids or volume.uuid in uuids) and volume.state in USABLE:
            found.append(_waiting(ledger, layout, volume, catalogue.set.copies, again))
    return [each for each in found if each is not None]


def done(catalogue: Catalogue) -> list[tuple[Volume, bool]]:
    """Volumes that take no more and are on as many discs as the set wants; and whether their group still lacks its parity."""
    ledger = Ledger(catalogue)
    groups = {each.number: each for each in ledger.groups()}
    found = []
    for volume in catalogue.volumes():
        member = ledger.member(volume.number)
        group = groups[member.grp] if member is not None else None
        if volume.state in _FINAL and burned_of(volume).copies >= catalogue.set.copies and not burned_of(volume).problem:
            found.append((volume, group is not None and bool(group.m) and not group.closed_ns))
    return found


def unfinished(catalogue: Catalogue) -> list[Volume]:
    """Volumes whose last session is still open: it has neither catalogue nor parity yet."""
    ledger = Ledger(catalogue)
    sessions = {each.uuid: ledger.sessions(each.number) for each in catalogue.volumes() if each.state in USABLE}
    return [each for each in catalogue.volumes() if sessions.get(each.uuid) and not sessions[each.uuid][-1].is_closed]


def seconds(media: str, count: int, speed: str = "") -> float:
    """How long writing and reading back takes, about."""
    unit, usual = next((value for name, value in SPEEDS.items() if media.startswith(name)), (1_000_000, 1))
    factor = float(speed) if speed.replace(".", "", 1).isdecimal() and float(speed) > 0 else usual
    return 2 * count / (unit * factor)


def _waiting(ledger: Ledger, layout: Layout, volume: Volume, copies: int, again: bool) -> Waiting | None:
    sessions = [each for each in ledger.sessions(volume.number) if each.is_closed]
    burned, final = burned_of(volume), volume.state in _FINAL
    if not sessions or not Path(volume.path).is_file():
        return None
    complete = burned.sessions == len(sessions) and not burned.problem
    if not again and complete and (burned.copies >= copies or not final):
        return None
    fresh = again or complete or bool(burned.problem) or not burned.sessions
    if copies > 1 and not final and not again:
        return None  # a session can only follow on the one disc that is in the drive
    first = 0 if fresh else int(str(volume.settings.get(NEXT_SECTOR, 0)))
    objects = contents(ledger, volume.number)
    return Waiting(
        volume=volume,
        first=first,
        end=sectors(sessions[-1], layout),
        sessions=len(sessions),
        final=final,
        files=extents(sessions, layout) if layout.optical else [],
        packs=objects.get("packs", 0),
        snapshots=objects.get("snapshots", 0),
    )


def contents(ledger: Ledger, number: int) -> dict[str, int]:
    """How many objects of each top folder lie on a volume, as a whole or in part."""
    rows = ledger.catalogue.rows(
        "SELECT substr(key, 1, instr(key || '/', '/') - 1) AS top, count(DISTINCT objects.number) AS count"
        " FROM objects JOIN pieces ON pieces.object = objects.number WHERE pieces.volume = ? GROUP BY top",
        (number,),
    )
    return {str(row["top"]): int(row["count"]) for row in rows}


def sectors(session: Session, layout: Layout) -> int:
    """The sector behind a closed session."""
    return session.end * layout.frame // SECTOR
