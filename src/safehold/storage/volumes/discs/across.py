"""Parity across volumes: making it when a group is complete, and using it for volumes that are lost.

Frame j of each parity volume is made of the j-th data frames of the group's data volumes, counted over their sessions; a volume
with fewer frames, or one that is not there yet, counts as zeros.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from safehold.core.errors import DamageError
from safehold.storage.volumes import frames
from safehold.storage.volumes.behind import Rooms
from safehold.storage.volumes.discs.layout import Layout
from safehold.storage.volumes.discs.ledger import Group, Ledger, Member, Session
from safehold.storage.volumes.discs.mending import Mended
from safehold.storage.volumes.discs.shelf import Shelf
from safehold.storage.volumes.erasure import code_of
from safehold.storage.volumes.galois import address

WINDOW = 64
"""Frames of each volume that are taken together."""


class Reading(Protocol):
    """What is needed of the reader of frames."""

    shelf: Shelf

    def try_read(self, volume: int, slot: int, view: memoryview) -> set[int] | None:
        """Fill a buffer: the slots that are beyond help; None: the volume is not there."""

    def sessions(self, volume: int) -> list[Session]:
        """A volume's sessions."""


def runs(sessions: list[Session], first: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Where the data frames number first to end of a volume lie: (number, slot, how many)."""
    before = 0
    for session in sessions:
        begin, stop = max(first, before), min(end, before + session.frames)
        if begin < stop:
            yield begin, session.start + begin - before, stop - begin
        before += session.frames


def ordinal(sessions: list[Session], slot: int) -> int | None:
    """The number of the data frame at a slot, counted over the sessions."""
    before = 0
    for session in sessions:
        if session.start <= slot < session.start + session.frames:
            return before + slot - session.start
        before += session.frames
    return None


def total(sessions: list[Session]) -> int:
    """Data frames of a volume."""
    return sum(session.frames for session in sessions)


class Window:
    """The same frames of all volumes of a group, as far as they can be read."""

    def __init__(self, group: Group, layout: Layout, first: int, end: int, rooms: Rooms | None = None) -> None:
        """``rooms``: of windows that are not used any more."""
        self._group = group
        self._size = layout.frame
        self._rooms = rooms or Rooms()
        self.first = first
        self.count = end - first
        self.blocks: dict[int, bytearray] = {}
        """Position -> its frames."""
        self.bad: list[set[int]] = [set() for _ in range(self.count)]
        """Per frame, the positions that are not known."""

    def load(self, position: int, volume: int, reading: Reading) -> bool:
        """Read a volume's part; False: it is not there."""
        sessions = reading.sessions(volume)
        buffer = self._rooms.take(position, self.count * self._size)
        view, filled = memoryview(buffer), 0
        for number, slot, count in runs(sessions, self.first, self.first + self.count):
            at = (number - self.first) * self._size
            filled = at + count * self._size
            bad = reading.try_read(volume, slot, view[at : at + count * self._size])
            if bad is None:
                return False
            for each in bad:
                self.bad[number - self.first + each - slot].add(position)
        view[filled:] = bytes(len(view) - filled)
        self.blocks[position] = buffer
        return True

    def lacks(self, position: int) -> None:
        """A volume is not there at all."""
        for each in self.bad:
            each.add(position)

    @property
    def worst(self) -> int:
        """So many data blocks are unknown where most are."""
        return max(sum(position < self._group.k for position in each) for each in self.bad)

    def encode(self, numbers: Iterable[int], rooms: Rooms | None = None) -> dict[int, bytearray]:
        """The parity blocks of these numbers, from k on, of the data blocks; ``rooms``: for them."""
        made = {number: (rooms or self._rooms).take(number, self.count * self._size) for number in numbers}
        code = code_of(self._group.k, self._group.m)
        data = {position: address(block) for position, block in self.blocks.items() if position < self._group.k}
        code.encode(data, {number: address(block) for number, block in made.items()}, self.count * self._size)
        return made

    def decode(self, keep: Callable[[int, int, bytearray, int], object]) -> None:
        """Make unknown data frames where enough is known; ``keep(position, number, buffer, at)`` takes each."""
        begin = 0
        while begin < self.count:
            end = begin + 1
            while end < self.count and self.bad[end] == self.bad[begin]:
                end += 1
            self._decode(begin, end, keep)
            begin = end

    def _decode(self, begin: int, end: int, keep: Callable[[int, int, bytearray, int], object]) -> None:
        k, bad = self._group.k, self.bad[begin]
        lost = sorted(position for position in bad if position < k)
        known = {position: address(block) + begin * self._size for position, block in self.blocks.items() if position not in bad}
        zeros = [position for position in range(k) if position not in known and position not in bad]
        if not lost or len(known) + len(zeros) < k:
            return
        made = {position: bytearray((end - begin) * self._size) for position in lost}
        code_of(k, self._group.m).decode(
            known, zeros, {position: address(block) for position, block in made.items()}, (end - begin) * self._size
        )
        for position, block in made.items():
            for number in range(end - begin):
                keep(position, self.first + begin + number, block, number * self._size)


class Recoverer:
    """Frames of volumes that cannot be read, from the others of their group."""

    def __init__(self, ledger: Ledger, layout: Layout, reading: Reading) -> None:
        self._ledger = ledger
        self._layout = layout
        self._reading = reading
        self._done: set[tuple[int, int]] = set()
        """Group and window whose frames were made as far as can be."""

    def could(self, volume: int) -> bool:
        """Whether enough volumes of the group are at hand to make what lies on one that isn't."""
        group, members = self._group(volume)
        if group is None or not group.closed_ns:
            return False
        there = sum(self._is_there(each.volume) for each in members if each.volume != volume)
        absent = group.k - sum(each.position < group.k for each in members)
        return there + absent >= group.k

    def needed(self, volume: int) -> list[int]:
        """Volumes that are not at hand and would help."""
        _, members = self._group(volume)
        return [each.volume for each in members if each.volume != volume and not self._is_there(each.volume)]

    def recover(self, volume: int, slots: list[int], into: Mended) -> list[int]:
        """Make data frames of a volume; those that cannot be made are returned."""
        group, members = self._group(volume)
        sessions = self._reading.sessions(volume)
        found = {slot: ordinal(sessions, slot) for slot in slots}
        if group is None or not group.closed_ns:
            return slots
        for window in sorted({number // WINDOW for number in found.values() if number is not None}):
            if (group.number, window) not in self._done:
                self._recover_window(group, members, window, into)
                self._done.add((group.number, window))
        return [slot for slot in slots if not into.has(volume, slot)]

    def parity(self, volume: int, first: int, end: int) -> bytearray:
        """Across frames of a parity volume, without their prefixes.  Raises ``DamageError``."""
        group, members = self._group(volume)
        position = next(each.position for each in members if each.volume == volume)
        assert group is not None
        others = [each for each in members if each.volume != volume]
        window = self._window(group, others, first, end)
        made: dict[int, bytearray] = {}

        def keep(position: int, ordinal: int, buffer: bytearray, at: int) -> None:
            size = self._layout.frame
            whole = made.setdefault(position, window.blocks.get(position) or bytearray((end - first) * size))
            whole[(ordinal - first) * size : (ordinal - first + 1) * size] = buffer[at : at + size]

        window.decode(keep)
        window.blocks.update(made)
        if any(each.position < group.k and each.position not in window.blocks for each in others):
            raise DamageError(f"Volume {volume} cannot be made: too few of its group are here.", "Bring more of them.")
        return window.encode([position])[position]

    def _window(self, group: Group, members: list[Member], first: int, end: int) -> Window:
        """Frames of a group's volumes: data where it can be read, and as many parity volumes as are needed then."""
        window = Window(group, self._layout, first, end)
        for each in sorted(members, key=lambda member: member.position):
            parities = sum(position >= group.k for position in window.blocks)
            if each.position >= group.k and window.worst <= parities:
                break
            if not window.load(each.position, each.volume, self._reading):
                window.lacks(each.position)
        return window

    def _recover_window(self, group: Group, members: list[Member], number: int, into: Mended) -> None:
        volumes = {each.position: each.volume for each in members}
        most = max(total(self._reading.sessions(each.volume)) for each in members if each.position < group.k)
        window = self._window(group, members, number * WINDOW, min(most, (number + 1) * WINDOW))

        def keep(position: int, ordinal: int, buffer: bytearray, at: int) -> None:
            stamp = self._layout.stamp(volumes[position], 0)
            if frames.reseal(buffer, at, self._layout.frame, stamp):
                slot = frames.parse(buffer, at).slot
                into.put(volumes[position], slot, memoryview(buffer)[at : at + self._layout.frame])

        window.decode(keep)

    def _group(self, volume: int) -> tuple[Group | None, list[Member]]:
        member = self._ledger.member(volume)
        if member is None:
            return None, []
        group = next(each for each in self._ledger.groups() if each.number == member.grp)
        return group, self._ledger.members(group.number)

    def _is_there(self, volume: int) -> bool:
        return not self._reading.shelf.is_lost(volume) and self._reading.shelf.at_hand(volume) is not None
