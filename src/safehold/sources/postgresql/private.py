"""A private PostgreSQL server on a data folder of ours: nobody else reaches it, and no file of the folder configures it.

Its settings are on the command line, which no configuration file overrides: the folder's own may name ports, archives and
libraries of the original.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from shutil import rmtree
from urllib.parse import quote

assert sys.platform != "win32"

from safehold.core.errors import DatabaseFailed
from safehold.sources.postgresql import controldata
from safehold.sources.postgresql.programs import Account, tied

PATIENCE_SECONDS = 3600.0
"""A server that recovers may take long before it answers; one that makes no progress for so long is given up."""
POLL_SECONDS = 0.05
LOG_TAIL = 16 * 1024
ALONE = {
    "listen_addresses": "",
    "port": "5432",
    "archive_mode": "off",
    "archive_command": "",
    "archive_cleanup_command": "",
    "recovery_end_command": "",
    "primary_conninfo": "",
    "primary_slot_name": "",
    "synchronous_standby_names": "",
    "shared_preload_libraries": "",
    "logging_collector": "off",
    "log_destination": "stderr",
    "log_min_messages": "warning",
    "lc_messages": "C",
    "ssl": "off",
    "hot_standby": "on",
    "autovacuum": "off",
    "shared_buffers": "128MB",
    "huge_pages": "off",
    "external_pid_file": "",
    "unix_socket_permissions": "0700",
}
"""Settings that keep it to itself, and small."""


class PrivateServer:
    """A server that was started; it ends with ``stop``."""

    def __init__(self, process: subprocess.Popen[bytes], sockets: Path, owner: str, log: Path, started_at: int) -> None:
        self.sockets = sockets
        self.owner = owner
        """The superuser that it was made with."""
        self.process = process
        self._log = log
        self._from = started_at

    @property
    def url(self) -> str:
        """How its own user reaches it."""
        return f"postgresql:///postgres?host={self.sockets}&user={quote(self.owner)}"

    @property
    def environment(self) -> dict[str, str]:
        """Variables by which libpq's programs find it."""
        return {"PGHOST": str(self.sockets), "PGUSER": self.owner, "PGPORT": "5432"}

    def said(self) -> str:
        """The end of what it wrote into its log since it was started."""
        with suppress(OSError), self._log.open("rb") as file:
            file.seek(max(self._from, self._log.stat().st_size - LOG_TAIL))
            return file.read().decode(errors="replace")
        return ""

    def why(self) -> str:
        """The line of its log that says why it ended."""
        lines = [line for line in self.said().splitlines() if "FATAL" in line or "PANIC" in line]
        every = lines or self.said().splitlines() or ["it did not say why"]
        return every[-1].partition("FATAL:")[2].strip() or every[-1].strip()

    def wait_ended(self, seconds: float = PATIENCE_SECONDS) -> int:
        """Wait until it ends by itself; its exit status."""
        return self.process.wait(seconds)

    def wait_ready(self, seconds: float = PATIENCE_SECONDS) -> None:
        """Wait until it answers.  Raises ``DatabaseFailed`` if it ends instead."""
        import psycopg

        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if self.process.poll() is not None:
                raise DatabaseFailed(f"A private PostgreSQL server could not be started: {self.why()}.", self._hint)
            with suppress(psycopg.OperationalError):
                psycopg.connect(self.url, connect_timeout=2).close()
                return
            time.sleep(POLL_SECONDS)
        raise DatabaseFailed("A private PostgreSQL server does not answer.", self._hint)

    def wait_promoted(self) -> None:
        """Wait until it has recovered and is open for writing.  Raises ``DatabaseFailed`` if it ends instead."""
        import psycopg

        self.wait_ready()
        while self.process.poll() is None:
            with psycopg.connect(self.url) as connection:
                if connection.execute("SELECT pg_is_in_recovery()").fetchone() == (False,):
                    return
            time.sleep(POLL_SECONDS)
        raise DatabaseFailed(f"A private PostgreSQL server did not get to the end of its recovery: {self.why()}.", self._hint)

    @property
    def _hint(self) -> str:
        return f"Its log is in {self._log}."

    def stop(self) -> None:
        """End it, quickly but cleanly; by force if it does not."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(60)
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


@contextmanager
def running(
    programs: Path, data: Path, account: Account, settings: Mapping[str, str], log: Path, *, owner: str
) -> Iterator[PrivateServer]:
    """Start a server on a data folder; it is stopped at the end.  ``settings`` come after those that keep it to itself.

    Raises ``DamageError`` for a folder without a sound control file.
    """
    end_stale(data)
    run = Path(tempfile.mkdtemp(prefix="safehold-pg-"))
    try:
        (run / "hba.conf").write_text("local all all trust\n")
        (run / "ident.conf").write_text("")
        (run / "postgresql.conf").write_text("")
        for path in (run, *run.iterdir()):
            account.give(path)
        own = {
            "config_file": str(run / "postgresql.conf"),
            "hba_file": str(run / "hba.conf"),
            "ident_file": str(run / "ident.conf"),
            "unix_socket_directories": str(run),
        }
        every = {**ALONE, **_log_sizes(controldata.read(programs, data).segment), **own, **settings}
        command = [
            str(programs / "postgres"),
            "-D",
            str(data),
            *(word for pair in every.items() for word in ("-c", "=".join(pair))),
        ]
        with log.open("ab") as output:
            account.give(log)
            started_at = output.tell()
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=run,
                start_new_session=True,
                **tied(account, signal.SIGINT),
            )  # type: ignore[call-overload]
        server = PrivateServer(process, run, owner, log, started_at)
        try:
            yield server
        finally:
            server.stop()
    finally:
        rmtree(run, ignore_errors=True)


def _log_sizes(segment: int) -> dict[str, str]:
    """Small, but no server starts where they are less than two segments."""
    return {"min_wal_size": f"{max(80, segment >> 19)}MB", "max_wal_size": f"{max(256, segment >> 19)}MB"}


def end_stale(data: Path) -> None:
    """End a server of ours that outlived the process which started it.  Raises ``DatabaseFailed`` if it does not end."""
    pid = live_pid(data)
    if pid is None:
        return
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGINT)
    for _ in range(600):
        if live_pid(data) is None:
            return
        time.sleep(0.1)
    raise DatabaseFailed(f"A server (process {pid}) is running on {data} and does not end.", "Stop it, then try again.")


def live_pid(data: Path) -> int | None:
    """The process of the server that runs on a data folder; None if none does.

    Numbers of processes come round again: where the system tells, it must be one that works in that folder, as a server does.
    """
    try:
        pid = int((data / "postmaster.pid").read_text().split("\n", 1)[0])
        os.kill(pid, 0)
        if os.path.lexists("/proc/self/cwd") and os.readlink(f"/proc/{pid}/cwd") != os.path.realpath(data):
            return None
    except (OSError, ValueError):
        return None
    return pid
