"""Plans that an owner hands to this machine, or from it: what they may say, and where they lie.  ``docs/plans.md``."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from safehold.core.errors import SafeholdError, UsageError
from safehold.core.settings_file import SettingsFile
from safehold.jobs.plan import Plan, check_name
from safehold.jobs.plan_files import PAGE, SETTINGS, PlanFiles, changed, parse

FOLDER = "handed"
REFUSED = ("before", "after", "failed", "options", "copy-to", "exclude-file", "host")
"""What would run a program, read something else, or send something elsewhere."""
OWN = ("repository", "password-file", "key-file", "paused")
"""What each machine says for itself."""


class Allowed(msgspec.Struct):
    """Plans from elsewhere are allowed, of these folders."""

    folders: list[str]
    settings: dict[str, str]
    """Of this machine: `repository`, and the key's file."""
    device: str = ""
    made_ns: int = 0
    """When the letter was made that was taken last."""
    names: list[str] = []
    """Of the plans that came with it."""


class Memory:
    """What a machine remembers of a repository whose owner may hand it plans."""

    def __init__(self, state: Path, repository: bytes) -> None:
        self._path = state / FOLDER / f"{repository.hex()}.json"

    def read(self) -> Allowed | None:
        """None where none are allowed.  Raises ``SafeholdError`` if the file is damaged."""
        return _read(self._path)

    def write(self, allowed: Allowed) -> None:
        """Raises ``SafeholdError``."""
        partial = self._path.with_suffix(".new")
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            partial.write_bytes(msgspec.json.encode(allowed))
            os.replace(partial, self._path)
        except OSError as error:
            raise SafeholdError(f"{self._path} cannot be written: {error.strerror}.", "Set SAFEHOLD_STATE_DIR.") from error

    def forget(self) -> None:
        """Allow none any more."""
        self._path.unlink(missing_ok=True)


def all_allowed(state: Path) -> list[Allowed]:
    """Of every repository.  Raises ``SafeholdError``."""
    folder = state / FOLDER
    found = [_read(path) for path in sorted(folder.glob("*.json"))] if folder.is_dir() else []
    return [each for each in found if each is not None]


def _read(path: Path) -> Allowed | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Allowed)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        raise SafeholdError(f"{path} cannot be read: {error}.", "Move it away, and allow plans again.") from error


def to_hand(path: Path, text: str) -> str:
    """A plan of this machine as others can have it: their home folder for this one.  Raises ``UsageError``."""
    plan = parse(path, text)
    _refuse(SettingsFile(path, text, PAGE).values, f"The plan {path.stem}")
    home = str(Path.home())
    sources = [f"~{each[len(home) :]}" if Path(each).is_relative_to(home) else each for each in plan.sources]
    return changed(text, {"sources": sources}, [*OWN])


def _refuse(settings: Mapping[str, object], what: str) -> None:
    wrong = next((key for key in settings if key in REFUSED), None)
    if wrong:
        raise UsageError(
            f"{what} has `{wrong}`, which no plan from elsewhere can have.", "Take it out: it would run or read more."
        )


def take(files: PlanFiles, allowed: Allowed, letter: Mapping[str, str], made_ns: int) -> list[str]:
    """Have the plans of a letter for one's own, and none that came before.

    Gives the names of those that are not taken, since the user has such a plan.  Raises ``SafeholdError`` where one of them is
    refused; then all is as it was.
    """
    if made_ns < allowed.made_ns:
        raise SafeholdError("The server handed on plans that are older than those that are here.", "They stay as they are.")
    texts = {name: _own(files, allowed, name, text) for name, text in letter.items()}
    taken = [name for name in texts if name in allowed.names or not files.path(name).exists()]
    for name in taken:
        files.write(name, texts[name], new=False)
    drop(files, [name for name in allowed.names if name not in taken])
    allowed.names, allowed.made_ns = taken, made_ns
    return [name for name in texts if name not in taken]


def drop(files: PlanFiles, names: Sequence[str]) -> None:
    """Remove plans."""
    for name in names:
        files.path(name).unlink(missing_ok=True)


def _own(files: PlanFiles, allowed: Allowed, name: str, text: str) -> str:
    """A plan's text with what this machine says.  Raises ``SafeholdError`` on what none may say."""
    check_name(name)
    path = files.path(name)
    what = f"The plan {name}, which an owner handed out,"
    settings = SettingsFile(path, text, PAGE).values
    _refuse(settings, what)
    if any(key in OWN for key in settings):
        raise UsageError(f"{what} says what only this machine may say.", "Hand it out again.")
    plan = parse(path, text)
    for source in plan.sources:
        _check_source(what, source, allowed.folders)
    if allowed.settings.keys() - SETTINGS.keys():
        raise SafeholdError("What this machine remembers of plans from elsewhere is damaged.", "Allow plans again.")
    return changed(text, {"sources": plan.sources, **allowed.settings}, [])


def _check_source(what: str, source: str, folders: Sequence[str]) -> None:
    real = os.path.realpath(source)
    if not os.path.isabs(source) or not any(Path(real).is_relative_to(folder) for folder in folders):
        raise UsageError(
            f"{what} is of {source}, which is in none of the folders that are allowed.", "`safehold device allow-plans`"
        )


def expected_seconds(plan: Plan) -> int | None:
    """How often a server may expect a backup; None where that cannot be said in seconds."""
    schedule = plan.schedule
    if schedule.every:
        return schedule.every
    return 86_400 if schedule.at and not (schedule.weekdays or schedule.monthdays) else None
