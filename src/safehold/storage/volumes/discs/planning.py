"""Which frames of which volumes are needed, before any is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from safehold.storage.volumes.discs.across import WINDOW, ordinal, runs, total
from safehold.storage.volumes.discs.ledger import Ledger, Piece
from safehold.storage.volumes.frames import HEAD_SIZE, payload_of

Range = tuple[str, int, int]
"""Key, offset and length of what is wanted of an object."""
Runs = list[tuple[int, int]]
"""Slots (first, end), in order, none touching the next."""


@dataclass(slots=True)
class Plan:
    """Volume -> the slots that are wanted of it."""

    wanted: dict[int, Runs] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)
    """Keys that the store does not have."""

    def slots(self, volume: int) -> int:
        """How many frames are wanted of a volume."""
        return sum(end - first for first, end in self.wanted.get(volume, []))


def plan(ledger: Ledger, generation: int, ranges: Iterable[Range], frame_size: int) -> Plan:
    """What is to be read for some ranges of objects."""
    made = Plan()
    collected: dict[int, Runs] = {}
    places: dict[str, list[Piece] | None] = {}
    for key, offset, length in ranges:
        if key not in places:
            stored = ledger.find(generation, key)
            places[key] = ledger.pieces(stored.number) if stored else None
            if stored is None:
                made.unknown.append(key)
        for piece in places[key] or []:
            first, end = frames_of(offset, length, frame_size)
            first, end = max(first, piece.first), min(end, piece.first + piece.frames)
            if first < end:
                slot = piece.slot - piece.first
                collected.setdefault(piece.volume, []).append((slot + first, slot + end))
    made.wanted = {volume: merged(found) for volume, found in sorted(collected.items())}
    return made


def frames_of(offset: int, length: int, frame_size: int) -> tuple[int, int]:
    """Which of an object's frames hold a range of its bytes: first and end."""
    payload = payload_of(frame_size)
    return (offset + HEAD_SIZE) // payload, -(-(offset + HEAD_SIZE + length) // payload) if length else 0


def merged(found: Runs) -> Runs:
    """The same slots, in order, each once."""
    joined: Runs = []
    for first, end in sorted(found):
        if joined and first <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(joined[-1][1], end)
        else:
            joined.append((first, end))
    return joined


def is_beyond(ledger: Ledger, volume: int, is_lost: Callable[[int], bool]) -> bool:
    """Whether nothing can make what was on a volume that is lost: there is no parity of its group, or too little is left."""
    return instead(ledger, volume, [], is_lost) is None


def instead(ledger: Ledger, volume: int, wanted: Runs, is_lost: Callable[[int], bool]) -> dict[int, Runs] | None:
    """What to read of the other volumes of its group for slots of a volume that is lost; None: too few are left."""
    member = ledger.member(volume)
    group = next((each for each in ledger.groups() if member and each.number == member.grp and each.closed_ns), None)
    if member is None or group is None:
        return None
    members = ledger.members(group.number)
    there = [each for each in members if not is_lost(each.volume)]
    zeros = group.k - sum(each.position < group.k for each in members)
    helpers = there[: group.k - zeros]
    if len(helpers) + zeros < group.k:
        return None
    sessions = {each.volume: ledger.sessions(each.volume) for each in members}
    windows = set()
    for first, end in wanted:
        for slot in range(first, end):
            number = ordinal(sessions[volume], slot)
            windows |= {number // WINDOW} if number is not None else set()
    most = max(total(sessions[each.volume]) for each in members if each.position < group.k)
    return {
        helper.volume: merged(
            [
                (slot, slot + count)
                for window in windows
                for _, slot, count in runs(sessions[helper.volume], window * WINDOW, min(most, (window + 1) * WINDOW))
            ]
        )
        for helper in helpers
    }
