"""What a check found: to which object, in one sentence, and which files it costs."""

from __future__ import annotations

import threading

import msgspec

DAMAGE = "damage"
NOTE = "note"
"""Worth knowing, and nothing is wrong."""

NO_INDEX = "index/"
"""The key that stands for "no index lists this"."""


class LostFile(msgspec.Struct, frozen=True):
    """A path that cannot be restored whole.  One that ends in a slash is a folder whose listing, or part of it, is lost."""

    snapshot: str
    path: bytes


class Finding(msgspec.Struct):
    """One thing that is not as it should be."""

    code: str
    """Stable: ``docs/check.md`` lists all."""
    key: str
    """The object, as the store names it."""
    message: str
    severity: str = DAMAGE
    files: list[LostFile] = []
    """What it costs; no more than the options of the check ask for."""
    file_count: int = 0
    """How many files it costs altogether, counted in each snapshot."""


class Findings:
    """Collects; safe to use from several threads."""

    def __init__(self, most_files: int) -> None:
        self.all: list[Finding] = []
        self.unchecked: list[str] = []
        """Sentences about what this key, or these options, did not let the check see."""
        self._most_files = most_files
        self._blamed: dict[str, Finding] = {}
        self._lock = threading.Lock()

    def add(self, code: str, key: str, message: object, severity: str = DAMAGE) -> None:
        """A finding; one of a code and a key is enough."""
        with self._lock:
            if not any(f.code == code for f in self.of(key)):
                found = Finding(code, key, str(message), severity)
                self.all.append(found)
                if severity == DAMAGE:
                    self._blamed.setdefault(key, found)

    def of(self, key: str) -> list[Finding]:
        """What was found about an object."""
        return [found for found in self.all if found.key == key] if key in self._blamed else []

    def is_blamed(self, key: str) -> bool:
        """Whether an object is damaged."""
        return key in self._blamed

    def cost(self, key: str, lost: LostFile) -> None:
        """A damaged object costs a file."""
        found = self._blamed[key]
        found.file_count += 1
        if len(found.files) < self._most_files:
            found.files.append(lost)

    def unseen(self, sentence: str) -> None:
        """Something could not be looked at."""
        with self._lock:
            if sentence not in self.unchecked:
                self.unchecked.append(sentence)
