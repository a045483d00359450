"""Tablespaces that the server itself encrypts: which plugin has the keys, and whether this machine has what it needs.

The backup program writes the plugin's settings into ``backup-my.cnf`` and reads them from there; a private server is told the
same.  Key files lie where the server keeps them, and are not part of a base.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from safehold.core.errors import DatabaseFailed

_COMPRESSION = "provider_"
_FILE = "file_key_management_filename"


def options(conf: Mapping[str, str], folders: list[str]) -> dict[str, str]:
    """What a program has to be told to have the keys that ``conf`` names; nothing for a server that encrypts nothing
    and compresses with nothing that a plugin does.

    ``folders``: where plugins may lie, if not where ``conf`` says.  Raises ``DatabaseFailed`` if plugin or key file is not here.
    """
    loaded = _loaded(_plain(conf.get("plugin_load", "")))
    places = [place for place in (_plain(conf.get("plugin_dir", "")), *folders) if place]
    place = next((place for place in places if all(_is_there(place, library) for library in loaded.values())), None)
    if place is None:
        # Debian's servers load all methods of compression, whether a table uses them or not.
        loaded = {name: library for name, library in loaded.items() if not name.startswith(_COMPRESSION)}
        place = next((place for place in places if all(_is_there(place, library) for library in loaded.values())), None)
    if not loaded:
        return {}
    name = next(iter(loaded))
    if place is None:
        raise DatabaseFailed(
            f"The base was encrypted by its server with the plugin {name}, which is not on this machine.",
            f"Install it: it was looked for in {', '.join(dict.fromkeys(places))}.",
        )
    file = _plain(conf.get(_FILE, ""))
    if file and not os.path.isfile(file):
        raise DatabaseFailed(
            f"The base was encrypted by its server with keys from {file}, which is not on this machine.",
            "Bring the key file to that place: it is not part of a base.",
        )
    prefixes = tuple(f"{name}_" for name in loaded)
    own = {key: _plain(value) for key, value in conf.items() if key.startswith(prefixes) and _plain(value)}
    return {"plugin_dir": place, "plugin_load_add": ";".join(loaded.values()), **own}


def _loaded(text: str) -> dict[str, str]:
    """``NAME=LIBRARY;...``, of which the library may be left out: name -> library."""
    parts = [part.partition("=") for part in text.split(";") if part]
    return {name: library or name for name, _, library in parts}


def _is_there(place: str, library: str) -> bool:
    return any((Path(place) / f"{library}{ending}").is_file() for ending in ("", ".so", ".dll"))


def _plain(value: str) -> str:
    return value.strip().strip("\"'")
