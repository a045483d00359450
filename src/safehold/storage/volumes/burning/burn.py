"""Burning one volume: the image is looked at, the medium too, then it is written, read back and compared.

Only what was read back from the medium and is what the image says counts as burned.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path

import msgspec

from safehold.core.clock import Clock
from safehold.core.errors import DamageError, SafeholdError, StoreError, StoreUnreachable
from safehold.core.events import Note, Progress, Reporter
from safehold.storage.volumes import frames
from safehold.storage.volumes.burning.burner import PIECE, Burner, InDrive, Job
from safehold.storage.volumes.burning.plain_files import PlainFiles
from safehold.storage.volumes.burning.plan import BURNED, Burned, Waiting, burned_of
from safehold.storage.volumes.catalogue import Catalogue, Volume
from safehold.storage.volumes.discs.exclusive import Exclusive
from safehold.storage.volumes.discs.layout import NEXT_SECTOR, layout_of
from safehold.storage.volumes.discs.ledger import Ledger
from safehold.storage.volumes.discs.opening import LOCK
from safehold.storage.volumes.discs.shelf import identify
from safehold.storage.volumes.media.image import ImageMedium
from safehold.storage.volumes.media.medium import SECTOR
from safehold.storage.volumes.media.raw import RawMedium

_CUT_SHORT = "the burning was cut short"
_TRAY_SECONDS, _TRAY_ATTEMPTS = 5.0, 120
"""How often, and how many times, a tray is looked at that a person has to close."""
_Phase = Callable[[int], None]


class Burning:
    """Burns volumes of one set in one drive."""

    def __init__(self, catalogue: Catalogue, burner: Burner, report: Reporter, clock: Clock) -> None:
        self._catalogue = catalogue
        self._ledger = Ledger(catalogue)
        self._layout = layout_of(catalogue.set)
        self._burner = burner
        self._report = report
        self._clock = clock

    def burn(self, waiting: Waiting, *, speed: str = "", simulate: bool = False, overwrite: bool = False) -> Volume:
        """The volume as it is then.  Raises ``DamageError`` for a damaged image, ``StoreError`` for an unfit medium."""
        with nullcontext() if waiting.final else Exclusive(self._catalogue.folder / LOCK, self._clock).held():
            self._require_settled(waiting)
            self._require_fit(waiting, self._burner.look(), overwrite)
            self._require_whole(waiting)
            job = Job(Path(waiting.volume.path), waiting.first, waiting.end, waiting.final, speed, simulate)
            if simulate:
                self._burner.burn(job, self._phase("burning (simulated)", waiting.bytes))
                return waiting.volume
            self._write_directory(waiting)
            with self._spoiled_on_failure(waiting):
                self._burner.burn(job, self._phase("burning", waiting.bytes))
                after = self._reloaded()
                self._compare(waiting)
            return self._done(waiting, after)

    def _require_settled(self, waiting: Waiting) -> None:
        """A backup that goes on, or was cut short, has begun another session of this volume."""
        sessions = self._ledger.sessions(waiting.volume.number)
        if len(sessions) != waiting.sessions:
            raise StoreError(
                f"A backup to {waiting.volume.label} goes on, or was cut short.", "Let it end, or run it again; then burn."
            )

    def _require_fit(self, waiting: Waiting, here: InDrive, overwrite: bool) -> None:
        volume, device = waiting.volume, self._burner.device
        inside = None if here.blank else self._number_in_drive()
        if waiting.first and inside != volume.number:
            what = "a blank disc" if here.blank else self._named(inside)
            raise StoreError(f"In {device} is {what}.", f"Insert {volume.label}: another session goes onto it.")
        if waiting.first and not here.overwritable and (not here.appendable or here.next_sector != waiting.first):
            raise StoreError(
                f"Nothing can follow what is on the disc in {device} at sector {waiting.first:,}.",
                f"Burn it all onto a blank disc: `safehold volumes burn {self._catalogue.set.name} {volume.number} --again`.",
            )
        if not waiting.first and not here.blank:
            self._require_overwritable(volume, here, inside, overwrite)
        if here.room and waiting.bytes > here.room and not (overwrite or waiting.first):
            raise StoreError(
                f"{volume.label} needs {waiting.bytes:,} bytes, the disc in {device} has room for {here.room:,}.",
                "Insert a larger one.",
            )

    def _require_overwritable(self, volume: Volume, here: InDrive, inside: int | None, overwrite: bool) -> None:
        ours = inside is not None and inside != volume.number
        if ours or not overwrite or not here.overwritable:
            can = here.overwritable and not ours
            hint = "Insert a blank one" + (", or add --overwrite: what is on it is lost then." if can else ".")
            raise StoreError(f"The medium in {self._burner.device} is not blank: it is {self._named(inside)}.", hint)

    def _number_in_drive(self) -> int | None:
        """Which volume of this set is in the drive."""
        try:
            with closing(ImageMedium(self._burner.readable())) as medium:
                found = identify(medium)
        except SafeholdError:
            return None
        return found.volume if found is not None and found.set_id == self._layout.set_id else None

    def _named(self, number: int | None) -> str:
        known = {each.number: each.label for each in self._catalogue.volumes()}
        return "no volume of this set" if number is None else f"volume {number}, {known.get(number, 'which is not known')}"

    def _require_whole(self, waiting: Waiting) -> None:
        """Every frame of the image is what it should be: what is damaged is not burned."""
        volume, size = waiting.volume, self._layout.frame
        tell = self._phase("checking the image", waiting.bytes)
        with closing(ImageMedium(Path(volume.path))) as image:
            for session in self._ledger.sessions(volume.number):
                end = session.start + session.frames + self._layout.rows(session).parity
                step = max(1, 4 * PIECE // size)
                for slot in range(session.start, end, step):
                    buffer = bytearray(min(step, end - slot) * size)
                    image.read(slot * size, memoryview(buffer))
                    bad = frames.damaged(buffer, size, self._layout.set_id, volume.number, slot)
                    if bad:
                        raise DamageError(
                            f"The image {volume.path} is damaged at byte {bad[0] * size:,}; nothing was burned.",
                            f"`safehold volumes verify {self._catalogue.set.name}` says what can be mended.",
                        )
                    tell(slot * size)

    def _write_directory(self, waiting: Waiting) -> None:
        """The directory of all sessions, in the room before the first one that is written: none of it was burned before."""
        if not self._layout.optical:
            return
        first = next(
            each
            for each in self._ledger.sessions(waiting.volume.number)
            if each.start * self._layout.frame > waiting.first * SECTOR
        )
        room = first.start * self._layout.frame - waiting.first * SECTOR
        data = PlainFiles(self._catalogue).directory(waiting.volume, room, waiting.first, waiting.files)
        if len(data) > room:
            raise StoreError(f"The directory of {waiting.volume.label} is too large for its place.", "Burn it with --again.")
        with closing(ImageMedium(Path(waiting.volume.path), write=True)) as image:
            image.write(waiting.first * SECTOR, data)
            image.flush()

    @contextmanager
    def _spoiled_on_failure(self, waiting: Waiting) -> Iterator[None]:
        """From now on the disc counts as spoiled, unless all goes well; what was burned before stays with what was known."""
        self._note(waiting, problem=_CUT_SHORT)
        try:
            yield
        except SafeholdError as error:
            self._note(waiting, problem=str(error))
            raise

    def _reloaded(self) -> InDrive:
        """The disc after its tray went out and in; a tray that nothing but a hand closes is waited for."""
        self._burner.reload()
        for attempt in range(_TRAY_ATTEMPTS):
            try:
                return self._burner.look()
            except StoreUnreachable:
                if not attempt:
                    self._report(Note(message=f"Close the tray of {self._burner.device}: the disc is to be read back."))
                self._clock.sleep(_TRAY_SECONDS)
        return self._burner.look()

    def _compare(self, waiting: Waiting) -> None:
        """What is on the medium is what is in the image.  Raises ``StoreError``."""
        tell = self._phase("reading back", waiting.bytes)
        image = ImageMedium(Path(waiting.volume.path))
        with closing(image), closing(RawMedium(self._burner.readable())) as medium:
            medium.forget()
            for at in range(waiting.first * SECTOR, waiting.end * SECTOR, PIECE):
                size = min(PIECE, waiting.end * SECTOR - at)
                wanted, got = bytearray(size), bytearray(size)
                image.read(at, memoryview(wanted))
                medium.read(at, memoryview(got))
                if wanted != got:
                    sector = next(n for n in range(0, size, SECTOR) if wanted[n : n + SECTOR] != got[n : n + SECTOR])
                    raise StoreError(
                        f"Read back, {waiting.volume.label} differs from its image at sector {(at + sector) // SECTOR:,}.",
                        "This disc is spoiled: mark it, throw it away, and burn another one.",
                    )
                tell(at - waiting.first * SECTOR + size)

    def _done(self, waiting: Waiting, after: InDrive) -> Volume:
        follows = waiting.end if after.overwritable else after.next_sector
        before = burned_of(waiting.volume)
        copies = before.copies + 1 if waiting.final and not waiting.first else 1
        self._report(Note(message=f"{waiting.volume.label} was read back from the medium, and is whole."))
        changes: dict[str, object] = {"verified_ns": self._clock.now_ns(), "seen_ns": self._clock.now_ns()}
        if waiting.final and copies >= self._catalogue.set.copies:
            changes["state"] = "verified"
        self._catalogue.change(waiting.volume.uuid, **changes)
        return self._note(waiting, problem="", copies=copies, follows=follows)

    def _note(self, waiting: Waiting, problem: str, copies: int | None = None, follows: int = 0) -> Volume:
        before = burned_of(waiting.volume)
        whole = not problem
        burned = Burned(
            sessions=waiting.sessions if whole else before.sessions,
            sectors=waiting.end if whole else before.sectors,
            copies=before.copies if copies is None else copies,
            time_ns=self._clock.now_ns(),
            device=self._burner.device,
            problem=problem,
        )
        volume = self._catalogue.volume(waiting.volume.uuid) or waiting.volume
        settings = {**volume.settings, BURNED: msgspec.to_builtins(burned)}
        if whole:
            settings[NEXT_SECTOR] = follows
        return self._catalogue.change(volume.uuid, settings=settings)

    def _phase(self, phase: str, total: int) -> _Phase:
        return lambda done: self._report(Progress(phase=phase, bytes=min(done, total), total_bytes=total))
