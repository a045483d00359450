"""Real MariaDB servers for tests, from Debian's packages: on unix sockets, as another user, small."""

from __future__ import annotations

import signal
import socket
import subprocess
import time
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any

import pymysql
from server_folders import as_user, folder_of

USER = "nobody"
SETTINGS = {
    "skip-networking": "",
    "innodb-buffer-pool-size": "16M",
    "innodb-log-file-size": "8M",
    "innodb-flush-log-at-trx-commit": "0",
    "innodb-data-file-path": "ibdata1:2M:autoextend",
    "log-bin": "mariadb-bin",
    "server-id": "1",
    "performance-schema": "OFF",
    "skip-name-resolve": "",
}


def as_server() -> list[str]:
    """What to put before a command so that it runs as the servers do."""
    return as_user(USER)


def folder_for_servers() -> AbstractContextManager[Path]:
    """A short path that the servers' user owns."""
    return folder_of(USER, "sh-my-")


class Server:
    """A server of one data folder, started and stopped by the test."""

    def __init__(self, data: Path, **settings: str) -> None:
        self.data = data
        self.folder = data.parent
        self.socket = self.folder / f"{data.name}.s"
        self.temporary = self.folder / f"{data.name}.tmp"
        """Its own: a server that starts removes what others have in a shared one."""
        self.log = self.folder / f"{data.name}.log"
        self.settings = SETTINGS | {name.replace("_", "-"): value for name, value in settings.items()}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """For Safehold."""
        return f"mariadb://root@/?socket={self.socket}"

    def init(self) -> Server:
        """Make the data folder."""
        command = ["mariadb-install-db", "--no-defaults", f"--datadir={self.data}", "--auth-root-authentication-method=normal"]
        command += [
            f"--tmpdir={self._tmpdir()}",
            "--skip-test-db",
            "--innodb-log-file-size=8M",
            "--innodb-data-file-path=ibdata1:2M:autoextend",
            *(f"--{name}={self.settings[name]}" for name in ("innodb-page-size",) if name in self.settings),
        ]
        done = subprocess.run([*as_server(), *command], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return self

    def _tmpdir(self) -> Path:
        self.temporary.mkdir(exist_ok=True)
        self.temporary.chmod(0o777)
        return self.temporary

    def start(self) -> Server:
        """Start it and wait until it answers."""
        options = [f"--{name}={value}" if value else f"--{name}" for name, value in self.settings.items()]
        command = ["mariadbd", "--no-defaults", f"--datadir={self.data}", f"--socket={self.socket}", *options]
        command += [f"--tmpdir={self._tmpdir()}", f"--pid-file={self.folder / self.data.name}.pid"]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen([*as_server(), *command], stdout=log, stderr=log, cwd=self.folder)
        for _ in range(1200):
            if self._process.poll() is not None:
                raise AssertionError(f"the server ended: {self.log.read_text()[-3000:]}")
            with suppress(OSError, pymysql.err.OperationalError), socket.socket(socket.AF_UNIX) as probe:
                probe.connect(str(self.socket))
                self.connect().close()
                return self
            time.sleep(0.05)
        raise AssertionError(f"the server does not answer: {self.log.read_text()[-3000:]}")

    def stop(self) -> None:
        """A clean shutdown."""
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            assert self._process.wait(60) == 0, self.log.read_text()[-3000:]
            self._process = None

    def kill(self) -> None:
        """As the kernel would when memory runs out."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def connect(self, user: str = "root", password: str = "", database: str | None = "mysql") -> Any:
        return pymysql.connect(user=user, password=password, unix_socket=str(self.socket), database=database, autocommit=True)

    def sql(self, *statements: str) -> list[tuple[Any, ...]]:
        """Run statements in one connection; the rows of the last."""
        with self.connect() as connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
            return list(cursor.fetchall())

    def import_anew(self, table: str) -> None:
        """Put an exported copy of a table of ``shop`` in its place: its pages come from elsewhere."""
        file = self.data / f"shop/{table}.ibd"
        with self.connect() as connection, connection.cursor() as cursor:
            cursor.execute(f"flush tables shop.{table} for export")
            subprocess.run(["cp", "-a", file, f"{file}.kept"], check=True)
            cursor.execute("unlock tables")
        self.sql(f"update shop.{table} set id = -id where id < 100", f"alter table shop.{table} discard tablespace")
        subprocess.run(["mv", f"{file}.kept", file], check=True)
        self.sql(f"alter table shop.{table} import tablespace")

    def position(self) -> str:
        """FILE:POS where its binary log ends now."""
        ((name, position, *_),) = self.sql("show master status")
        return f"{name}:{position}"

    def sums(self, *databases: str) -> dict[str, object]:
        """What everything in these databases adds up to: rows, views, triggers, routines."""
        found: dict[str, object] = {}
        for database in databases or ("shop",):
            for name, kind in self.sql(f"show full tables from `{database}`"):
                table = f"`{database}`.`{name}`"
                found[table] = self.sql(f"select * from {table}" if kind == "VIEW" else f"checksum table {table} extended")
            found[f"{database} triggers"] = [row[:4] for row in self.sql(f"show triggers from `{database}`")]
            query = (
                f"select routine_name, routine_definition from information_schema.routines where routine_schema = '{database}'"
            )
            found[f"{database} routines"] = self.sql(query)
        return found
