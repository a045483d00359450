"""What this machine remembers of restores that are ordered from it: whether it allows them, where to, and which it has begun.

A file of the state folder for each repository, which only this user may read: the key in it opens the orders.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import msgspec

from safehold.core.errors import SafeholdError
from safehold.core.locks import LockedElsewhere, locked

if TYPE_CHECKING:
    from pathlib import Path

    from safehold.core.clock import Clock

FOLDER = "restores"
_TRIES, _PAUSE = 100, 0.05
"""Whoever changes the file holds it for some milliseconds."""


class Begun(msgspec.Struct):
    """A job that was begun; remembered for good, so that it is never begun again, be the clock set back."""

    folder: str
    """The new folder."""
    tries: int = 0
    state: str = ""
    """How it ended; empty: it has not."""
    report: bytes = b""
    """What is to be told; empty: it was told."""


class Allowed(msgspec.Struct):
    """Restores into these folders are allowed, by orders that this key opens."""

    device: str
    private: bytes
    folders: list[str]
    begun: dict[str, Begun] = {}


class Memory:
    """The file of one repository."""

    def __init__(self, state: Path, repository: bytes) -> None:
        self.path = state / FOLDER / f"{repository.hex()}.json"

    def read(self) -> Allowed | None:
        """None where restores are not allowed.  Raises ``SafeholdError`` if the file is damaged."""
        try:
            return msgspec.json.decode(self.path.read_bytes(), type=Allowed)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.DecodeError) as error:
            raise SafeholdError(
                f"{self.path} cannot be read: {error}.", "Move it away, and run `safehold device allow-restores` again."
            ) from error

    @contextmanager
    def changing(self, clock: Clock) -> Iterator[None]:
        """Nobody else changes the file meanwhile.  Raises ``SafeholdError``."""
        with ExitStack() as held:
            for _ in range(_TRIES):
                try:
                    self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                    held.enter_context(locked(self.path.with_suffix(".change")))
                    break
                except LockedElsewhere:
                    clock.sleep(_PAUSE)
                except OSError as error:
                    raise SafeholdError(f"{self.path} cannot be written: {error.strerror}.", "Set SAFEHOLD_STATE_DIR.") from error
            else:
                raise SafeholdError(f"{self.path} is in use.", "Try again.")
            yield

    def write(self, allowed: Allowed) -> None:
        """Keep it, durably; inside ``changing``."""
        from safehold.cli.logins import write_private

        write_private(self.path, msgspec.json.encode(allowed))

    def forget(self) -> None:
        """Allow nothing any more: the key is gone.  Inside ``changing``."""
        self.path.unlink(missing_ok=True)
