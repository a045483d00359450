"""Writing to the volume that is open: frames at its end, sessions opened and closed, the next volume begun.

Whoever calls holds the lock of the set.  What is on the volume behind what the ledger says was never acknowledged: it is cut off.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from safehold.core.clock import Clock
from safehold.core.errors import StoreError
from safehold.storage import filesystem as fs
from safehold.storage.volumes import frames, rows
from safehold.storage.volumes.catalogue import Volume
from safehold.storage.volumes.discs import record
from safehold.storage.volumes.discs.finishing import Finisher, write_directory, write_extras
from safehold.storage.volumes.discs.layout import NEXT_SECTOR, Layout
from safehold.storage.volumes.discs.ledger import UNFINISHED, Group, Ledger, Member, Piece, Session, Stored
from safehold.storage.volumes.discs.shelf import Shelf
from safehold.storage.volumes.discs.upload import Body
from safehold.storage.volumes.media.image import ImageMedium

_FIRST = 16 * 1024
"""Room for the config and some twenty keys, in bytes."""
_PER_OBJECT = 96
"""Bytes that an object and a piece of it take in a catalogue, with room to spare."""
_PER_VOLUME = 640
_LEAST_ROOM = 8
"""Frames; a volume with room for fewer is closed."""


@dataclass(slots=True)
class _Open:
    """The volume that is being written."""

    volume: Volume
    session: Session
    medium: ImageMedium
    dirty: bool = False


@dataclass(slots=True)
class Staged:
    """What was written and is not yet in the ledger."""

    objects: list[tuple[Stored, list[Piece]]] = field(default_factory=list)


class Recorder:
    """Writes volumes of one generation."""

    def __init__(
        self,
        ledger: Ledger,
        layout: Layout,
        shelf: Shelf,
        generation: int,
        clock: Clock,
        finisher: Finisher,
    ) -> None:
        self.ledger = ledger
        self.layout = layout
        self.generation = generation
        self.seal: record.Seal | None = None
        self.first: Callable[[], dict[str, bytes]] = dict
        """Gives what each catalogue has with it, see ``record.Record.first``."""
        self._catalogue = ledger.catalogue
        self._set = ledger.catalogue.set
        self._images = Path(str(self._set.settings["images"]))
        self._shelf = shelf
        self._clock = clock
        self.finisher = finisher
        self._open: _Open | None = None
        self.staged = Staged()
        self.full: list[Volume] = []
        """Volumes that were closed for good since this was last emptied."""

    def write(self, body: Body, stored: Stored) -> None:
        """Write an object's frames; ``settle`` makes it count.  Raises ``StoreFull``, ``StoreError``."""
        body.begin(frames.head(stored.key, stored.size))
        pieces: list[Piece] = []
        first = 0
        while first < body.frames:
            here = self._writable()
            before = here.session
            count = self._fitting(here, body.frames - first)
            if count == 0:
                if pieces:
                    self.staged.objects.append((msgspec.structs.replace(stored, dead=UNFINISHED), pieces))
                self.close_volume()
                continue
            try:
                self._append(here, body, stored.number, first, count)
            except BaseException:
                here.session = before
                raise
            pieces.append(
                Piece(stored.number, first, count, here.volume.number, here.session.start + here.session.frames - count)
            )
            first += count
        self.staged.objects.append((stored, pieces))

    def settle(self) -> None:
        """Make what was written durable, then put it into the ledger: from then on it counts."""
        here = self._open
        if here is None or not here.dirty:
            return
        staged, self.staged = self.staged, Staged()
        try:
            here.medium.flush()
            with self._catalogue.transaction():
                self.ledger.put_session(here.session)
                for stored, pieces in staged.objects:
                    self.ledger.add(stored, pieces)
                here.volume = self._noted(here, state="open")
        except BaseException:
            self._forget()
            raise
        here.dirty = False

    def begin(self) -> None:
        """Look at the ledger again: another process may have written since."""
        here = self._open
        if here is None:
            return
        sessions = self.ledger.sessions(here.volume.number)
        if not sessions or sessions[-1] != here.session:
            self._forget()

    def _writable(self) -> _Open:
        if self._open is None:
            volume = self._last_volume()
            sessions = self.ledger.sessions(volume.number) if volume else []
            if volume is None:
                self._open = self._new_volume()
            else:
                self._open = self._reopened(volume, sessions)
            self._shelf.take(self._open.volume.number, self._open.medium)
        return self._open

    def _last_volume(self) -> Volume | None:
        """The volume of this generation that is still open."""
        fitting = (each for each in self._catalogue.volumes() if each.generation == self.generation and not each.parity)
        return next((each for each in fitting if each.state in ("blank", "open")), None)

    def _reopened(self, volume: Volume, sessions: list[Session]) -> _Open:
        session = sessions[-1] if sessions else None
        end = 0 if session is None else session.end or session.start + session.frames
        path = Path(volume.path)
        if not path.exists() and end:
            raise StoreError(
                f"The image {path} of the open volume {volume.number} is gone.",
                f"Bring it back; or, if it is lost: `safehold volumes label {self._set.name} {volume.number} --lost`.",
            )
        medium = ImageMedium(path, write=True, create=not path.exists())
        medium.cut(end * self.layout.frame)
        if session is None or session.is_closed:
            session = self._following(volume, sessions)
        return _Open(volume, session, medium)

    def _following(self, volume: Volume, sessions: list[Session]) -> Session:
        """The session after those that there are; on a volume that was burned it begins where the disc goes on."""
        return self.layout.next_session(sessions, volume.number, int(str(volume.settings.get(NEXT_SECTOR, 0))))

    def _new_volume(self) -> _Open:
        try:
            fs.make_folders(self._images)
        except OSError as error:
            raise StoreError(f"The folder {self._images}, for images, cannot be made: {error.strerror}.") from error
        number = self._catalogue.next_number()
        path = self.path(number)
        if path.exists():
            raise StoreError(
                f"{path} is there already, and the catalogue knows nothing of it.",
                "If it is an image of this set, its catalogue is an old one: `safehold volumes recover`. Else move it away.",
            )
        volume = self._made(number, path, parity=False)
        with self._catalogue.transaction():
            self._catalogue.put(volume)
            if self.layout.across[1]:
                self._join(volume)
        session = self.layout.next_session([], number)
        return _Open(volume, session, ImageMedium(path, write=True, create=True))

    def path(self, number: int) -> Path:
        """Where the image of a volume belongs."""
        return self._images / f"{self._set.name}-{number:03}.{'iso' if self.layout.optical else 'img'}"

    def _made(self, number: int, path: Path, *, parity: bool) -> Volume:
        return Volume(
            uuid=secrets.token_hex(16),
            number=number,
            label=f"{self._set.name.upper()}-{number:03}",
            kind=self._set.media,
            capacity=self.layout.capacity,
            path=str(path),
            generation=self.generation,
            parity=parity,
            seen_ns=self._clock.now_ns(),
        )

    def _join(self, volume: Volume) -> None:
        """Give a volume its place in the parity group that is open."""
        groups = [each for each in self.ledger.groups() if each.generation == self.generation and not each.closed_ns]
        group = groups[-1] if groups else None
        if group is None or len(self.ledger.members(group.number)) >= group.k:
            numbers = [each.number for each in self.ledger.groups()]
            group = Group(max(numbers, default=0) + 1, self.generation, *self.layout.across)
            self.ledger.put_group(group)
        self.ledger.put_member(Member(group.number, len(self.ledger.members(group.number)), volume.number))

    def _fitting(self, here: _Open, wanted: int) -> int:
        room = self.layout.room(here.session, 2 * self._reserve(), self.finisher.extras_bytes)
        if wanted <= room:
            return wanted
        empty = here.session.session == 1 and here.session.frames == 0
        if empty and not room:
            raise StoreError(
                f"A volume of {self.layout.capacity:,} bytes is too small: nothing fits beside its catalogue.",
                "Make a set with larger volumes.",
            )
        return room if self.layout.cuts or empty else 0

    def _reserve(self) -> int:
        """Frames for the catalogue of the session, at most."""
        objects, pieces = self.ledger.counts()
        staged = len(self.staged.objects)
        size = _FIRST + _PER_OBJECT // 2 * (objects + pieces + 2 * staged) + _PER_VOLUME * self._catalogue.next_number()
        return min(self.layout.count(size), max(1, self.layout.slots // 8))

    def _append(self, here: _Open, body: Body, number: int, first: int, count: int) -> None:
        session = here.session
        stamp = self.layout.stamp(here.volume.number, session.session)
        here.dirty = True
        for block in body.cut(first, count):
            index = session.frames
            frames.seal_data(block, stamp, session.start + index, index, number, first, body.length)
            here.medium.write((session.start + index) * self.layout.frame, block)
            first += len(block) // self.layout.frame
            session = msgspec.structs.replace(session, frames=index + len(block) // self.layout.frame)
        here.session = session

    def close_session(self) -> None:
        """Write catalogue, parity and directory behind what the open session holds, if there is one."""
        here = self._open or self._resumed()
        if here is None or not here.session.frames or here.session.is_closed:
            return
        self.settle()
        committed = here.session
        try:
            self._finish(here)
            self._after(here)
        except BaseException:
            here.session = committed
            self._forget()
            raise

    def _resumed(self) -> _Open | None:
        """The session that an earlier run left open."""
        volume = self._last_volume()
        sessions = self.ledger.sessions(volume.number) if volume else []
        return self._writable() if sessions and not sessions[-1].is_closed else None

    def now_ns(self) -> int:
        """The time."""
        return self._clock.now_ns()

    def parity_disc(self, generation: int, volume: Volume | None) -> ParityDisc:
        """A parity volume to be written from its beginning; ``volume``: one that was begun and not finished."""
        if volume is None:
            number = self._catalogue.next_number()
            volume = msgspec.structs.replace(self._made(number, self.path(number), parity=True), generation=generation)
            self._catalogue.put(volume)
        return ParityDisc(self, volume)

    def close_volume(self) -> bool:
        """Close the open volume for good; False: there is none."""
        self.close_session()
        volume = self._last_volume()
        self._forget()
        if volume is not None:
            self.full.append(self._catalogue.change(volume.uuid, state="closed"))
        return volume is not None

    def finish_parity(self, here: _Open, group: Group) -> Volume:
        """Finish a parity volume; its catalogue says that the group is closed."""
        self.ledger.put_session(here.session)
        self._finish(here, group)
        return self._catalogue.change(here.volume.uuid, state="closed")

    def _finish(self, here: _Open, group: Group | None = None) -> None:
        self._write_catalogue(here, group)
        session, medium, size = here.session, here.medium, self.layout.frame
        rows.encode(
            self.layout.rows(session),
            self.layout.stamp(here.volume.number, session.session),
            session.start,
            lambda slot, buffer: medium.read(slot * size, buffer),
            lambda slot, block: medium.write(slot * size, block),
        )
        end = session.start + session.frames + self.layout.rows(session).parity
        extras, end = write_extras(medium, here.volume, end, self.layout, self.finisher)
        closed = msgspec.structs.replace(
            session, end=end, closed_ns=self._clock.now_ns(), extras=msgspec.json.encode(extras).decode()
        )
        before = self.ledger.sessions(here.volume.number)[: session.session - 1]
        write_directory(medium, here.volume, [*before, closed], self.layout, self.finisher)
        medium.flush()
        with self._catalogue.transaction():
            self.ledger.put_session(closed)
            here.volume = self._noted(here, state="open", used=end * size)
        here.session = closed

    def _after(self, here: _Open) -> None:
        """A volume with hardly any room left takes no more; else the next frame begins a session."""
        following = self._following(here.volume, self.ledger.sessions(here.volume.number))
        room = self.layout.room(following, 2 * self._reserve(), self.finisher.extras_bytes)
        self._open = None
        self._shelf.drop(here.volume.number)
        if room < (_LEAST_ROOM if self.layout.cuts else self.layout.count(2 << 20)):
            self.full.append(self._catalogue.change(here.volume.uuid, state="closed"))

    def _write_catalogue(self, here: _Open, group: Group | None) -> None:
        volume, session = here.volume.number, here.session
        for whole in (True, False):
            now_ns = self._clock.now_ns()
            data = record.take(self.ledger, volume, session.session, now_ns, self.seal, whole, group, self.first())
            body = Body(self.layout.frame)
            body.append(memoryview(data))
            body.finish()
            if self.layout.end(session, body.frames, self.finisher.extras_bytes) <= self.layout.slots:
                body.begin(frames.head(record.KEY, body.size))
                self._append(here, body, secrets.randbits(63), 0, body.frames)
                return

    def _noted(self, here: _Open, **values: object) -> Volume:
        now = self._clock.now_ns()
        used = (here.session.start + here.session.frames) * self.layout.frame
        return self._catalogue.change(here.volume.uuid, **{"written_ns": now, "seen_ns": now, "used": used, **values})

    def _forget(self) -> None:
        """After a failure, or what another process wrote: the next one looks at the ledger again, and cuts."""
        if self._open is not None:
            self._shelf.drop(self._open.volume.number)
            self._open = None

    def close(self) -> None:
        """Let go of the volume."""
        self._forget()


class ParityDisc:
    """A volume of parity across others, on its way."""

    def __init__(self, recorder: Recorder, volume: Volume) -> None:
        self.volume = volume
        self._recorder = recorder
        session = recorder.layout.next_session([], volume.number)
        self._here = _Open(volume, session, ImageMedium(Path(volume.path), write=True, create=True))
        self.stamp = recorder.layout.stamp(volume.number, session.session)
        self.start = session.start

    def write(self, block: bytearray) -> None:
        """Append frames, which are sealed already."""
        session, size = self._here.session, self._recorder.layout.frame
        self._here.medium.write((session.start + session.frames) * size, block)
        count = session.frames + len(block) // size
        self._here.session = msgspec.structs.replace(session, frames=count, across=count)

    def finish(self, group: Group) -> Volume:
        """Write catalogue, parity and directory; the volume is closed then, and so is the group when all are."""
        return self._recorder.finish_parity(self._here, group)

    def close(self) -> None:
        self._here.medium.close()
