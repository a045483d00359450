"""PostgreSQL's own programs: where those of a version are, and how they are run as another user than root."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

assert sys.platform != "win32"

from safehold.core.errors import ProgramMissing

FOLDERS = (
    "/usr/lib/postgresql/{major}/bin",
    "/usr/pgsql-{major}/bin",
    "/usr/lib64/pgsql/bin",
    "/usr/local/pgsql/bin",
    "/usr/local/lib/postgresql{major}/bin",
    "/opt/homebrew/opt/postgresql@{major}/bin",
    "/usr/local/opt/postgresql@{major}/bin",
)
"""Where Debian, Red Hat, a build by hand, FreeBSD and Homebrew put them."""
USER = "postgres"


def find(major: int, chosen: str = "") -> Path:
    """The folder with the server's programs of a major version.  Raises ``ProgramMissing``."""
    for folder in _candidates(major, chosen):
        if _major_of(folder) == major:
            return folder
    where = f"not in {chosen}" if chosen else "on this machine"
    raise ProgramMissing(
        f"PostgreSQL {major}'s server programs are needed, and are {where if chosen else 'not ' + where}.",
        f"Install its server package (Debian: postgresql-{major}), or name their folder with --programs.",
    )


def _candidates(major: int, chosen: str) -> Iterator[Path]:
    if chosen:
        yield Path(chosen)
        return
    found = shutil.which("postgres")
    if found:
        yield Path(os.path.realpath(found)).parent
    yield from (Path(folder.format(major=major)) for folder in FOLDERS)


@cache
def _major_of(folder: Path) -> int:
    try:
        done = subprocess.run([folder / "postgres", "--version"], capture_output=True, text=True, check=False)
    except OSError:
        return 0
    match = re.search(r"\) (\d+)", done.stdout)
    return int(match[1]) if match else 0


class Account:
    """Whom the engine's programs run as: its server refuses to run as root."""

    def __init__(self, uid: int, gid: int) -> None:
        self.uid = uid
        self.gid = gid

    @property
    def popen(self) -> dict[str, object]:
        """Arguments of ``subprocess.Popen``."""
        if os.geteuid() != 0:
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}

    def give(self, path: Path) -> None:
        """Make something theirs."""
        if os.geteuid() == 0:
            os.chown(path, self.uid, self.gid)


def tied(account: Account, sent: signal.Signals = signal.SIGKILL) -> dict[str, object]:
    """Arguments of ``subprocess.Popen`` for a program that ends when this one does, however it ends (Linux only)."""
    if not sys.platform.startswith("linux"):
        return account.popen
    import ctypes

    prctl = ctypes.CDLL(None).prctl
    parent = os.getpid()

    def tie() -> None:
        prctl(_PR_SET_PDEATHSIG, int(sent))
        if os.getppid() != parent:
            os._exit(1)

    return {**account.popen, "preexec_fn": tie}


_PR_SET_PDEATHSIG = 1


def account(folder: Path | None = None) -> Account:
    """Oneself; for root, whoever owns a folder, or else the user ``postgres``.  Raises ``ProgramMissing``."""
    if os.geteuid() != 0:
        return Account(os.getuid(), os.getgid())
    if folder is not None and folder.exists() and folder.stat().st_uid != 0:
        st = folder.stat()
        return Account(st.st_uid, st.st_gid)
    import pwd

    try:
        found = pwd.getpwnam(USER)
    except KeyError as error:
        raise ProgramMissing(
            "PostgreSQL's server does not run as root, and there is no user `postgres`.",
            "Make that user, or run this as the user whose database it is to be.",
        ) from error
    return Account(found.pw_uid, found.pw_gid)
