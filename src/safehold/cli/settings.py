"""The configuration file: TOML, checked with messages that name file, line and key.  ``docs/configuration.md``."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

from safehold.cli.suggest import did_you_mean
from safehold.core.errors import ConfigError

_TOP: dict[str, type] = {"repository": str, "cache-dir": str, "spool": str, "spool-limit": str, "repositories": dict}
_REPOSITORY: dict[str, type] = {
    "location": str,
    "password-file": str,
    "password-command": str,
    "key-file": str,
    "endpoint": str,
    "region": str,
    "connections": int,
    "limit-upload": str,
    "limit-download": str,
}
MOST_CONNECTIONS = 64
_KINDS: dict[type, str] = {str: "a text in quotes", int: "a number", dict: "a table"}


@dataclass(frozen=True, slots=True)
class Named:
    """A repository of the configuration.  What is not set is empty; files are taken from the configuration's folder on."""

    location: str
    password_file: str = ""
    password_command: str = ""
    key_file: str = ""
    endpoint: str = ""
    region: str = ""
    connections: int = 0
    limit_upload: str = ""
    limit_download: str = ""


@dataclass(frozen=True, slots=True)
class Settings:
    """What the configuration file says."""

    default: str = ""
    """The repository that is meant if none is named."""
    cache_dir: str = ""
    spool: str = ""
    spool_limit: str = ""
    repositories: dict[str, Named] = field(default_factory=dict)


def load(path: Path, *, required: bool) -> Settings:
    """The settings in that file; without it the empty ones, unless it is ``required``.  Raises ``ConfigError``."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        if required:
            raise ConfigError(f"There is no configuration file {path}.", "Check the name after --config.") from None
        return Settings()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"The configuration file {path} cannot be read: {error}.") from error
    try:
        return _Checked(path, text).settings()
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: this is not TOML: {str(error).rstrip('.')}.", "See docs/configuration.md.") from error


class _Checked:
    def __init__(self, path: Path, text: str) -> None:
        self._path = path
        self._lines = text.splitlines()
        self._values = tomllib.loads(text)

    def settings(self) -> Settings:
        self._check(self._values, _TOP, "")
        repositories = {name: self._named(name, value) for name, value in self._values.get("repositories", {}).items()}
        default = self._values.get("repository", "")
        cache = self._values.get("cache-dir", "")
        spool, limit = self._values.get("spool", ""), self._values.get("spool-limit", "")
        return Settings(default, self._beside(cache), self._beside(spool), limit, repositories)

    def _named(self, name: str, values: object) -> Named:
        table = f"repositories.{name}"
        if not isinstance(values, dict):
            raise self._error("repositories", name, f"{table} must be a table", f"Write [{table}] on a line of its own.")
        self._check(values, _REPOSITORY, table)
        if not values.get("location"):
            raise self._error(table, "location", f"{table} has no `location`", 'Add: location = "/mnt/backup".')
        return Named(
            location=values["location"],
            password_file=self._beside(values.get("password-file", "")),
            password_command=values.get("password-command", ""),
            key_file=self._beside(values.get("key-file", "")),
            endpoint=values.get("endpoint", ""),
            region=values.get("region", ""),
            connections=self._connections(table, values.get("connections", 0)),
            limit_upload=values.get("limit-upload", ""),
            limit_download=values.get("limit-download", ""),
        )

    def _check(self, values: dict[str, object], known: dict[str, type], table: str) -> None:
        for key, value in values.items():
            if key not in known:
                hint = did_you_mean(key, known) or f"Known here: {', '.join(known)}."
                raise self._error(table, key, f"`{key}` is no setting", hint)
            if not isinstance(value, known[key]) or isinstance(value, bool):
                raise self._error(table, key, f"`{key}` must be {_KINDS[known[key]]}", "See docs/configuration.md.")

    def _connections(self, table: str, count: int) -> int:
        if not 0 <= count <= MOST_CONNECTIONS:
            message = f"`connections` must be between 1 and {MOST_CONNECTIONS}"
            raise self._error(table, "connections", message, "Leave it out to have what fits the kind of store.")
        return count

    def _beside(self, file: str) -> str:
        """A file named in the configuration: ``~`` is the home folder, other relative names lie beside the configuration."""
        return str(self._path.parent / Path(file).expanduser()) if file else ""

    def _error(self, table: str, key: str, what: str, hint: str) -> ConfigError:
        return ConfigError(f"{self._path}, line {self._line(table, key)}: {what}.", hint)

    def _line(self, table: str, key: str) -> int:
        """Where a key stands: tomllib does not say.  The table's own line if the key is written in some rare way."""
        here, at = "", 0
        for number, line in enumerate(self._lines, 1):
            heading = re.fullmatch(r"\s*\[\s*(.*?)\s*\]\s*(#.*)?", line)
            if heading:
                here = re.sub(r"[\s\"']", "", heading[1])
            if here == table or (not table and heading and here.split(".")[0] == key):
                at = at or number
                if re.match(rf"\s*[\"']?{re.escape(key)}[\"']?\s*[=.]", line) or (heading and not table):
                    return number
        return at or 1
