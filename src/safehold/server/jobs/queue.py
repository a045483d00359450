"""Running the jobs of several servers that share a PostgreSQL: ``procrastinate`` hands each to one of them.

It marks jobs whose worker died, and leaves them: ``_sweep`` gives them to another.  Its own tables lie beside ours.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from contextlib import suppress

from procrastinate import App, PsycopgConnector
from procrastinate.exceptions import ConnectorException, UniqueViolation
from procrastinate.jobs import Status
from procrastinate.schema import SchemaManager
from sqlalchemy import text

from safehold.server.database import Database, alone
from safehold.server.jobs import schedule
from safehold.server.service import Service

DEAD_SECONDS = 60
"""Without a sign of life.  A worker gives one every ten seconds."""
SWEEP_CRON = "*/2 * * * *"
AGAIN_SECONDS = 10.0
"""After the database could not be reached."""
GRACE_SECONDS = 8.0
"""For the job that runs when the server is told to stop; it is begun again elsewhere."""
_CONNECTIONS = 3

_log = logging.getLogger(__name__)


def prepare(database: Database) -> None:
    """Make the queue's tables, unless they are there."""
    with database.write() as connection:
        alone(connection, "queue")
        if connection.execute(text("SELECT to_regclass('procrastinate_jobs')")).scalar() is None:
            cursor = connection.connection.cursor()
            cursor.execute(SchemaManager.get_schema())
            cursor.close()


def application(service: Service) -> App:
    """The queue, with every job of ``schedule``."""
    url = service.database.url.set(drivername="postgresql").render_as_string(hide_password=False)
    app = App(connector=PsycopgConnector(conninfo=url, min_size=1, max_size=_CONNECTIONS))
    for name, job in schedule.JOBS.items():
        _add(app, service, name, job.cron)

    async def sweep(timestamp: int) -> None:
        del timestamp
        await _sweep(app)

    task = app.task(name="sweep", queueing_lock="sweep")(sweep)
    app.periodic(cron=SWEEP_CRON)(task)
    return app


def _add(app: App, service: Service, name: str, cron: str) -> None:
    def work(timestamp: int = 0) -> None:
        """Begun by the clock of the queue, or by hand."""
        del timestamp
        schedule.run(service, name, at_once=True)

    task = app.task(name=name, queueing_lock=name, lock=name)(work)
    app.periodic(cron=cron)(task)


async def _sweep(app: App) -> None:
    """Give jobs whose worker died to another."""
    for job in await app.job_manager.get_stalled_jobs(seconds_since_heartbeat=DEAD_SECONDS):
        try:
            await app.job_manager.retry_job(job)
        except UniqueViolation:  # the same waits already, for the lock of this one
            assert job.id is not None
            await app.job_manager.finish_job_by_id_async(job.id, Status.FAILED, delete_job=True)
        except ConnectorException as error:
            if not _is_taken(error):
                raise


def _is_taken(error: BaseException | None) -> bool:
    """Whether another server's sweep was there first, as the database puts it."""
    return error is not None and ("invalid status to retry" in str(error) or _is_taken(error.__cause__))


class JobWorker:
    """Works off the queue, in a thread with an event loop of its own."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="jobs", daemon=True)
        self._work: tuple[asyncio.AbstractEventLoop, asyncio.Task[None]] | None = None

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Let the job that runs end, and begin no other."""
        self._stopping.set()
        if self._work is not None:
            loop, task = self._work
            with suppress(RuntimeError):  # it has ended
                loop.call_soon_threadsafe(task.cancel)
        self._thread.join()

    def _loop(self) -> None:
        while not self._stopping.is_set():
            try:
                asyncio.run(self._run())
            except asyncio.CancelledError:
                return
            except Exception as error:  # whatever it is, backups go on without jobs, and jobs begin again
                _log.warning("The queue of jobs stopped, and begins again: %s", error)
                self._stopping.wait(AGAIN_SECONDS)

    async def _run(self) -> None:
        await asyncio.to_thread(prepare, self._service.database)
        app = application(self._service)
        async with app.open_async():
            work = asyncio.create_task(
                app.run_worker_async(install_signal_handlers=False, delete_jobs="always", shutdown_graceful_timeout=GRACE_SECONDS)
            )
            self._work = (asyncio.get_running_loop(), work)
            if self._stopping.is_set():
                work.cancel()
            await work
