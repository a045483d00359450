"""Receiving and uploading side by side, until stopped: the receiver in this thread, the uploader in another."""

from __future__ import annotations

import threading

from safehold.core.clock import Clock
from safehold.core.errors import DatabaseFailed, DatabaseUnreachable, LogGap, StoreFull
from safehold.core.events import Note, Reporter, Warn
from safehold.ops.databases.postgresql.uploading import Uploader, save_state
from safehold.sources.postgresql import connecting, monitoring
from safehold.sources.postgresql.receiving import Receiver
from safehold.sources.postgresql.spool import Spool

FIRST_WAIT, LONGEST_WAIT = 1.0, 30.0
"""Seconds until a connection is tried again; each time twice as long."""
LOOK_SECONDS = 60.0
"""So often the slot is looked at."""


class Streaming:
    """One server's log on its way."""

    def __init__(self, url: str, spool: Spool, slot: str, uploader: Uploader, clock: Clock, report: Reporter) -> None:
        self._url = url
        self._spool = spool
        self._slot = slot
        self._uploader = uploader
        self._clock = clock
        self._report = report
        self._stopped = threading.Event()
        self._warned = ""
        self._look_at = 0.0

    def run(self, *, after_gap: bool = False, upload: bool = True) -> None:
        """Until the process is stopped.  Raises ``LogGap``, ``LogConflict``, ``UsageError``."""
        thread = threading.Thread(target=self._uploader.watch, args=(self._stopped.is_set,), name="upload")
        if upload:
            thread.start()
        try:
            self._receive(after_gap)
        except LogGap as error:
            self._uploader.state.gap = str(error)
            save_state(self._spool, self._uploader.state)
            raise
        finally:
            self._stopped.set()
            if upload:
                thread.join()

    def _receive(self, after_gap: bool) -> None:
        """Connect, receive, and after an interruption do it again."""
        wait, said = FIRST_WAIT, ""
        while True:
            try:
                with Receiver(self._url, self._spool, self._slot, self._clock) as receiver:
                    if after_gap:
                        self._uploader.state.gap = ""
                    said, wait = "", FIRST_WAIT
                    self._report(Note(message=f"Receiving with the slot {self._slot}."))
                    receiver.receive(self._looked, after_gap=after_gap)
                    return
            except (DatabaseUnreachable, DatabaseFailed, StoreFull, OSError) as error:
                # Also when the spool is full: the server keeps its log for the slot until there is room.
                if str(error) != said:
                    self._report(Warn(code="wal-receive", message=str(error), hint=getattr(error, "hint", "")))
                said = str(error)
            after_gap = False
            self._clock.sleep(wait)
            wait = min(wait * 2, LONGEST_WAIT)

    def _looked(self) -> bool:
        """Look at the slot now and then; whether to stop, which is never: a signal ends it."""
        now = self._clock.monotonic()
        if now >= self._look_at:
            self._look_at = now + LOOK_SECONDS
            self._look()
        return False

    def _look(self) -> None:
        """Warn while the server is about to drop what was not received."""
        import psycopg

        try:
            with connecting.connect(self._url) as session:
                slots = [slot for slot in monitoring.slots(session) if slot.name == self._slot and slot.in_danger]
        except (DatabaseUnreachable, psycopg.Error):
            return  # a user who may only replicate sees no more than the stream
        warning = f"The slot {self._slot} is {slots[0].status}: the server drops log that was not received." if slots else ""
        if warning and warning != self._warned:
            self._report(Warn(code="slot", message=warning, hint="Raise max_slot_wal_keep_size, or take a new base soon."))
        self._warned = warning
