"""The interface every measured program is driven by."""

from __future__ import annotations

import os
import shutil
from abc import ABC, abstractmethod
from pathlib import Path

from measure import Command, run_checked

PASSWORD = "correct horse battery staple"


class Program(ABC):
    """One backup program with one repository of its own.

    Repository, caches, configuration and home directory all lie in ``state``,
    so that removing or copying that one directory resets or saves everything
    the program knows.
    """

    name: str

    def __init__(self, executable: Path, state: Path) -> None:
        self.executable = executable
        self.state = state
        self.repo = state / "repo"
        self.cache = state / "cache"

    def reset(self) -> None:
        """Forget everything and make an empty repository."""
        self.clear()
        for directory in (self.state, self.cache, self.state / "home"):
            directory.mkdir(parents=True)
        self.init()

    def clear(self) -> None:
        """Remove repository and caches."""
        shutil.rmtree(self.state, ignore_errors=True)

    def save(self) -> None:
        """Keep a copy of the present state for ``load``."""
        shutil.rmtree(self._saved(), ignore_errors=True)
        run_checked(Command(("cp", "-a", str(self.state), str(self._saved()))))

    def load(self) -> None:
        """Go back to the saved state."""
        self.clear()
        run_checked(Command(("cp", "-a", str(self._saved()), str(self.state))))

    def drop_saved(self) -> None:
        """Remove the saved state."""
        shutil.rmtree(self._saved(), ignore_errors=True)

    def repo_size(self) -> int:
        """Bytes in the repository's files, caches not counted."""
        return sum(os.lstat(os.path.join(folder, name)).st_size for folder, _, names in os.walk(self.repo) for name in names)

    def version(self) -> str:
        """The program's version as it says itself."""
        words = run_checked(self.command("--version")).split()
        return next((word for word in words if word[:1].isdigit()), " ".join(words[:3]))

    def command(self, *arguments: str | Path, cwd: Path | None = None) -> Command:
        """The program with ``arguments`` in its own environment."""
        argv = (str(self.executable), *map(str, arguments))
        home = str(self.state / "home")
        env = {"HOME": home, "XDG_CACHE_HOME": str(self.cache), **self.environment()}
        return Command(argv, env, cwd)

    @abstractmethod
    def environment(self) -> dict[str, str]:
        """Password, repository and cache for the program."""

    @abstractmethod
    def init(self) -> None:
        """Make the repository; the password's key may be derived here."""

    @abstractmethod
    def backup(self, paths: list[Path]) -> Command:
        """The command that backs ``paths`` up."""

    @abstractmethod
    def restore(self, source: Path, target: Path) -> Command:
        """The command that restores the newest backup of ``source``.

        It may put the tree in ``target`` itself, or below it under its name
        or its whole path; ``restored`` finds it.
        """

    def _saved(self) -> Path:
        return self.state.with_name(self.state.name + ".saved")


def restored(source: Path, target: Path) -> Path:
    """Where in ``target`` the program put ``source``."""
    for candidate in (target / source.relative_to("/"), target / source.name):
        if candidate.is_dir():
            return candidate
    return target
