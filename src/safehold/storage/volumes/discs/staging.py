"""Frames fetched from volumes, in whatever order they come, and kept on the machine until they are used.

Each volume has a file in which a frame lies at its own address, with holes for what was not wanted; a file beside it lists the
slots that are there.  So what was fetched before an interruption is not fetched again.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from safehold.core.errors import StoreUnreachable
from safehold.core.events import Note, Progress, Reporter
from safehold.storage import filesystem as fs
from safehold.storage.volumes.catalogue import Volume
from safehold.storage.volumes.discs.ledger import Ledger
from safehold.storage.volumes.discs.planning import Plan, Runs, instead, merged
from safehold.storage.volumes.discs.reading import FrameReader
from safehold.storage.volumes.media.image import ImageMedium

_STEP = 256
"""Frames that are read at once."""


class Stage:
    """A folder of fetched frames."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._open: dict[int, ImageMedium] = {}

    def medium(self, volume: int) -> ImageMedium | None:
        """What was fetched of a volume, to be read as the volume itself is."""
        if volume not in self._open:
            path = self._path(volume)
            if not path.exists():
                return None
            self._open[volume] = ImageMedium(path)
        return self._open[volume]

    def has(self, volume: int) -> Runs:
        """The slots of a volume that were fetched."""
        try:
            found = json.loads(self._path(volume).with_suffix(".json").read_text("ascii"))
        except (OSError, ValueError):
            return []
        return [(int(first), int(end)) for first, end in found]

    def fetch(self, volume: int, wanted: Runs, reader: FrameReader) -> Runs:
        """Copy slots of a volume that is at hand; those that are damaged beyond its own parity are returned."""
        fs.make_folders(self.folder)
        path = self._path(volume)
        medium = ImageMedium(path, write=True, create=not path.exists())
        size, bad, done = reader.layout.frame, [], self.has(volume)
        try:
            for first, end in wanted:
                for slot in range(first, end, _STEP):
                    count = min(_STEP, end - slot)
                    data = bytearray(count * size)
                    lost = reader.try_read(volume, slot, memoryview(data))
                    if lost is None:
                        raise StoreUnreachable(f"Volume {volume} went away while it was read.", "Insert it again.")
                    medium.write(slot * size, data)
                    bad += [(each, each + 1) for each in lost]
                    done.append((slot, slot + count))
            medium.flush()
        finally:
            medium.close()
        partial = path.with_suffix(".tmp")
        partial.write_text(json.dumps(merged(done)), "ascii")
        partial.replace(path.with_suffix(".json"))
        return merged(bad)

    def clear(self) -> None:
        """Everything was used."""
        for medium in self._open.values():
            medium.close()
        self._open.clear()
        for path in self.folder.glob("volume-*"):
            path.unlink()
        if self.folder.is_dir():
            self.folder.rmdir()

    def _path(self, volume: int) -> Path:
        return self.folder / f"volume-{volume:05}.part"


Ask = Callable[[list[Volume], str], "Path | None"]


class Gathering:
    """Fetches what a plan wants, volume by volume in the order in which they come, each once."""

    def __init__(self, ledger: Ledger, reader: FrameReader, stage: Stage, ask: Ask | None, report: Reporter) -> None:
        self._ledger = ledger
        self._reader = reader
        self._shelf = reader.shelf
        self._stage = stage
        self._ask = ask
        self._report = report

    def missing(self, plan: Plan) -> dict[int, Runs]:
        """What of a plan is neither at hand nor fetched before, of volumes that are not lost; and what is needed for those."""
        left: dict[int, Runs] = {}
        for volume, wanted in plan.wanted.items():
            if not self._shelf.is_lost(volume):
                left.setdefault(volume, []).extend(wanted)
                continue
            others = instead(self._ledger, volume, wanted, self._shelf.is_lost)
            if others is None:
                self._reader.tell(
                    volume, "volume-beyond", f"Volume {volume} is lost, and too few of its group are left to make it."
                )
                continue  # what lies on the others is read all the same
            for other, runs in others.items():
                left.setdefault(other, []).extend(runs)
        found = {volume: _without(merged(runs), self._stage.has(volume)) for volume, runs in left.items()}
        return {volume: runs for volume, runs in found.items() if runs}

    def gather(self, plan: Plan) -> None:
        """Fetch all of it.  Raises ``StoreUnreachable`` when a volume is needed and nobody brings it."""
        left = self.missing(plan)
        while left:
            volume = self._next(left)
            wanted = left.pop(volume)
            name = self._shelf.describe(self._volume(volume))
            self._report(Note(message=f"Reading {name}."))
            bad = self._stage.fetch(volume, wanted, self._reader)
            self._report(Progress(phase="volumes", files=len(plan.wanted) - len(left), total_files=len(plan.wanted)))
            if bad:
                self._help(volume, bad, left)
            self._shelf.drop(volume)

    def _help(self, volume: int, bad: Runs, left: dict[int, Runs]) -> None:
        """Have what is damaged on a volume made from others: more is wanted of them."""
        lost = {volume}
        others = instead(self._ledger, volume, bad, lambda each: each in lost or self._shelf.is_lost(each))
        for other, runs in (others or {}).items():
            more = _without(runs, self._stage.has(other))
            if more:
                left[other] = merged([*left.get(other, []), *more])

    def _next(self, left: dict[int, Runs]) -> int:
        """A volume that is here and wanted, asked for if need be."""
        here = next((volume for volume in left if self._shelf.at_hand(volume) is not None), None)
        if here is not None:
            return here
        wanted = [self._volume(volume) for volume in left]
        sentence = self._sentence(wanted)
        prefix = ""
        while self._ask is not None:
            place = self._ask(wanted, prefix + sentence)
            if place is None:
                break
            found = self._shelf.look_at(place)
            if found in left:
                self._shelf.bring(found, place)
                return found
            prefix = self._not_that(found)
        raise StoreUnreachable(sentence, f"If one is gone: --lost {wanted[0].number}. What was read so far is kept.")

    def _not_that(self, found: int | None) -> str:
        if found is None:
            return "That is no volume of this set. "
        return f"That is {self._shelf.describe(self._volume(found))}, which is not needed now. "

    def _sentence(self, wanted: list[Volume]) -> str:
        if len(wanted) == 1:
            return f"Insert {self._shelf.describe(wanted[0])}."
        names = "; ".join(self._shelf.describe(each) for each in wanted)
        return f"Insert one of these {len(wanted)} volumes, in any order: {names}."

    def _volume(self, number: int) -> Volume:
        return next(each for each in self._ledger.catalogue.volumes() if each.number == number)


def _without(wanted: Runs, done: Runs) -> Runs:
    """The slots that are wanted and not done."""
    left: Runs = []
    for first, end in wanted:
        for begin, stop in done:
            if stop <= first or begin >= end:
                continue
            if begin > first:
                left.append((first, begin))
            first = stop
        if first < end:
            left.append((first, end))
    return left
