"""Putting a database in its place: whole, or not at all, and never beside journals of another."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

from safehold.core.errors import TargetError, WrongDatabase
from safehold.sources.open_files import users

NEW = ".safehold-new"
OLD = ".safehold-old"
JOURNALS = ("-wal", "-shm", "-journal")
_LOCKS = 0x40000000
"""Where SQLite's locks begin: pending, reserved, 510 bytes that readers share (in WAL mode as long as they are connected)."""
_LOCKS_LENGTH = 512


class Place:
    """Where a database is restored to.  Use as a context manager; what was not finished is removed."""

    def __init__(self, path: Path, *, overwrite: bool) -> None:
        """Raises ``TargetError`` for a place that is taken, ``WrongDatabase`` if a program has it open."""
        self.path = path
        self.scratch = path.with_name(path.name + NEW)
        self._lock = -1
        if path.is_symlink():
            self.path = path.resolve()
            self.scratch = self.path.with_name(self.path.name + NEW)
        if os.path.lexists(self.path):
            self._require_free(overwrite)
        elif any(os.path.exists(f"{self.path}{ending}") for ending in JOURNALS) and not overwrite:
            raise TargetError(
                f"Beside {self.path} lie journals of another database of that name.", "Move them away, or add --overwrite always."
            )

    def __enter__(self) -> Place:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._remove_scratch()
        return self

    def __exit__(self, *exception: object) -> None:
        self._remove_scratch()
        if self._lock >= 0:
            os.close(self._lock)

    def finish(self, mode: int, owner: tuple[int, int]) -> None:
        """Put the scratch file in its place, durably."""
        descriptor = os.open(self.scratch, os.O_RDWR)
        try:
            if sys.platform != "win32":
                with suppress(PermissionError):  # only root may give files away
                    os.fchown(descriptor, *owner)
                os.fchmod(descriptor, mode & 0o7777)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        self._move_away()
        os.replace(self.scratch, self.path)
        self._sync_folder()
        for ending in ("", *JOURNALS):
            Path(f"{self.path}{OLD}{ending}").unlink(missing_ok=True)

    def _move_away(self) -> None:
        """A database with journals moves away with them: SQLite would replay them into the restored one."""
        if any(os.path.exists(f"{self.path}{ending}") for ending in ("-wal", "-journal")):
            for ending in ("", *JOURNALS):
                with suppress(FileNotFoundError):
                    os.replace(f"{self.path}{ending}", f"{self.path}{OLD}{ending}")
            self._sync_folder()
        Path(f"{self.path}-shm").unlink(missing_ok=True)

    def _sync_folder(self) -> None:
        if sys.platform != "win32":
            descriptor = os.open(self.path.parent, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def _remove_scratch(self) -> None:
        for ending in ("", *JOURNALS):
            Path(f"{self.scratch}{ending}").unlink(missing_ok=True)

    def _require_free(self, overwrite: bool) -> None:
        if not self.path.is_file():
            raise TargetError(f"{self.path} is no file.", "Name the file that the database is restored to.")
        if self.path.stat().st_size and not overwrite:
            raise TargetError(
                f"{self.path} is there already.", "Name another file, or add --overwrite always to replace the database there."
            )
        users = self._users()
        if users:
            who = ", ".join(users)
            raise WrongDatabase(f"{self.path} is open in another program ({who}).", "Stop it, and run this again.")

    if sys.platform == "win32":

        def _users(self) -> list[str]:
            """Nobody needs to be asked: Windows does not replace a file that is open."""
            return []

    else:

        def _users(self) -> list[str]:
            """Who has the database open; what locks it stays out until the restore is done."""
            import fcntl

            found = [f"process {pid}" for pid in users(self.path)]
            if not found and os.access(self.path, os.W_OK):
                self._lock = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)
                try:
                    fcntl.lockf(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB, _LOCKS_LENGTH, _LOCKS)
                except OSError:
                    return ["which holds a lock on it"]
            return found
