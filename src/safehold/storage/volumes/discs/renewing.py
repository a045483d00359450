"""Looking at volumes as a whole, and writing those anew that are lost or damaged."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from safehold.core.errors import DamageError, StoreUnreachable
from safehold.storage import filesystem as fs
from safehold.storage.volumes import frames, rows
from safehold.storage.volumes.catalogue import Volume
from safehold.storage.volumes.discs import record
from safehold.storage.volumes.discs.finishing import Finisher, write_directory, write_extras
from safehold.storage.volumes.discs.ledger import Ledger, Session
from safehold.storage.volumes.discs.reading import FrameReader
from safehold.storage.volumes.discs.upload import Body
from safehold.storage.volumes.media.image import ImageMedium
from safehold.storage.volumes.media.medium import Medium

_STEP = 512
"""Frames that are read at once."""


@dataclass(slots=True)
class Verdict:
    """How a volume is."""

    volume: int
    frames: int = 0
    damaged: int = 0
    """Frames that are not as they were written."""
    beyond: int = 0
    """Data frames among them that the volume's own parity does not bring back."""


def verify(reader: FrameReader, volume: int, medium: Medium, tick: Callable[[int], object] = lambda frames: None) -> Verdict:
    """Read every frame of a volume from its medium."""
    verdict = Verdict(volume)
    layout = reader.layout
    for session in reader.sessions(volume):
        count = session.frames + (layout.rows(session).parity if session.is_closed else 0)
        hurt: list[int] = []
        for slot in range(session.start, session.start + count, _STEP):
            here = min(_STEP, session.start + count - slot)
            buffer = bytearray(here * layout.frame)
            medium.read(slot * layout.frame, memoryview(buffer))
            hurt += frames.damaged(buffer, layout.frame, layout.set_id, volume, slot)
            verdict.frames += here
            tick(here)
        verdict.damaged += len(hurt)
        verdict.beyond += _beyond(reader, volume, session, hurt)
    return verdict


def _beyond(reader: FrameReader, volume: int, session: Session, hurt: list[int]) -> int:
    """Data frames for which more blocks of their row are damaged than it has parity."""
    made = reader.layout.rows(session)
    per_row: dict[int, list[int]] = {}
    for slot in hurt:
        index = slot - session.start
        row = (index if index < session.frames else index - session.frames) % made.rows
        per_row.setdefault(row, []).append(index)
    each = made.each if session.is_closed else 0
    return sum(sum(index < session.frames for index in indices) for indices in per_row.values() if len(indices) > each)


def renew(reader: FrameReader, ledger: Ledger, volume: Volume, path: Path, finisher: Finisher, now_ns: int) -> None:
    """Write a volume's image anew: what cannot be read is made from parity, its own and that of its group.

    Frames come out bit for bit as they were; but the catalogue at the end of a parity volume, which no other volume has, is one
    of today.  Raises ``DamageError``, ``StoreUnreachable``.
    """
    sessions = list(reader.sessions(volume.number))
    if not sessions:
        raise StoreUnreachable(f"Nothing is known of what was on volume {volume.number}.", "Try `safehold volumes recover`.")
    partial = path.with_name(f"{path.name}.new")
    partial.unlink(missing_ok=True)
    medium = ImageMedium(partial, write=True, create=True)
    try:
        for number, session in enumerate(sessions):
            sessions[number] = _Copy(reader, ledger, volume, session, medium, now_ns).write()
            if session.is_closed:
                end = sessions[number].start + sessions[number].frames + reader.layout.rows(sessions[number]).parity
                extras, end = write_extras(medium, volume, end, reader.layout, finisher)
                stored = msgspec.json.encode(extras).decode()
                sessions[number] = msgspec.structs.replace(sessions[number], extras=stored, end=end)
                write_directory(medium, volume, sessions[: number + 1], reader.layout, finisher)
        medium.flush()
    except BaseException:
        medium.close()
        partial.unlink(missing_ok=True)
        raise
    medium.close()
    fs.replace_durably(str(partial), str(path))
    with ledger.catalogue.transaction():
        for session in sessions:
            ledger.put_session(session)
    reader.forget(volume.number)


class _Copy:
    """A session of a volume that is written anew."""

    def __init__(
        self, reader: FrameReader, ledger: Ledger, volume: Volume, session: Session, medium: ImageMedium, now_ns: int
    ) -> None:
        self._reader = reader
        self._ledger = ledger
        self._volume = volume
        self._session = session
        self._medium = medium
        self._now_ns = now_ns

    def write(self) -> Session:
        """Write it; the session as it is then."""
        session, layout, size = self._session, self._reader.layout, self._reader.layout.frame
        for slot in range(session.start, session.start + session.across, _STEP):
            count = min(_STEP, session.start + session.across - slot)
            self._medium.write(slot * size, self._across(slot, count))
        try:
            for slot in range(session.start + session.across, session.start + session.frames, _STEP):
                count = min(_STEP, session.start + session.frames - slot)
                self._medium.write(slot * size, self._reader.read(self._volume.number, slot, count))
        except DamageError:
            if not session.across:
                raise
            session = self._with_new_catalogue()
        if session.is_closed:
            rows.encode(
                layout.rows(session),
                layout.stamp(self._volume.number, session.session),
                session.start,
                lambda slot, buffer: self._medium.read(slot * size, buffer),
                lambda slot, block: self._medium.write(slot * size, block),
            )
        return session

    def _across(self, slot: int, count: int) -> bytearray:
        if self._reader.shelf.at_hand(self._volume.number) is not None:
            with suppress(DamageError):
                return self._reader.read(self._volume.number, slot, count)
        first = slot - self._session.start
        data = self._reader.recoverer.parity(self._volume.number, first, first + count)
        stamp = self._reader.layout.stamp(self._volume.number, self._session.session)
        frames.seal_parity(data, frames.ACROSS, stamp, slot, first)
        return data

    def _with_new_catalogue(self) -> Session:
        session, layout = self._session, self._reader.layout
        body = Body(layout.frame)
        body.append(memoryview(record.take(self._ledger, self._volume.number, session.session, self._now_ns, None)))
        body.finish()
        body.begin(frames.head(record.KEY, body.size))
        number, index = secrets.randbits(63), session.across
        for block in body.cut(0, body.frames):
            first = index - session.across
            stamp = layout.stamp(self._volume.number, session.session)
            frames.seal_data(block, stamp, session.start + index, index, number, first, body.length)
            self._medium.write((session.start + index) * layout.frame, block)
            index += len(block) // layout.frame
        return msgspec.structs.replace(session, frames=index)
