"""Completing parity groups: writing the parity volumes when the data volumes of a group are closed."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from itertools import cycle
from pathlib import Path

import msgspec

from safehold.core.errors import StoreUnreachable
from safehold.storage.volumes import frames
from safehold.storage.volumes.behind import Behind, Rooms, ahead
from safehold.storage.volumes.catalogue import Volume
from safehold.storage.volumes.discs.across import WINDOW, Window, total
from safehold.storage.volumes.discs.layout import Layout
from safehold.storage.volumes.discs.ledger import Group, Ledger, Member
from safehold.storage.volumes.discs.reading import FrameReader
from safehold.storage.volumes.discs.recorder import ParityDisc, Recorder


class Groups:
    """The parity groups of a set."""

    def __init__(self, ledger: Ledger, layout: Layout, reader: FrameReader, recorder: Recorder) -> None:
        self._ledger = ledger
        self._catalogue = ledger.catalogue
        self._layout = layout
        self._reader = reader
        self._recorder = recorder

    def complete(self, *, short: bool = False) -> list[Volume]:
        """Write the parity volumes of every group whose data volumes are all closed, with ``short`` of those too that have
        fewer than they could.  What was written.  A group with a volume that is not at hand waits."""
        made: list[Volume] = []
        for group in self._ledger.groups():
            if not group.closed_ns and self._is_ready(group, short):
                made += self._write(group)
        return made

    def _is_ready(self, group: Group, short: bool) -> bool:
        data = [each for each in self._ledger.members(group.number) if each.position < group.k]
        states = {each.number: each.state for each in self._catalogue.volumes()}
        closed = all(states[each.volume] not in ("blank", "open") for each in data)
        filled = [each for each in data if self._reader.sessions(each.volume)]
        at_hand = all(self._reader.shelf.at_hand(each.volume) is not None for each in filled)
        return closed and at_hand and bool(filled) and (short or len(data) == group.k)

    def _write(self, group: Group) -> list[Volume]:
        members = self._ledger.members(group.number)
        data = {each.position: each.volume for each in members if each.position < group.k}
        most = max(total(self._reader.sessions(volume)) for volume in data.values())
        discs = {position: self._disc(group, members, position) for position in range(group.k, group.k + group.m)}
        read, made = cycle((Rooms(), Rooms())), cycle((Rooms(), Rooms()))
        ends = ((first, min(most, first + WINDOW)) for first in range(0, most, WINDOW))
        try:
            with Behind() as behind:
                for window in ahead(partial(self._window, group, data, *each, next(read)) for each in ends):
                    behind.run(partial(_seal_and_write, discs, window.first, window.encode(discs, next(made))))
            closed = msgspec.structs.replace(group, closed_ns=self._recorder.now_ns())
            finished = [disc.finish(closed) for disc in discs.values()]
        finally:
            for disc in discs.values():
                disc.close()
        self._ledger.put_group(closed)
        return finished

    def _window(self, group: Group, data: dict[int, int], first: int, end: int, rooms: Rooms) -> Window:
        window = Window(group, self._layout, first, end, rooms)
        for position, volume in data.items():
            if not window.load(position, volume, self._reader):
                raise StoreUnreachable(self._reader.shelf.sentence([]), "Its parity cannot be made without it.")
        if any(window.bad):
            volumes = sorted({data[position] for bad in window.bad for position in bad})
            raise StoreUnreachable(
                f"Volume {volumes[0]} is damaged beyond its own parity before there is parity across volumes.",
                "`safehold check` tells what is affected.",
            )
        return window

    def _disc(self, group: Group, members: list[Member], position: int) -> ParityDisc:
        """A parity volume, new or one whose making was cut short."""
        known = next((each for each in members if each.position == position), None)
        volume = None
        if known is not None:
            volume = next(each for each in self._catalogue.volumes() if each.number == known.volume)
            Path(volume.path).unlink(missing_ok=True)
        disc = self._recorder.parity_disc(group.generation, volume)
        if known is None:
            self._ledger.put_member(Member(group.number, position, disc.volume.number))
        return disc


def _seal_and_write(discs: Mapping[int, ParityDisc], first: int, blocks: Mapping[int, bytearray]) -> None:
    """Frames from number ``first`` on of each disc."""
    for position, block in blocks.items():
        disc = discs[position]
        frames.seal_parity(block, frames.ACROSS, disc.stamp, disc.start + first, first)
        disc.write(block)
