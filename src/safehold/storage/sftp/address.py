"""From ``sftp://user@host:port/path`` to who and where."""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import unquote

from safehold.core.errors import UsageError

_PLACE = re.compile(r"(?:sftp|ssh)://(?:([^@/:]+)@)?(\[[0-9a-fA-F:.%]+\]|[^@/:\[\]]+)(?::(\d{1,5}))?(/.*)")


class Address(NamedTuple):
    """A folder on a machine.  ``user`` is empty and ``port`` 0 where the ssh configuration, or the usual, says it."""

    user: str
    host: str
    port: int
    path: str
    """Absolute, or what follows ``/~/``: then from the folder on in which a session begins."""

    @property
    def location(self) -> str:
        """As a user writes it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        path = self.path if self.path.startswith("/") else f"/~/{self.path}"
        return f"sftp://{f'{self.user}@' if self.user else ''}{host}{f':{self.port}' if self.port else ''}{path}"


def parse(location: str) -> Address:
    """The address that ``location`` names.  Raises ``UsageError``."""
    match = _PLACE.fullmatch(location)
    path = unquote(match[4]) if match else ""
    path = path.rstrip("/") or path[:1]
    if not match or path in ("", "/", "/~") or "\0" in path or int(match[3] or 0) > 65535:
        raise UsageError(
            f"{location} is no place that is reached by SFTP.",
            "Write sftp://user@host/folder, or sftp://user@host:port/folder; /~/folder begins in the user's own folder.",
        )
    return Address(unquote(match[1] or ""), match[2].strip("[]"), int(match[3] or 0), path.removeprefix("/~/"))
