"""Progress on a terminal: rate, totals and remaining time."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from safehold.cli.render import words
from safehold.core import events


class _Amount(TextColumn):
    """How much of how much, and how fast."""

    def __init__(self) -> None:
        super().__init__("")

    def render(self, task: Task) -> Text:
        done = words.size(int(task.completed))
        of = f" of {words.size(int(task.total))}" if task.total else ""
        speed = task.finished_speed or task.speed
        rate = f", {words.size(int(speed))}/s" if speed else ""
        return Text(f"{words.count(task.fields['files'], 'file')}, {done}{of}{rate}")


class Bar:
    """A live line on standard error."""

    def __init__(self, console: Console | None = None) -> None:
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            _Amount(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[path]}", style="dim"),
            console=console or Console(stderr=True, highlight=False),
            transient=True,
            speed_estimate_period=10.0,
        )
        self._phase = ""
        self._task = self._progress.add_task("", total=None, files=0, path="")
        self._progress.start()

    def progress(self, event: events.Progress) -> None:
        if event.phase != self._phase:
            self._phase = event.phase
            self._progress.reset(self._task, description=event.phase, total=None)
        path = escape(words.printable(event.path)[-40:])
        total = max(event.total_bytes, event.bytes) if event.total_bytes else None  # totals may be those of last time
        self._progress.update(self._task, completed=event.bytes, total=total, files=event.files, path=path)

    def above(self, line: str) -> None:
        self._progress.console.print(line, markup=False, soft_wrap=True)

    def close(self) -> None:
        self._progress.stop()
