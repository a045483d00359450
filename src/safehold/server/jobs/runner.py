"""Who runs the jobs of a server: its own thread, or the queue that it shares with others."""

from __future__ import annotations

from typing import Protocol

from safehold.server.jobs.thread import JobThread
from safehold.server.service import Service


class Runner(Protocol):
    """Runs jobs until it is stopped."""

    def start(self) -> None:
        """Begin."""

    def stop(self) -> None:
        """End, with the job that runs."""


def runner_of(service: Service) -> Runner:
    """For one server on SQLite a thread; for any number on PostgreSQL a queue."""
    if service.database.is_sqlite:
        return JobThread(service)
    from safehold.server.jobs.queue import JobWorker

    return JobWorker(service)
