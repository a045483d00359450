"""The settings of a server, as its commands are told them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from safehold.cli.call import Call
    from safehold.server.settings import Settings


def settings_of(call: Call) -> Settings:
    """The server's settings, from a file, the environment and the options.  Raises ``UsageError``."""
    from pathlib import Path

    from safehold.server.settings import Settings, load

    values, environ = call.values, call.environ
    given: dict[str, object] = {
        "data": values.data or environ.get("SAFEHOLD_SERVER_DATA", ""),
        "listen": getattr(values, "listen", "") or environ.get("SAFEHOLD_SERVER_LISTEN", ""),
        "store": getattr(values, "store", "") or environ.get("SAFEHOLD_SERVER_STORE", ""),
        "public_url": getattr(values, "public_url", "") or environ.get("SAFEHOLD_SERVER_PUBLIC_URL", ""),
        "database_url": environ.get("DATABASE_URL", ""),
        "certificate": getattr(values, "certificate", ""),
        "private_key": getattr(values, "private_key", ""),
    }
    given = {name: value for name, value in given.items() if value}
    if getattr(values, "no_tls", False):
        given["tls"] = False
    if values.settings:
        return load(Path(values.settings), **given)
    if "data" not in given:
        import platformdirs

        given["data"] = str(Path(platformdirs.user_data_dir("safehold", False)) / "server")
    for name in ("data", "certificate", "private_key"):
        if name in given:
            given[name] = Path(str(given[name])).expanduser()
    return Settings(**given)  # type: ignore[arg-type]
