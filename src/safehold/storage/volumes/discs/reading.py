"""Reading frames from the volumes: what is damaged is made from the session's parity, what is lost from other volumes."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Protocol

from safehold.core.errors import DamageError
from safehold.core.events import Reporter, Warn, silent
from safehold.storage.volumes import frames
from safehold.storage.volumes.discs.across import Recoverer
from safehold.storage.volumes.discs.layout import Layout
from safehold.storage.volumes.discs.ledger import Ledger, Session
from safehold.storage.volumes.discs.mending import Mended, mend
from safehold.storage.volumes.discs.shelf import Shelf
from safehold.storage.volumes.media.medium import Medium


class Staged(Protocol):
    """Frames that were fetched before."""

    def medium(self, volume: int) -> Medium | None:
        """What was fetched of a volume."""


class FrameReader:
    """Frames of data by volume and slot.  Safe to use from several threads."""

    def __init__(self, ledger: Ledger, layout: Layout, shelf: Shelf, report: Reporter = silent) -> None:
        self.layout = layout
        self.shelf = shelf
        self.report = report
        self._ledger = ledger
        self._sessions: dict[int, list[Session]] = {}
        self._mended = Mended(layout.frame)
        self._looked: set[tuple[int, int, int]] = set()
        """Volume, session and row whose parity was used already."""
        self._told: set[tuple[int, str]] = set()
        self._lock = threading.RLock()
        self.recoverer = Recoverer(ledger, layout, self)
        self.stage: Staged | None = None
        """Frames that were fetched before."""
        self.frames_read = 0
        self.repaired = 0

    def read(self, volume: int, slot: int, count: int) -> bytearray:
        """Whole frames.  Raises ``StoreUnreachable`` for a volume that is not there, ``DamageError`` for what cannot be made."""
        buffer = bytearray(count * self.layout.frame)
        view = memoryview(buffer)
        if self._staged(volume, slot, view):
            return buffer
        medium = self._medium(volume)
        if medium is None:
            try:
                self._from_others(volume, self._lacking(volume, slot, view), slot, view)
                return buffer
            except DamageError:
                if self.shelf.is_lost(volume):
                    raise
            medium = self.shelf.get(volume)
        self._from_medium(volume, medium, slot, view)
        return buffer

    def _from_medium(self, volume: int, medium: Medium, slot: int, view: memoryview) -> None:
        size = self.layout.frame
        medium.read(slot * size, view)
        self.frames_read += len(view) // size
        bad = frames.damaged(view, size, self.layout.set_id, volume, slot)
        if bad:
            with self._lock:
                bad = self._mend(volume, medium, bad, slot, view)
            if bad:
                self._from_others(volume, bad, slot, view)

    def _lacking(self, volume: int, slot: int, view: memoryview) -> list[int]:
        """The slots of a buffer that were not fetched before; the others are in it then."""
        medium = self.stage.medium(volume) if self.stage is not None else None
        if medium is None:
            return list(range(slot, slot + len(view) // self.layout.frame))
        medium.read(slot * self.layout.frame, view)
        return frames.damaged(view, self.layout.frame, self.layout.set_id, volume, slot)

    def try_read(self, volume: int, slot: int, view: memoryview) -> set[int] | None:
        """Fill a buffer without asking other volumes: the slots that could not be; None: the volume is not there."""
        if self._staged(volume, slot, view):
            return set()
        medium = None if self.shelf.is_lost(volume) else self.shelf.at_hand(volume)
        if medium is None:
            return self._partly(volume, slot, view)
        size = self.layout.frame
        medium.read(slot * size, view)
        self.frames_read += len(view) // size
        bad = frames.damaged(view, size, self.layout.set_id, volume, slot)
        if bad:
            with self._lock:
                bad = self._mend(volume, medium, bad, slot, view)
        return set(bad)

    def _staged(self, volume: int, slot: int, view: memoryview) -> bool:
        """Fill the buffer with frames that were fetched before, if all of them were."""
        medium = self.stage.medium(volume) if self.stage is not None else None
        if medium is None:
            return False
        medium.read(slot * self.layout.frame, view)
        return not frames.damaged(view, self.layout.frame, self.layout.set_id, volume, slot)

    def _partly(self, volume: int, slot: int, view: memoryview) -> set[int] | None:
        """What was fetched of a volume that is not there."""
        if self.stage is None or self.stage.medium(volume) is None:
            return None
        return set(frames.damaged(view, self.layout.frame, self.layout.set_id, volume, slot))

    def sessions(self, volume: int) -> list[Session]:
        """The sessions of a volume; closed ones never change."""
        found = self._sessions.get(volume)
        if found is None or not found or not found[-1].is_closed:
            found = self._sessions[volume] = self._ledger.sessions(volume)
        return found

    def tell(self, volume: int, what: str, message: str) -> None:
        """Say once that a volume is damaged or missing."""
        if (volume, what) not in self._told:
            self._told.add((volume, what))
            self.report(Warn(code=what, message=message, hint=f"`safehold volumes verify` looks at volume {volume} as a whole."))

    def forget(self, volume: int) -> None:
        """A volume was written anew."""
        self._sessions.pop(volume, None)

    def close(self) -> None:
        self._mended.close()

    def _medium(self, volume: int) -> Medium | None:
        """The medium; None where the wanted frames are made from other volumes."""
        if self.shelf.is_lost(volume):
            return self.shelf.at_hand(volume) if volume not in self.shelf.lost else None
        medium = self.shelf.at_hand(volume)
        if medium is not None:
            return medium
        staged = self.stage is not None and self.stage.medium(volume) is not None
        if staged or (not self.shelf.asks and self.recoverer.could(volume)):
            return None
        return self.shelf.get(volume)

    def _mend(self, volume: int, medium: Medium, bad: Iterable[int], slot: int, view: memoryview) -> list[int]:
        """Bring back damaged frames from the parity of their session; the slots that it was not enough for."""
        left = self._fill(volume, bad, slot, view)
        for session in self.sessions(volume):
            rows = self.layout.rows(session)
            mine = [each for each in left if session.start <= each < session.start + session.frames]
            wanted = {(each - session.start) % rows.rows for each in mine}
            todo = sorted(row for row in wanted if (volume, session.session, row) not in self._looked)
            if todo and session.is_closed and rows.m:
                stamp = self.layout.stamp(volume, session.session)
                count = mend(rows, stamp, session.start, todo, medium, self._mended, session.across)
                self._looked |= {(volume, session.session, row) for row in todo}
                self.repaired += count
                if count:
                    named = f"Volume {volume} is damaged; what could not be read is made from its parity."
                    self.tell(volume, "volume-damaged", named)
        return self._fill(volume, left, slot, view)

    def _fill(self, volume: int, bad: Iterable[int], slot: int, view: memoryview) -> list[int]:
        size = self.layout.frame
        left = []
        for each in bad:
            at = (each - slot) * size
            if not self._mended.get(volume, each, view[at : at + size]):
                left.append(each)
        return left

    def _from_others(self, volume: int, wanted: list[int], slot: int, view: memoryview) -> None:
        with self._lock:
            left = self._fill(volume, wanted, slot, view)
            if not left:
                return
            missing = self.recoverer.recover(volume, left, self._mended)
            if len(missing) < len(left):
                self.tell(volume, "volume-missing", f"What lies on volume {volume} is made from the other volumes of its group.")
            self.repaired += len(left) - len(missing)
            if self._fill(volume, left, slot, view):
                raise DamageError(
                    f"{len(missing)} frames of volume {volume} cannot be read, nor made from the other volumes of its group.",
                    self._advice(volume),
                )

    def _advice(self, volume: int) -> str:
        """Which volumes would help."""
        needed = self.recoverer.needed(volume)
        named = ", ".join(str(each) for each in needed)
        return f"These volumes of the group are not there and would help: {named}." if needed else ""
