"""Exclusion patterns, as people know them from .gitignore and rsync.  ``docs/backup.md`` lists the rules.

- ``*.o`` without a slash: any name, at any depth.
- ``/home/*/.cache`` with a slash at its front: an absolute path; ``cache/tmp`` with one in the middle: the end of a path.
- ``*`` and ``?`` do not cross a slash, ``**`` does; ``[a-z]`` and ``[!a-z]`` are sets.
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
        self.patterns = [text for text in patterns if text.strip() and not text.startswith("#")]
        self._rules = [_rule(text) for text in self.patterns]

    def __bool__(self) -> bool:
        return bool(self._rules)

    def excludes(self, path: bytes, is_folder: bool) -> bool:
        """Whether that absolute path is left out."""
        out = False
        for keep, folders_only, expression in self._rules:
            if out == keep and (is_folder or not folders_only) and expression.search(path):
                out = not keep
        return out


def read_patterns(path: str) -> list[str]:
    """The patterns of a file, one a line; empty lines and those starting with # say nothing.  Raises ``UsageError``."""
    try:
        return Path(path).read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError as error:
        raise UsageError(f"The exclude file {path} cannot be read: {error.strerror}.") from error


def _rule(text: str) -> tuple[bool, bool, re.Pattern[bytes]]:
    keep = text.startswith("!")
    body = text.removeprefix("!").removeprefix("\\") if keep or text.startswith("\\") else text
    folders_only = body.endswith("/")
    body = body.rstrip("/")
    if not body:
        raise UsageError(f"The exclude pattern {text!r} would leave out everything.", "Name what is to be left out.")
    front = b"^" if body.startswith("/") else b"(?:^|/)"
    try:
        return keep, folders_only, re.compile(front + _expression(os.fsencode(body)) + b"$", re.DOTALL)
    except re.error as error:
        raise UsageError(f"The exclude pattern {text!r} cannot be understood: {error}.") from error


_PIECES = re.compile(rb"/\*\*/|\*\*|\*|\?|\[!?[^]]+\]|\\.|.", re.DOTALL)


def _expression(glob: bytes) -> bytes:
    return b"".join(_piece(match.group()) for match in _PIECES.finditer(glob))


def _piece(piece: bytes) -> bytes:
    known = {b"/**/": b"/(?:.*/)?", b"**": b".*", b"*": b"[^/]*", b"?": b"[^/]"}
    if piece in known:
        return known[piece]
    if piece.startswith(b"[") and len(piece) > 1:
        return b"[" + (b"^" + piece[2:] if piece.startswith(b"[!") else piece[1:]).replace(b"\\", b"\\\\")
    return re.escape(piece[1:] if piece.startswith(b"\\") and len(piece) > 1 else piece)
