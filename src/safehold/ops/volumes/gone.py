"""Discs that are lost for good: what was on them counts as not stored, so that the next backup stores it again."""

from __future__ import annotations

from safehold.core.clock import Clock
from safehold.repo.repository import Repository
from safehold.storage.volumes.catalogue import Catalogue, Volume
from safehold.storage.volumes.discs.ledger import Ledger
from safehold.storage.volumes.discs.planning import is_beyond

_KNOWN = "beyond_ns"
"""Setting of a volume: when a backup first knew of it.  Snapshots from before may need what was on it."""
_PACKS = "packs/"
_SNAPSHOTS = "snapshots/"
_ON = "SELECT DISTINCT key FROM objects JOIN pieces ON object = objects.number WHERE volume = ? AND generation = ?"


def volumes(ledger: Ledger) -> list[Volume]:
    """Those that are lost, hold something, and cannot be made from others."""
    lost = {each.number: each for each in ledger.catalogue.volumes() if each.state == "lost" and not each.parity}
    return [each for each in lost.values() if ledger.sessions(each.number) and is_beyond(ledger, each.number, lost.__contains__)]


def write_down(catalogue: Catalogue, gone: list[Volume], clock: Clock) -> None:
    """From now on snapshots are made without these volumes; those that were found again are as good as ever."""
    numbers = {each.number for each in gone}
    for volume in catalogue.volumes():
        if volume.number in numbers and _KNOWN not in volume.settings:
            catalogue.change(volume.uuid, settings={**volume.settings, _KNOWN: clock.now_ns()})
        elif volume.number not in numbers and _KNOWN in volume.settings:
            kept = {name: value for name, value in volume.settings.items() if name != _KNOWN}
            catalogue.change(volume.uuid, settings=kept)


def give_up(repository: Repository, ledger: Ledger, generation: int) -> None:
    """Have nothing built upon what was on such volumes, nor upon snapshots that may need it."""
    packs: set[bytes] = set()
    since = 0
    for volume in volumes(ledger):
        keys = [str(key) for (key,) in ledger.catalogue.rows(_ON, (volume.number, generation))]
        packs.update(bytes.fromhex(key.rpartition("/")[2]) for key in keys if key.startswith(_PACKS))
        since = max(since, int(volume.settings.get(_KNOWN, 1 << 62)))
    if packs:
        before = {each.key.removeprefix(_SNAPSHOTS) for each in ledger.listing(generation, _SNAPSHOTS) if each.time_ns <= since}
        repository.give_up(frozenset(packs), frozenset(before))
