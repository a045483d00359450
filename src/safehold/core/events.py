"""One stream of progress and warnings, rendered by the terminal, by ``--json`` and by the web pages alike."""

from __future__ import annotations

from collections.abc import Callable

import msgspec


class Event(msgspec.Struct, tag_field="event", tag=str.lower, kw_only=True):
    """Base of all events.  In JSON, ``event`` holds the class name in lower case."""


class Progress(Event):
    """How far a long operation is.  Totals are 0 while unknown.  Sizes in bytes."""

    phase: str
    files: int = 0
    bytes: int = 0
    total_files: int = 0
    total_bytes: int = 0
    path: str = ""


class Warn(Event):
    """Something the user should know of that did not stop the operation.  ``code`` is stable."""

    code: str
    message: str
    path: str = ""
    hint: str = ""


class Note(Event):
    """A line of plain information."""

    message: str


Reporter = Callable[[Event], None]


def silent(event: Event) -> None:
    """A reporter that drops everything."""
