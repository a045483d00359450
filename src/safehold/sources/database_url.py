"""Where a database is reached: ``postgresql://user:password@host:port/name?host=/socket/folder``."""

from __future__ import annotations

from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

import msgspec

from safehold.core.errors import UsageError


class DatabaseUrl(msgspec.Struct, frozen=True, kw_only=True):
    """The parts of a database's URL; empty where they are not given."""

    scheme: str
    user: str = ""
    password: str = msgspec.field(default="")
    host: str = ""
    """A name or address, or the folder of a socket; of MongoDB also several with their ports, with commas between them."""
    port: int = 0
    """0: the engine's own."""
    database: str = ""
    query: dict[str, str] = {}

    @property
    def public(self) -> str:
        """The URL without its password: what may be stored and shown."""
        is_address = ":" in self.host and "," not in self.host
        host = "" if self.host.startswith("/") else (f"[{self.host}]" if is_address else self.host)
        user = f"{quote(self.user, safe='')}@" if self.user else ""
        port = f":{self.port}" if self.port else ""
        query = {name: value for name, value in self.query.items() if "password" not in name.lower()}
        ending = f"?{urlencode(query, safe='/:')}" if query else ""
        return f"{self.scheme}://{user}{host}{port}/{quote(self.database)}{ending}"

    def __repr__(self) -> str:
        return f"<{self.public}>"  # a password must not get into a traceback


def parse(text: str) -> DatabaseUrl:
    """A URL's parts.  ``host`` and ``port`` may also be in the query, as libpq has it.  Raises ``UsageError``."""
    try:
        parts = urlsplit(text)
        several = parts.netloc.rpartition("@")[2] if parts.scheme == "mongodb" and "," in parts.netloc else ""
        port = 0 if several else parts.port or 0
        query = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
        port = int(query.get("port", port))
    except ValueError as error:
        shown = text.rpartition("@")[2] if "@" in text else text
        raise UsageError(f"The address {shown!r} cannot be read: {error}.", _EXAMPLE) from error
    if not text.startswith(f"{parts.scheme}://"):
        raise UsageError(f"The address {text!r} is no URL.", _EXAMPLE)
    return DatabaseUrl(
        scheme=parts.scheme,
        user=unquote(parts.username or query.get("user", "")),
        password=unquote(parts.password or query.get("password", "")),
        host=query.get("host") or query.get("socket") or several or unquote(parts.hostname or ""),
        port=port,
        database=unquote(parts.path.removeprefix("/")),
        query=query,
    )


_EXAMPLE = "Write it as postgresql://user@host:5432/name, or with ?host=/run/postgresql for a socket."
