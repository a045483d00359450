"""The folder of an image copy of PostgreSQL: its control file, the engine's programs for it, and whether it was left alone."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

assert sys.platform != "win32"

from safehold.core.errors import ImageError, TargetError
from safehold.ops.image_copies.images import Image, State
from safehold.sources.postgresql import programs
from safehold.sources.postgresql.controldata import ControlData
from safehold.storage.filesystem import flush_folder

CONTROL = Path("global/pg_control")
ASIDE = Path("global/pg_control.image")
"""What the control file is called while nothing is done to the image, so that no server starts on it by mistake."""
SIGNAL = "recovery.signal"
WAL = "wal"
SPACES = "tablespaces"
DOWN = "shut down in recovery"
RECOVERING = (DOWN, "in archive recovery", "in crash recovery")
"""How a control file reads in the middle of a recovery, and after one that was shut down."""


class Tools:
    """The engine's programs, and whom they run as."""

    def __init__(self, image: Image, state: State) -> None:
        self.programs = programs.find(int(state.facts["major"]), state.facts.get("programs", ""))
        self.account = programs.account(image.data)

    def run(self, program: str, *arguments: object) -> subprocess.CompletedProcess[str]:
        """Run one of them to its end."""
        command = [str(self.programs / program), *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False, **self.account.popen)  # type: ignore[call-overload, no-any-return]


def make(image: Image, account: programs.Account) -> None:
    """The folders that an image copy begins with.  Raises ``TargetError``."""
    for folder in (image.folder, image.data, image.folder / WAL, image.folder / SPACES):
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            account.give(folder)
        except OSError as error:
            raise TargetError(f"{folder} cannot be made: {error.strerror}.", "Choose another folder.") from error


def put_aside(image: Image) -> None:
    """Keep servers from starting on the copy."""
    with suppress(FileNotFoundError):
        (image.data / CONTROL).rename(image.data / ASIDE)
        flush_folder(str((image.data / CONTROL).parent))


@contextmanager
def control_in_place(image: Image) -> Iterator[None]:
    """The control file under its own name, so that the engine's programs find it; aside again at the end."""
    with suppress(FileNotFoundError):
        (image.data / ASIDE).rename(image.data / CONTROL)
    if not (image.data / CONTROL).exists():
        raise ImageError(f"{image.data} has no control file: the copy was never finished.", "Make the image copy anew.")
    try:
        yield
    finally:
        put_aside(image)


def require_untouched(found: ControlData, state: State) -> None:
    """Nobody opened the copy otherwise.  An interrupted roll leaves it in the middle of a recovery, which can go on."""
    if found.system != state.system:
        raise ImageError(f"The folder of {state.name} holds another database (system {found.system}).", "Make it anew.")
    if state.phase == "ready" and found.mark != state.mark:
        raise ImageError(
            f"{state.name} was opened otherwise since its last roll; it is no copy of the original any more.", "Make it anew."
        )
    if state.phase != "ready" and found.state not in RECOVERING and state.rolls:
        raise ImageError(f"{state.name} was opened for writing; it is no copy of the original any more.", "Make it anew.")
