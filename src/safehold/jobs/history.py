"""What became of a plan's runs: a small file of the state folder for each plan."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from safehold.core.errors import PlanBusy, SafeholdError
from safehold.core.locks import LockedElsewhere, locked

FOLDER = "plans"
MOST_RUNS = 500
"""That are remembered of a plan; the newest."""
CUT_OFF = "cut off"
INCOMPLETE = 3
"""The status of a backup that could not read everything: it counts."""


class Step(msgspec.Struct):
    """One thing that a run did."""

    name: str
    """``backup``, ``copy``, ``forget``, ``prune``, ``check``, ``drill``, ``before``, ``after`` or ``failed``."""
    status: int
    code: str = ""
    """Of the error, if there was one."""
    message: str = ""
    result: str = ""
    """In a few words."""
    seconds: float = 0


class Run(msgspec.Struct):
    """One run of a plan."""

    began_ns: int
    ended_ns: int = 0
    """0: it has not, or was cut off."""
    by_hand: bool = False
    snapshot: str = ""
    added: int = 0
    """Bytes that the backup stored."""
    steps: list[Step] = []

    @property
    def has_backup(self) -> bool:
        """Whether a snapshot came of it."""
        return any(step.name == "backup" and step.status in (0, INCOMPLETE) for step in self.steps)

    @property
    def worst(self) -> Step | None:
        """The first step that failed; else the backup that was incomplete; else none."""
        failed = [step for step in self.steps if step.status not in (0, INCOMPLETE)]
        return next(iter(failed or [step for step in self.steps if step.status]), None)

    @property
    def status(self) -> int:
        """As the program ends with."""
        return 0 if self.worst is None else self.worst.status


class History(msgspec.Struct):
    """All that is remembered of a plan."""

    runs: list[Run] = []
    """The newest last."""
    done: dict[str, int] = {}
    """Step -> when it last worked (ns)."""

    @property
    def last(self) -> Run | None:
        """The newest run."""
        return self.runs[-1] if self.runs else None

    @property
    def last_backup_ns(self) -> int:
        """When the last run that made a snapshot began; 0: none has."""
        return self.done.get("backup", 0)

    def failures(self) -> list[Run]:
        """The runs since the last one that made a snapshot, newest first."""
        found = []
        for run in reversed(self.runs):
            if run.has_backup:
                break
            found.append(run)
        return found


class Histories:
    """The folder of all plans' histories."""

    def __init__(self, state: Path) -> None:
        self.folder = state / FOLDER

    def read(self, name: str) -> History:
        """Of a plan; empty if nothing is known.  What cannot be read is as good as nothing."""
        try:
            return msgspec.json.decode(self._path(name).read_bytes(), type=History)
        except (OSError, msgspec.DecodeError):
            return History()

    def write(self, name: str, history: History) -> None:
        """Raises ``SafeholdError``."""
        del history.runs[:-MOST_RUNS]
        path = self._path(name)
        partial = path.with_suffix(".new")
        try:
            partial.write_bytes(msgspec.json.encode(history))
            os.replace(partial, path)
        except OSError as error:
            raise SafeholdError(f"{path} cannot be written: {error.strerror}.", "Set SAFEHOLD_STATE_DIR.") from error

    def forget(self, name: str) -> None:
        """Forget a plan's runs."""
        self._path(name).unlink(missing_ok=True)

    def is_running(self, name: str) -> bool:
        """Whether a run of that plan goes on just now."""
        return self._is_held(f"{name}.lock")

    def has_agent(self) -> bool:
        """Whether an agent runs plans here."""
        return self._is_held("agent.lock")

    @contextmanager
    def agent(self) -> Iterator[None]:
        """Be the only agent of this state folder.  Raises ``PlanBusy``, ``SafeholdError``."""
        with self._held("agent.lock", PlanBusy("An agent runs here already.", "`safehold plan list` shows what it does.")):
            yield

    @contextmanager
    def running(self, name: str) -> Iterator[None]:
        """Nobody else runs the plan meanwhile.  Raises ``PlanBusy``, ``SafeholdError``."""
        with self._held(f"{name}.lock", PlanBusy(f"The plan {name} is running already.", f"`safehold plan show {name}`")):
            yield

    @contextmanager
    def _held(self, file: str, busy: PlanBusy) -> Iterator[None]:
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            held = locked(self.folder / file)
            held.__enter__()
        except LockedElsewhere:
            raise busy from None
        except OSError as error:
            raise SafeholdError(f"{self.folder} cannot be used: {error.strerror}.", "Set SAFEHOLD_STATE_DIR.") from error
        try:
            yield
        finally:
            held.__exit__(None, None, None)

    def _is_held(self, file: str) -> bool:
        if not (self.folder / file).exists():
            return False
        try:
            with locked(self.folder / file):
                return False
        except LockedElsewhere:
            return True
        except OSError:
            return False

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.json"
