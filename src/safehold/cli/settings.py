"""The configuration file: TOML, checked with messages that name file, line and key.  ``docs/configuration.md``."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from safehold.core.errors import ConfigError
from safehold.core.settings_file import SettingsFile

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
    return _Checked(path, text, "docs/configuration.md").settings()


class _Checked(SettingsFile):
    def settings(self) -> Settings:
        self.check(self.values, _TOP, "")
        repositories = {name: self._named(name, value) for name, value in self.values.get("repositories", {}).items()}
        default = self.values.get("repository", "")
        cache = self.values.get("cache-dir", "")
        spool, limit = self.values.get("spool", ""), self.values.get("spool-limit", "")
        return Settings(default, self.beside(cache), self.beside(spool), limit, repositories)

    def _named(self, name: str, values: object) -> Named:
        table = f"repositories.{name}"
        if not isinstance(values, dict):
            raise self.error("repositories", name, f"{table} must be a table", f"Write [{table}] on a line of its own.")
        self.check(values, _REPOSITORY, table)
        if not values.get("location"):
            raise self.error(table, "location", f"{table} has no `location`", 'Add: location = "/mnt/backup".')
        return Named(
            location=values["location"],
            password_file=self.beside(values.get("password-file", "")),
            password_command=values.get("password-command", ""),
            key_file=self.beside(values.get("key-file", "")),
            endpoint=values.get("endpoint", ""),
            region=values.get("region", ""),
            connections=self._connections(table, values.get("connections", 0)),
            limit_upload=values.get("limit-upload", ""),
            limit_download=values.get("limit-download", ""),
        )

    def _connections(self, table: str, count: int) -> int:
        if not 0 <= count <= MOST_CONNECTIONS:
            message = f"`connections` must be between 1 and {MOST_CONNECTIONS}"
            raise self.error(table, "connections", message, "Leave it out to have what fits the kind of store.")
        return count
