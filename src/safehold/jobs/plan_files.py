"""The files that plans are written in: one each, for people to read and change."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from safehold.core.errors import ConfigError, SafeholdError, UsageError
from safehold.core.settings_file import SettingsFile
from safehold.core.suggest import did_you_mean
from safehold.jobs.plan import Plan, check_name

if TYPE_CHECKING:
    import tomlkit

FOLDER = "plans"
PAGE = "docs/plans.md"
_ENDING = ".toml"
_HEAD = "# A plan of Safehold: docs/plans.md says what can stand here.\n"


def _kind(type_: msgspec.inspect.Type) -> type:
    kinds: dict[type, type] = {msgspec.inspect.StrType: str, msgspec.inspect.IntType: int, msgspec.inspect.BoolType: bool}
    return kinds.get(type(type_), list)


def _settings() -> dict[str, type]:
    described = msgspec.inspect.type_info(Plan)
    assert isinstance(described, msgspec.inspect.StructType)
    return {each.encode_name: _kind(each.type) for each in described.fields}


SETTINGS = _settings()
"""Every setting of a plan, and the kind of its value."""


class Found(msgspec.Struct, frozen=True):
    """A plan's file."""

    name: str
    path: Path
    changed_ns: int
    plan: Plan | None
    """None if it cannot be used."""
    wrong: SafeholdError | None = None
    """Why not."""

    def use(self) -> Plan:
        """The plan.  Raises ``ConfigError``."""
        if self.plan is None:
            raise self.wrong or ConfigError(f"{self.path} cannot be used.")
        return self.plan


class PlanFiles:
    """The folder of the plans."""

    def __init__(self, folder: Path) -> None:
        """``folder``: of the configuration."""
        self.folder = folder / FOLDER

    def all(self) -> list[Found]:
        """Every plan, in order of the names; those that cannot be used with what is wrong."""
        try:
            names = sorted(path.stem for path in self.folder.iterdir() if path.suffix == _ENDING and path.is_file())
        except FileNotFoundError:
            return []
        except OSError as error:
            raise ConfigError(f"The plans in {self.folder} cannot be read: {error.strerror}.") from error
        return [self._read(name) for name in names]

    def find(self, name: str) -> Found:
        """A plan.  Raises ``UsageError`` if there is none of that name."""
        if not self.has(name):
            names = [each.name for each in self.all()]
            hint = did_you_mean(name, names) or (f"There are: {', '.join(names)}." if names else "`safehold plan add` makes one.")
            raise UsageError(f"There is no plan {name!r}.", hint)
        return self._read(name)

    def has(self, name: str) -> bool:
        """Whether there is a plan of that name."""
        try:
            check_name(name)
        except UsageError:
            return False
        return self.path(name).is_file()

    def path(self, name: str) -> Path:
        """Where a plan is."""
        return self.folder / f"{name}{_ENDING}"

    def _read(self, name: str) -> Found:
        path = self.path(name)
        try:
            changed = path.stat().st_mtime_ns
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            return Found(name, path, 0, None, ConfigError(f"The plan {path} cannot be read: {error}."))
        try:
            check_name(name)
            return Found(name, path, changed, parse(path, text))
        except SafeholdError as error:
            return Found(name, path, changed, None, error)

    def write(self, name: str, text: str, *, new: bool) -> Path:
        """Write a plan's file, in the place of the one before unless it is ``new``; where.

        Raises ``UsageError``, ``ConfigError``.
        """
        check_name(name)
        path = self.path(name)
        if new and path.exists():
            raise UsageError(f"There is a plan {name} already.", f"Change it: `safehold plan edit {name}`; or use another name.")
        parse(path, text)
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            partial = path.with_suffix(".new")
            partial.write_text(text, encoding="utf-8")
            os.replace(partial, path)
        except OSError as error:
            raise ConfigError(
                f"{path} cannot be written: {error.strerror}.", "Name another configuration by --config."
            ) from error
        return path


def parse(path: Path, text: str) -> Plan:
    """What a file says.  Raises ``ConfigError`` with file, line and setting."""
    file = SettingsFile(path, text, PAGE)
    file.check(file.values, SETTINGS)
    if "sources" not in file.values:
        raise ConfigError(f"{path}: `sources` is missing.", 'Add: sources = ["/home/anna"].')
    plan = msgspec.convert(file.values, Plan)
    plan = msgspec.structs.replace(
        plan,
        sources=[os.path.expanduser(each) for each in plan.sources],
        password_file=file.beside(plan.password_file),
        key_file=file.beside(plan.key_file),
        exclude_file=[file.beside(each) for each in plan.exclude_file],
    )
    try:
        plan.verify()
    except UsageError as error:
        raise ConfigError(f"{path}: {error}", error.hint) from error
    return plan


def made(settings: Mapping[str, object]) -> str:
    """The text of a new plan.  Raises ``UsageError`` on a name that TOML cannot hold."""
    import tomlkit

    return _HEAD + _as_text(tomlkit.document(), settings, [])


def changed(text: str, settings: Mapping[str, object], without: list[str]) -> str:
    """The text with some settings changed and some taken out; comments and order stay.  Raises as ``made``."""
    import tomlkit

    return _as_text(tomlkit.parse(text), settings, without)


def _as_text(document: tomlkit.TOMLDocument, settings: Mapping[str, object], without: list[str]) -> str:
    import tomlkit

    for key in without:
        if key not in SETTINGS:
            raise UsageError(f"`{key}` is no setting of a plan.", did_you_mean(key, SETTINGS) or f"See {PAGE}.")
        document.pop(key, None)
    for key, value in settings.items():
        document[key] = value
    text = tomlkit.dumps(document)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UsageError("A name that is no UTF-8 cannot stand in a plan.", "Name the folder above it.") from error
    return text
