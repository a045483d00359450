"""TOML files written by people: what is wrong in one is said with file, line and setting."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path

from safehold.core.errors import ConfigError
from safehold.core.suggest import did_you_mean

_KINDS: dict[type, str] = {
    str: "a text in quotes",
    int: "a number",
    bool: "true or false",
    dict: "a table",
    list: "a list of texts",
}


class SettingsFile:
    """The text of such a file, and its values."""

    def __init__(self, path: Path, text: str, page: str) -> None:
        """``page`` of the documentation lists its settings.  Raises ``ConfigError`` if it is not TOML."""
        self._path = path
        self._page = page
        self._lines = text.splitlines()
        try:
            self.values = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise ConfigError(f"{path}: this is not TOML: {str(error).rstrip('.')}.", f"See {page}.") from error

    def check(self, values: Mapping[str, object], known: Mapping[str, type], table: str = "") -> None:
        """Whether a table has known settings only, each of its kind.  Raises ``ConfigError``."""
        for key, value in values.items():
            if key not in known:
                hint = did_you_mean(key, known) or f"Known here: {', '.join(known)}."
                raise self.error(table, key, f"`{key}` is no setting", hint)
            if not _is_a(value, known[key]):
                raise self.error(table, key, f"`{key}` must be {_KINDS[known[key]]}", f"See {self._page}.")

    def beside(self, file: str) -> str:
        """A file that is named: ``~`` is the home folder, other relative names lie beside this one."""
        return str(self._path.parent / Path(file).expanduser()) if file else ""

    def error(self, table: str, key: str, what: str, hint: str) -> ConfigError:
        """What is wrong with a setting, with where it stands."""
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


def _is_a(value: object, kind: type) -> bool:
    if kind is list:
        return isinstance(value, list) and all(isinstance(each, str) for each in value)
    return isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
