"""Whether a service really refuses to replace an object.

Some accept ``If-None-Match: *`` and replace the object all the same, others answer that they don't know it.  So before the first
creation the same small object is created twice, which a good service refuses the second time.  What came of it is remembered on
this machine, by the place; the object stays in the bucket, so that nobody has to be allowed to delete.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Any

from safehold.core.clock import Clock

PROBE_KEY = "tmp/probe"
"""Below the repository's prefix; no object of a repository lies in ``tmp/``."""
PROBE_BODY = b"Safehold put this here to see whether the store refuses to replace an object.\n"
BELIEVED_SECONDS = 7 * 86400.0
"""After so long a finding is looked at again: services change."""


class Findings:
    """What is remembered of a place, in a file of ``folder``; without a folder, as long as this object lives."""

    def __init__(self, folder: Path | None, place: str, clock: Clock) -> None:
        name = hashlib.sha256(place.encode()).hexdigest()[:32]
        self._file = folder / f"{name}.json" if folder else None
        self._place = place
        self._clock = clock

    def load(self) -> bool | None:
        """Whether it refuses; None if that is not known, or was found too long ago."""
        if self._file is None:
            return None
        try:
            found: Any = json.loads(self._file.read_bytes())
            age = self._clock.now_ns() / 1e9 - float(found["time"])
            return bool(found["exclusive"]) if 0 <= age < BELIEVED_SECONDS and found["place"] == self._place else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def store(self, exclusive: bool) -> None:
        """Remember it.  A folder that can't be written only means that it is found out again."""
        if self._file is None:
            return
        found = {"place": self._place, "exclusive": exclusive, "time": self._clock.now_ns() / 1e9}
        partial = self._file.with_name(f"{self._file.name}.{secrets.token_hex(4)}.new")
        with suppress(OSError):
            self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            partial.write_text(json.dumps(found))
            partial.replace(self._file)
