"""Words of systemd's unit files (systemd.syntax(7))."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

_PLAIN = re.compile(r"[A-Za-z0-9_./:@=+,-]+")
GENTLE = ["Nice=10", "IOSchedulingClass=idle"]
"""Backups stand back behind everything else that the machine does."""


def quoted(word: str) -> str:
    """As systemd reads words: % and $ are doubled, what is not plain stands in quotes."""
    word = word.replace("%", "%%").replace("$", "$$")
    return word if _PLAIN.fullmatch(word) else '"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"'


def execution(program: Sequence[str], variables: Mapping[str, str]) -> list[str]:
    """The lines that say what is run, with which variables."""
    settings = [f"Environment={quoted(f'{key}={value}')}" for key, value in sorted(variables.items())]
    return [*settings, f"ExecStart={' '.join(map(quoted, program))}", *GENTLE]
