"""Packs on their way to a store that is far away: several at once, while more are being made.

A pack is in memory until it is acknowledged, so who makes one waits while too many are under way.  Where a commit takes no round
trip (``Capabilities.uploads`` is 1) whoever filled a pack commits it, as threads would only wait for Python's lock.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from safehold.core.pools import Pool


class Uploads:
    """Runs commits.  ``run`` may be called from several threads; the others belong to one, after the last ``run``."""

    def __init__(self, most: int) -> None:
        """``most`` commits run at once."""
        self._pool = Pool(most, "upload") if most > 1 else None
        self._room = threading.Semaphore(most)
        self._failure: BaseException | None = None

    def run(self, commit: Callable[[], None], drop: Callable[[], None]) -> None:
        """Have a pack committed, at once or soon.  Raises what an earlier one failed with; this one is then dropped instead."""
        if self._pool is None:
            commit()
            return
        self._room.acquire()
        try:
            self.check()
            self._pool.submit(self._guarded, commit, drop)
        except BaseException:
            self._room.release()
            drop()
            raise

    def check(self) -> None:
        """Raise what a commit failed with."""
        if self._failure is not None:
            raise self._failure

    def wait(self) -> None:
        """Return when all is committed.  Raises what one of them failed with."""
        self.stop()
        self.check()

    def stop(self) -> None:
        """Return when nothing is under way any more."""
        if self._pool is not None:
            self._pool.shutdown(wait=True)

    def _guarded(self, commit: Callable[[], None], drop: Callable[[], None]) -> None:
        try:
            if self._failure is None:
                commit()
            else:
                drop()
        except BaseException as error:
            self._failure = self._failure or error
        finally:
            self._room.release()
