"""Reading a volume without knowing anything of it: its catalogue, or what every frame says of itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import msgspec

from safehold.core.errors import FormatError
from safehold.storage.volumes import frames
from safehold.storage.volumes.discs import record
from safehold.storage.volumes.discs.ledger import Piece, Session
from safehold.storage.volumes.discs.mending import Mended, mend
from safehold.storage.volumes.frames import Frame, Stamp
from safehold.storage.volumes.media.medium import Medium
from safehold.storage.volumes.rows import Rows

_STEP = 8 << 20
"""Bytes that are looked at together."""
_NEAR = 256
"""Frames that are looked at around a place where one is expected."""


@dataclass(slots=True)
class Survey:
    """What the frames of a volume say."""

    volume: int
    frame_size: int
    sessions: dict[int, Session] = field(default_factory=dict)
    codes: dict[int, tuple[int, int]] = field(default_factory=dict)
    pieces: list[Piece] = field(default_factory=list)
    names: dict[int, tuple[str, int, bool]] = field(default_factory=dict)
    """Object -> key, size, and whether it is a pack of file content."""
    damaged: int = 0
    """Data frames that are known to have been there and cannot be read, nor made from parity."""


def last_catalogue(medium: Medium, frame_size: int) -> tuple[record.Record, int] | None:
    """The catalogue of the last closed session, and the slot behind its data frames, found with a few reads.

    None where what leads to it is damaged.
    """
    tail = _last_frame(medium, frame_size)
    if tail is None or tail.kind == frames.ACROSS:
        return None
    end = tail.slot - tail.index if tail.kind == frames.INSIDE else tail.slot + 1
    last = _frame(medium, end - 1, frame_size)
    if last is None:
        return None
    count = last[1].offset // frames.payload_of(frame_size) + 1
    data = _stream(medium, end - count, count, frame_size)
    try:
        key, size = frames.parse_head(data) if data else ("", 0)
        return (record.parse(data[frames.HEAD_SIZE : frames.HEAD_SIZE + size]), end) if key == record.KEY else None
    except FormatError:
        return None


def survey(medium: Medium, frame_size: int, from_slot: int = 0) -> Survey:
    """Look at every frame, from a slot on; what is damaged is made from parity where that is enough."""
    found = Survey(0, frame_size)
    seen: dict[int, Frame] = {}
    parity: dict[int, tuple[int, int]] = {}
    starts: dict[int, int] = {}
    for buffer, first in _windows(medium, frame_size, from_slot):
        for at, frame in frames.whole(buffer, frame_size):
            if frame.slot != first + at // frame_size:
                continue
            found.volume = found.volume or frame.volume
            if frame.volume != found.volume:
                continue
            found.codes[frame.session] = frame.k, frame.m
            if frame.kind == frames.INSIDE:
                parity[frame.session] = frame.slot - frame.index, max(frame.slot + 1, parity.get(frame.session, (0, 0))[1])
                continue
            starts.setdefault(frame.session, frame.slot - frame.index)
            seen[frame.slot] = frame
            _name(found, frame, memoryview(buffer)[at : at + frame_size])
    _take_sessions(found, seen, starts, parity)
    _mend(found, medium, seen)
    _take_pieces(found, seen)
    return found


def _windows(medium: Medium, frame_size: int, from_slot: int) -> Iterator[tuple[bytearray, int]]:
    for offset in range(from_slot * frame_size, medium.used, _STEP):
        buffer = bytearray(min(_STEP, -(-(medium.used - offset) // frame_size) * frame_size))
        medium.read(offset, memoryview(buffer))
        yield buffer, offset // frame_size


def _name(found: Survey, frame: Frame, data: memoryview) -> None:
    if frame.kind == frames.DATA and frame.offset == 0:
        payload = data[frames.HEADER : frames.HEADER + frame.length]
        key, size = frames.parse_head(payload)
        kind = payload[frames.HEAD_SIZE + 8] if len(payload) > frames.HEAD_SIZE + 8 else 0
        found.names[frame.object] = key, size, key.startswith("packs/") and kind == 1


def _take_sessions(found: Survey, seen: dict[int, Frame], starts: dict[int, int], parity: dict[int, tuple[int, int]]) -> None:
    for number, start in sorted(starts.items()):
        mine = [frame for frame in seen.values() if frame.session == number]
        across = max((frame.index + 1 for frame in mine if frame.kind == frames.ACROSS), default=0)
        begin, stop = parity.get(number, (0, 0))
        last = max(frame.slot for frame in mine) + 1
        count = begin - start if begin else last - start
        rows = Rows(count, *found.codes[number])
        end = max(stop, start + count + rows.parity) if begin else 0
        found.sessions[number] = Session(found.volume, number, start, start, count, end, across)


def _mend(found: Survey, medium: Medium, seen: dict[int, Frame]) -> None:
    mended = Mended(found.frame_size)
    try:
        for session in found.sessions.values():
            lacking = [slot for slot in range(session.start, session.start + session.frames) if slot not in seen]
            rows = Rows(session.frames, *found.codes[session.session])
            if lacking and session.is_closed and rows.m:
                any_frame = next(frame for frame in seen.values() if frame.session == session.session)
                stamp = Stamp(any_frame.set_id, found.volume, session.session, rows.k, rows.m, found.frame_size)
                wanted = sorted({(slot - session.start) % rows.rows for slot in lacking})
                mend(rows, stamp, session.start, wanted, medium, mended, session.across)
            for slot in lacking:
                frame = bytearray(found.frame_size)
                if mended.get(found.volume, slot, memoryview(frame)):
                    seen[slot] = frames.parse(frame)
                    _name(found, seen[slot], memoryview(frame))
                else:
                    found.damaged += 1
    finally:
        mended.close()


def _take_pieces(found: Survey, seen: dict[int, Frame]) -> None:
    payload = frames.payload_of(found.frame_size)
    open_piece: Piece | None = None
    for slot in sorted(seen):
        frame = seen[slot]
        if frame.kind != frames.DATA:
            continue
        number = frame.offset // payload
        if (
            open_piece is not None
            and open_piece.object == frame.object
            and open_piece.slot + open_piece.frames == slot
            and open_piece.first + open_piece.frames == number
        ):
            open_piece = msgspec.structs.replace(open_piece, frames=open_piece.frames + 1)
            found.pieces[-1] = open_piece
        else:
            open_piece = Piece(frame.object, number, 1, found.volume, slot)
            found.pieces.append(open_piece)


def _frame(medium: Medium, slot: int, frame_size: int) -> tuple[bytearray, Frame] | None:
    buffer = bytearray(frame_size)
    medium.read(slot * frame_size, memoryview(buffer))
    for _, frame in frames.whole(buffer, frame_size):
        return buffer, frame
    return None


def _last_frame(medium: Medium, frame_size: int) -> Frame | None:
    """The last whole frame of a volume, if it is not far from its end."""
    slots = medium.used // frame_size
    first = max(0, slots - _NEAR)
    buffer = bytearray((slots - first) * frame_size)
    medium.read(first * frame_size, memoryview(buffer))
    found = None
    for _, frame in frames.whole(buffer, frame_size):
        found = frame
    return found


def _stream(medium: Medium, slot: int, count: int, frame_size: int) -> bytes:
    """The stream that lies in some frames; empty if one is damaged."""
    buffer = bytearray(count * frame_size)
    medium.read(slot * frame_size, memoryview(buffer))
    parts = [
        bytes(buffer[at + frames.HEADER : at + frames.HEADER + frame.length]) for at, frame in frames.whole(buffer, frame_size)
    ]
    return b"".join(parts) if len(parts) == count else b""
