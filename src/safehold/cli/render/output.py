"""One renderer for all commands: events and results, as text or as JSON."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Mapping
from typing import Protocol

from safehold.cli.render import jsonlines, words
from safehold.cli.render.words import printable
from safehold.core.events import Event, Note, Progress, Warn

PATIENCE_SECONDS = 0.5
"""Work that is done sooner shows no progress, and does not pay for the means to."""


class Live(Protocol):
    """Shows progress while it runs."""

    def progress(self, event: Progress) -> None:
        """How far it is."""

    def above(self, line: str) -> None:
        """A line that stays, above what moves."""

    def close(self) -> None:
        """Stop showing it."""


class Output:
    """Results go to standard output, all else to standard error.  Events may come from any thread."""

    def __init__(self, *, as_json: bool, quiet: bool, monotonic: Callable[[], float], live: Callable[[], Live]) -> None:
        """``live`` makes what shows progress, when there is some."""
        self.as_json = as_json
        self.quiet = quiet
        self._monotonic = monotonic
        self._patient_until = monotonic() + PATIENCE_SECONDS
        self._make_live = live
        self._live: Live | None = None
        self._lock = threading.RLock()

    def report(self, event: Event) -> None:
        """Show an event.  This is the reporter of every operation."""
        if self.quiet and not isinstance(event, Warn):
            return
        with self._lock:
            if self.as_json:
                self._stderr(jsonlines.event_line(event))
            elif isinstance(event, Progress):
                self._progress(event)
            else:
                line = sentence(event)
                self._live.above(line) if self._live else self._stderr(line)

    def result(self, text: str, value: Mapping[str, object] | None = None) -> None:
        """A line of the result; with ``--json`` the value instead, if there is one."""
        if self.as_json:
            if value is not None:
                sys.stdout.write(jsonlines.encode(value) + "\n")
            return
        self.settle()
        sys.stdout.write(text + "\n")

    def note(self, text: str) -> None:
        """A line of plain information on standard error."""
        self.report(Note(message=text))

    def settle(self) -> None:
        """End a progress display."""
        with self._lock:
            if self._live is not None:
                self._live.close()
                self._live = None

    def _progress(self, event: Progress) -> None:
        if self._live is None and self._monotonic() < self._patient_until:
            return
        self._live = self._live or self._make_live()
        self._live.progress(event)

    def _stderr(self, line: str) -> None:
        sys.stderr.write(line + "\n")
        sys.stderr.flush()


def sentence(event: Event) -> str:
    """A note, a warning, or something done to a path (``action``), as a line."""
    if isinstance(event, Warn):
        path = f"{printable(event.path)}: " if event.path else ""
        return f"safehold: warning: {path}{words.advice(event.message, event.hint)}"
    if isinstance(event, Note):
        return printable(event.message)
    path, size = printable(getattr(event, "path", "")), getattr(event, "bytes", 0)
    return f"{getattr(event, 'action', ''):<8}{path}" + (f"  ({words.size(size)})" if size else "")


def choose(*, as_json: bool, quiet: bool, monotonic: Callable[[], float]) -> Output:
    """The output for this run."""

    def live() -> Live:
        if sys.stderr.isatty():
            from safehold.cli.render.bar import Bar

            return Bar()
        from safehold.cli.render.plain import Lines

        return Lines(monotonic)

    return Output(as_json=as_json, quiet=quiet, monotonic=monotonic, live=live)
