"""The engine's own programs: finding them, running them, and what they say when they fail."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from safehold.core.errors import DatabaseFailed
from safehold.core.programs import begun
from safehold.sources.mariadb.server import series

TOLD = 5
"""Lines of a failed program's last words that are shown."""
KEPT = 200
PACKAGES = {
    "mariadb-backup": "the package mariadb-backup",
    "xtrabackup": "Percona XtraBackup of the server's version, or leave it at a logical dump (--method dump)",
    "mariadbd": "the package mariadb-server-core, or mariadb-server",
    "mysqld": "the package of the MySQL server",
}
_BACKUP = {"mariadb": ("mariadb-backup", "mariabackup"), "mysql": ("xtrabackup",)}
_SERVER = {"mariadb": ("mariadbd", "mysqld"), "mysql": ("mysqld",)}
_BINLOG = {"mariadb": ("mariadb-binlog", "mysqlbinlog"), "mysql": ("mysqlbinlog",)}
_DUMP = {"mariadb": ("mariadb-dump", "mysqldump"), "mysql": ("mysqldump",)}
_CLIENT = {"mariadb": ("mariadb", "mysql"), "mysql": ("mysql",)}
ROLES = {"backup": _BACKUP, "server": _SERVER, "binlog": _BINLOG, "dump": _DUMP, "client": _CLIENT}
_PLUGINS = ("/usr/lib/mysql/plugin", "/usr/lib64/mysql/plugin", "/usr/lib/mariadb/plugin", "/usr/lib64/mariadb/plugin")
_FOLDERS = "/usr/sbin:/usr/local/sbin:/usr/libexec"


def find(role: str, engine: str) -> str:
    """The program that plays a role (a key of ``ROLES``).  Raises ``DatabaseFailed`` that says what to install."""
    names = ROLES[role][engine]
    for name in names:
        found = shutil.which(name) or shutil.which(name, path=_FOLDERS)
        if found:
            return found
    what = PACKAGES.get(names[0], f"the client programs of {'MariaDB' if engine == 'mariadb' else 'MySQL'}")
    raise DatabaseFailed(f"There is no {names[0]} on this machine.", f"Install {what}.")


def plugin_folders() -> list[str]:
    """Where the server's plugins lie, as distributions have it."""
    return [folder for folder in _PLUGINS if os.path.isdir(folder)] or list(_PLUGINS[:1])


def version(program: str) -> str:
    """What a program says of its version: ``10.11.19``; empty if it says nothing of the kind."""
    done = subprocess.run([program, "--no-defaults", "--version"], capture_output=True, text=True, check=False)
    match = re.search(r"(?:Ver |version |server |from )(\d+\.\d+\.\d+[-\w.]*)", done.stdout + done.stderr)
    return match[1].partition("-")[0] if match else ""


def require_series(program: str, wanted: str, what: str) -> None:
    """Raises ``DatabaseFailed`` unless a program is of the same series: others misread the files."""
    require_same_series(program, version(program), wanted, what)


def require_same_series(program: str, found: str, wanted: str, what: str) -> None:
    """The same of a program whose version is known."""
    if series(found) != series(wanted):
        raise DatabaseFailed(
            f"{what} is of version {wanted}, and {program} is {found or 'of an unknown version'}.",
            f"Use the programs of version {series(wanted)}, for instance in a container.",
        )


class Said:
    """Reads what a program writes to stderr, in a thread of its own, and keeps the end."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._lines: list[str] = []
        self._stream = stream
        self._thread = threading.Thread(target=self._run, name="stderr", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        for line in self._stream:
            self._lines.append(line.decode(errors="replace").rstrip())
            del self._lines[:-KEPT]

    def close(self) -> None:
        self._thread.join(10)

    @property
    def all(self) -> list[str]:
        return self._lines

    @property
    def last(self) -> str:
        """Its last words in one line: errors, if it said any."""
        return last_words(self._lines)


def last_words(lines: list[str]) -> str:
    """The errors among a program's last lines, or just those lines, in one."""
    lines = [line.strip() for line in lines if line.strip()]
    errors = [line for line in lines if re.search(r"error|fail|denied|corrupt", line, re.IGNORECASE)]
    return " / ".join((errors or lines)[-TOLD:]) or "it said nothing"


@contextmanager
def running(command: list[str], *, stdin: int | IO[bytes] = subprocess.DEVNULL) -> Iterator[tuple[subprocess.Popen[bytes], Said]]:
    """A program whose output is read; killed if the caller fails.  The caller waits for it and judges its status."""
    with begun(command, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        said = Said(process.stderr)
        try:
            yield process, said
            process.wait()
        except BaseException:
            process.kill()  # or what it says never ends
            raise
        finally:
            process.wait()
            said.close()


def how(status: int) -> str:
    """The end of a program in words."""
    return f"was killed by signal {-status}" if status < 0 else f"exited with status {status}"
