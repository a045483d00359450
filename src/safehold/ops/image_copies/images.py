"""What is known of an image copy: its folder, its state, and the list of names.  ``docs/image-copies.md``, "The folder"."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import msgspec

from safehold.core.clock import Clock
from safehold.core.errors import ImageError, TargetError, UsageError
from safehold.core.events import Reporter
from safehold.core.locks import LockedElsewhere, locked
from safehold.repo.repository import Repository
from safehold.storage.filesystem import replace_durably

STATE = "image.json"
LOCK = "lock"
_PATIENCE = 2.0
"""Seconds: that of a lock, for children of a holder that was killed."""
DATA = "data"
LOG = "log"
VERSION = 1

Phase = Literal["creating", "ready", "rolling", "reading"]


class State(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The file ``image.json``.  Times in ns since 1970."""

    name: str
    engine: str
    source: str
    """The original's URL without a password, or its path."""
    phase: Phase = "creating"
    system: str = ""
    version: str = ""
    timeline: int = 0
    position: int = 0
    """Up to where the image has been rolled."""
    redo: int = 0
    """PostgreSQL: from where the next recovery replays; log from there on is kept."""
    mark: str = ""
    """What the copy's control data looked like when the last roll ended: another look means that it was opened."""
    made_ns: int = 0
    rolled_ns: int = 0
    """The moment of the original that the image shows."""
    rolls: int = 0
    facts: dict[str, str] = {}
    """What the engine needs: the slot's name, where its programs are."""
    format: int = VERSION


class Given(msgspec.Struct, frozen=True):
    """What one works with."""

    clock: Clock
    report: Reporter
    repository: Callable[[], Repository]
    """Opens it: for an image copy whose log comes from there."""


class Image:
    """An image copy's folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / DATA
        self.log = folder / LOG

    def load(self) -> State:
        """Its state.  Raises ``ImageError``."""
        path = self.folder / STATE
        try:
            state = msgspec.json.decode(path.read_bytes(), type=State)
        except FileNotFoundError as error:
            raise ImageError(f"{self.folder} holds no image copy.", "`safehold image-copy list` shows where they are.") from error
        except (OSError, msgspec.MsgspecError) as error:
            raise ImageError(f"{path} cannot be read: {error}.", "Make the image copy anew.") from error
        if state.format != VERSION:
            raise ImageError(f"{path} is of a newer version of Safehold.", "Update Safehold.")
        return state

    def save(self, state: State) -> None:
        """Keep its state, durably."""
        write_durably(self.folder / STATE, msgspec.json.format(msgspec.json.encode(state), indent=2))

    @contextmanager
    def held(self) -> Iterator[None]:
        """Nothing else is done to it meanwhile.  Raises ``ImageError`` where something is."""
        try:
            with locked(self.folder / LOCK, patience=_PATIENCE):
                yield
        except LockedElsewhere as error:
            raise ImageError(
                f"Something is being done to the image copy in {self.folder}.", "Try again when it is over."
            ) from error
        except OSError as error:
            where = error.filename or self.folder
            raise TargetError(
                f"{where} cannot be used: {error.strerror or error}.", "Run it again when that is put right: nothing is lost."
            ) from error


def write_durably(path: Path, data: bytes) -> None:
    """Write a small file, or leave the one that is there: it is on the disk, under its name, when this returns."""
    partial = path.with_name(path.name + ".tmp")
    with partial.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    replace_durably(str(partial), str(path))


class Registry:
    """The names of this user's image copies, in a file of the state folder."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "images.json"

    def names(self) -> dict[str, Path]:
        """Every name with its folder.  Raises ``ImageError``."""
        try:
            found = msgspec.json.decode(self._path.read_bytes(), type=dict[str, str])
        except FileNotFoundError:
            return {}
        except (OSError, msgspec.MsgspecError) as error:
            raise ImageError(f"{self._path} cannot be read: {error}.", "Name image copies by their folders.") from error
        return {name: Path(folder) for name, folder in found.items()}

    def add(self, name: str, folder: Path) -> None:
        """Give a folder a name.  Raises ``UsageError`` for one that is taken, or that is a path."""
        if not name or "/" in name or os.sep in name or name.startswith("."):
            raise UsageError(f"`{name}` cannot be the name of an image copy.", "Give a plain word.")
        names = self.names()
        if names.get(name, folder) != folder and (names[name] / STATE).exists():
            raise UsageError(f"There is an image copy `{name}` already, in {names[name]}.", "Choose another name.")
        self._write({**names, name: folder})

    def _write(self, names: dict[str, Path]) -> None:
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_durably(self._path, msgspec.json.encode({name: str(folder) for name, folder in names.items()}))
        except OSError as error:
            raise TargetError(
                f"{self._path} cannot be written: {error.strerror}.", "Name image copies by their folders."
            ) from error

    def drop(self, name: str) -> None:
        """Forget a name."""
        self._write({other: folder for other, folder in self.names().items() if other != name})

    def find(self, text: str) -> Image:
        """An image copy by its name, or by its folder.  Raises ``ImageError``."""
        names = self.names()
        if text in names:
            return Image(names[text])
        if (Path(text) / STATE).exists():
            return Image(Path(text).absolute())
        known = f"There are: {', '.join(sorted(names))}." if names else "`safehold image-copy create` makes one."
        raise ImageError(f"There is no image copy `{text}`.", known)
