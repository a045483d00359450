"""Exclusion patterns, as people know them from .gitignore and rsync.  ``docs/backup.md`` lists the rules.

- ``*.o`` without a slash: any name, at any depth.
- ``/home/*/.cache`` with a slash at its front: an absolute path; ``cache/tmp`` with one in the middle: the end of a path.
- ``*`` and ``?`` do not cross a slash, ``**`` does; ``[a-z]`` and ``[!a-z]`` are sets; ``\\`` takes the next character as it is.
- a slash at the end: folders only.  ``!`` in front: keep after all; the last pattern that fits decides.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

from safehold.core.errors import UsageError

CACHEDIR_TAG = b"CACHEDIR.TAG"
CACHEDIR_SIGNATURE = b"Signature: 8a477f597d28d172789f06886806bc55"
"""The first bytes of a cache directory's tag: https://bford.info/cachedir/"""


class Excluder:
    """Decides what is left out of a backup."""

    def __init__(self, patterns: Iterable[str]) -> None:
        """Raises ``UsageError`` on a pattern that cannot be understood."""
        self.patterns = [text for text in patterns if text.strip()]
        self._rules = [_rule(text) for text in self.patterns]

    def __bool__(self) -> bool:
        return bool(self._rules)

    def excludes(self, path: bytes, is_folder: bool) -> bool:
        """Whether that absolute path is left out."""
        text = os.fsdecode(path)
        out = False
        for keep, folders_only, expression in self._rules:
            if out == keep and (is_folder or not folders_only) and expression.search(text):
                out = not keep
        return out


def read_patterns(path: str) -> list[str]:
    """The patterns of a file, one a line; empty lines and those starting with # say nothing.  Raises ``UsageError``."""
    try:
        text = Path(path).read_text(encoding="utf-8-sig", errors="surrogateescape")
    except OSError as error:
        raise UsageError(f"The exclude file {path} cannot be read: {error.strerror}.", "Check its name.") from error
    return [line for line in text.split("\n") if line.strip() and not line.startswith("#")]


def _rule(text: str) -> tuple[bool, bool, re.Pattern[str]]:
    keep = text.startswith("!")
    body = text.removeprefix("!")
    folders_only = body.endswith("/")
    body = body.rstrip("/")
    if not body:
        raise UsageError(f"The exclude pattern {text!r} would leave out everything.", "Name what is to be left out.")
    front = "^" if body.startswith("/") else "/"
    try:
        return keep, folders_only, re.compile(front + _expression(body) + r"\Z", re.DOTALL)
    except re.error as error:
        raise UsageError(
            f"The exclude pattern {text!r} cannot be understood: {error}.",
            "Put a backslash before a bracket that is meant itself.",
        ) from error


_PIECES = re.compile(r"/\*\*(?=/)|^\*\*/|\*\*|\*|\?|\[!?\]?[^]]*\]|\\.|.", re.DOTALL)
_KNOWN = {"/**": "(?:/.*)?", "**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}


def _expression(glob: str) -> str:
    return "".join(_piece(match.group()) for match in _PIECES.finditer(glob))


def _piece(piece: str) -> str:
    if piece in _KNOWN:
        return _KNOWN[piece]
    if piece.startswith("[") and len(piece) > 1:
        return _set(piece[1:-1])
    return re.escape(piece[1:] if piece.startswith("\\") and len(piece) > 1 else piece)


def _set(inside: str) -> str:
    """One character of a set, which is never a slash."""
    without = inside.startswith("!")
    ranges = re.findall(r"(.)-(.)|(.)", inside.removeprefix("!"), re.DOTALL)
    listed = "".join(f"{re.escape(low)}-{re.escape(high)}" if low else re.escape(one) for low, high, one in ranges)
    return f"(?!/)[{'^' if without else ''}{listed}]"
