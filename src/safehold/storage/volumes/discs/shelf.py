"""Which volumes are at hand, and how to get at one that isn't."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from pathlib import Path

from safehold.core.errors import SafeholdError, StoreUnreachable
from safehold.storage.volumes import frames
from safehold.storage.volumes.catalogue import Catalogue, Volume
from safehold.storage.volumes.media.folder import FolderMedium, find_data
from safehold.storage.volumes.media.image import ImageMedium
from safehold.storage.volumes.media.medium import Medium

Ask = Callable[[list[Volume], str], "Path | None"]
"""Asks a person for one of these volumes (the sentence says which); where one may be now, or None: there is none to be had."""
_PROBE = 64
"""Frames that are looked at in one place for one that says whose volume it is."""
_AT_ONCE = 4
"""So many are read at once: mostly the first is whole, and reading from a disc is slow."""
_PLACES = 5
"""Places of a medium that are looked at, one after the other."""


class Identity:
    """What the frames of a medium say."""

    def __init__(self, set_id: bytes, volume: int, frame_size: int) -> None:
        self.set_id = set_id
        self.volume = volume
        self.frame_size = frame_size


def open_medium(place: Path) -> Medium:
    """A folder, image or device, for reading."""
    return FolderMedium(place) if find_data(place) else ImageMedium(place)


def identify(medium: Medium) -> Identity | None:
    """Whose volume it is, by the first whole frame found at its start and at some places further on."""
    step = max(1 << 20, medium.used // _PLACES // (1 << 20) * (1 << 20))
    for offset in range(0, medium.used, step):
        for begin in (offset + (1 << 20), offset):  # a disc's first megabyte is its directory
            for size in frames.SIZES:
                for at in range(0, _PROBE, _AT_ONCE):
                    buffer = bytearray(_AT_ONCE * size)
                    medium.read(begin + at * size, memoryview(buffer))
                    for _, frame in frames.whole(buffer, size):
                        return Identity(frame.set_id, frame.volume, size)
    return None


class Shelf:
    """The media of a set that can be read now."""

    def __init__(
        self, catalogue: Catalogue, places: Iterable[Path] = (), ask: Ask | None = None, lost: Iterable[int] = ()
    ) -> None:
        """``places``: images, folders and devices to look at, or folders with such in them; ``lost``: volumes not to ask for."""
        self._catalogue = catalogue
        self._set_id = bytes.fromhex(catalogue.set.id)[: frames.SET_BYTES]
        self._places = list(places)
        self._ask = ask
        self.asks = ask is not None
        """Whether somebody can be asked for a volume."""
        self.lost = set(lost)
        self._open: dict[int, Medium] = {}
        self._seen: dict[Path, int | None] = {}
        """What was found at each place that was looked at."""
        self._lock = threading.RLock()

    def take(self, volume: int, medium: Medium) -> None:
        """A medium that was opened elsewhere, for writing."""
        with self._lock:
            self._open[volume] = medium

    def drop(self, volume: int) -> None:
        """Let go of a medium: it is changed, or leaves."""
        with self._lock:
            medium = self._open.pop(volume, None)
            if medium is not None:
                medium.close()

    def at_hand(self, volume: int) -> Medium | None:
        """A volume that is there without anybody being asked."""
        with self._lock:
            if volume not in self._open:
                place = self._find(volume)
                if place is None:
                    return None
                self._open[volume] = open_medium(place)
            return self._open[volume]

    def get(self, volume: int) -> Medium:
        """A volume, asked for if need be.  Raises ``StoreUnreachable``."""
        medium = self.at_hand(volume)
        if medium is not None:
            return medium
        with self._lock:
            return self.at_hand(volume) or self._asked(self._named(volume))

    def is_lost(self, volume: int) -> bool:
        """Whether nobody can bring it."""
        return volume in self.lost or self._named(volume).state in ("lost", "damaged")

    def look_at(self, place: Path) -> int | None:
        """Which volume of this set lies at a place, and remember it."""
        with self._lock:
            self._seen[place] = self._identified(place)
            return self._seen[place]

    def bring(self, volume: int, place: Path) -> None:
        """A volume was found to lie at a place."""
        with self._lock:
            self.drop(volume)
            self._open[volume] = open_medium(place)

    def close(self) -> None:
        for medium in self._open.values():
            medium.close()
        self._open.clear()

    def describe(self, volume: Volume) -> str:
        """A volume as a person knows it."""
        count = self._catalogue.next_number() - 1
        where = f" ({volume.place})" if volume.place else ""
        return f"volume {volume.number} of {count}, {volume.label}{where}"

    def sentence(self, wanted: list[Volume]) -> str:
        """What a person is asked."""
        return "Insert " + " or ".join(self.describe(each) for each in wanted) + "."

    def _named(self, number: int) -> Volume:
        for each in self._catalogue.volumes():
            if each.number == number:
                return each
        raise StoreUnreachable(
            f"Volume {number} is not in the catalogue.", "`safehold volumes recover` reads it from the volumes."
        )

    def _asked(self, volume: Volume) -> Medium:
        sentence = self.sentence([volume])
        while self._ask is not None:
            place = self._ask([volume], sentence)
            if place is None:
                break
            found = self.look_at(place)
            if found == volume.number:
                self._open[found] = open_medium(place)
                return self._open[found]
            what = "no volume of this set" if found is None else self.describe(self._named(found))
            sentence = f"That is {what}. {self.sentence([volume])}"
        raise StoreUnreachable(
            self.sentence([volume]), f"Or, if it is gone: --lost {volume.number} (then what was on it is made from the others)."
        )

    def _find(self, volume: int) -> Path | None:
        if volume in self.lost:
            return None
        named = self._named(volume)
        own = [Path(named.path)] if named.path else []
        for place in [*own, *self._candidates()]:
            if place not in self._seen and place.exists():
                self._seen[place] = named.number if place in own and _is_local(place) else self._identified(place)
            if self._seen.get(place) == volume and place.exists():
                return place
        return None

    def _candidates(self) -> Iterable[Path]:
        for place in self._places:
            yield place
            if place.is_dir() and find_data(place) is None:
                yield from sorted(each for each in place.iterdir() if not each.name.startswith("."))

    def _identified(self, place: Path) -> int | None:
        if place.is_dir() and find_data(place) is None:
            return None
        try:
            medium = open_medium(place)
        except SafeholdError:
            return None
        try:
            found = identify(medium)
        except SafeholdError:
            return None
        finally:
            medium.close()
        return found.volume if found is not None and found.set_id == self._set_id else None


def _is_local(place: Path) -> bool:
    """An image of our own making: its name is proof enough, as every frame that is read is checked anyway."""
    return place.is_file()
