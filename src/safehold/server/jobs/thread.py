"""Running the jobs of a server that is alone: in a thread of its process."""

from __future__ import annotations

import threading

from safehold.server.jobs import schedule
from safehold.server.service import Service

LOOK_SECONDS = 15.0
FIRST_SECONDS = 5.0
"""After the start, so that the first requests are not held up."""


class JobThread:
    """Looks every few seconds what is due."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="jobs", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Wait until the job that runs has ended, and begin no other."""
        self._stopping.set()
        self._thread.join()

    def _loop(self) -> None:
        wait = FIRST_SECONDS
        while not self._stopping.wait(wait):
            schedule.run_due(self._service, stopping=self._stopping.is_set)
            wait = LOOK_SECONDS
