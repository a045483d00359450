"""Placing what the walk of a restore hands out: in child processes where those help, else in threads.  ``docs/restore.md``."""

from __future__ import annotations

import threading

from safehold.core.entries import Entry
from safehold.core.errors import TargetError
from safehold.core.pools import Pool
from safehold.ops.lending import MOST_LOTS, Lot, Placing, borrowers
from safehold.ops.supply import Supply
from safehold.sources.files.placing import Folder, Placer

WORKERS = 2
"""Threads that place files where there are no children; more only wait for Python's lock ..."""
DISTANT_WORKERS = 8
"""... but where each read is a round trip to another machine, they wait for that."""
UNIT_ENTRIES = 256
UNIT_BYTES = 4 * 1024 * 1024
"""So much is handed out at once, or so many entries, whichever comes first.  Neighbours lie in the same segments, and what two
children both need both have to open."""


class Work:
    """Lots under way: a bounded number, and the first failure.  ``add``, ``wait`` and ``stop`` belong to one thread."""

    def __init__(self, placing: Placing, placer: Placer, files: int, supply: Supply | None = None) -> None:
        """``files``: about how many there will be; for few, or in a dry run, there are no children.  ``supply``: fetches for
        them from a store on another machine."""
        self._placing = placing
        self._placer = placer
        self._lots: list[Lot] = []
        self._entries = self._bytes = 0
        self._failure: BaseException | None = None
        self._borrowers = borrowers(placing, placer, files, supply)
        workers = DISTANT_WORKERS if supply else self._borrowers.count if self._borrowers else WORKERS
        self._pool = Pool(workers, "place")
        self._room = threading.Semaphore(3 * workers)

    def add(self, folder: Folder, entries: list[Entry]) -> None:
        """Have entries that are no folders placed, by and by.  Raises what placing others failed with."""
        for entry in entries:
            if not self._lots or self._lots[-1].folder is not folder:
                self._placer.hold(folder)
                self._lots.append(Lot(folder, []))
            self._lots[-1].entries.append(entry)
            self._entries += 1
            self._bytes += entry.size
            if self._entries >= UNIT_ENTRIES or self._bytes >= UNIT_BYTES:
                self._submit()
        if len(self._lots) == MOST_LOTS:
            self._submit()

    def wait(self) -> None:
        """Return when all is placed."""
        self._submit()
        self._pool.shutdown(wait=True)
        self._raise()

    def stop(self) -> None:
        """Give up what has not begun, and stop the children."""
        self._failure = self._failure or TargetError("The restore was stopped.")
        if self._borrowers:
            self._borrowers.stop()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def close(self) -> None:
        """After ``wait`` or ``stop``: no child is left."""
        if self._borrowers:
            self._borrowers.close()

    def _submit(self) -> None:
        lots, self._lots = self._lots, []
        self._entries = self._bytes = 0
        self._room.acquire()
        self._raise()
        self._pool.submit(self._run, lots)

    def _run(self, lots: list[Lot]) -> None:
        try:
            if self._failure is None:
                self._place(lots)
        except BaseException as error:  # carried over to the walking thread
            self._failure = self._failure or error
        finally:
            self._room.release()

    def _place(self, lots: list[Lot]) -> None:
        try:
            here = self._borrowers.place(lots) if self._borrowers else lots
            for lot in here:
                self._placing.place(lot.folder, lot.entries)
        finally:
            for lot in lots:
                self._placer.leave(lot.folder)

    def _raise(self) -> None:
        if self._failure is not None:
            raise self._failure
