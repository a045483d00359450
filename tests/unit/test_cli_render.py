"""What people read: numbers in words, tables, progress."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from safehold.cli.render import output, words
from safehold.cli.render.bar import Bar
from safehold.cli.render.plain import Lines
from safehold.core.clock import ManualClock
from safehold.core.events import Note, Progress, Warn


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.00 KiB"), (10239, "10.0 KiB"), (1023 * 1024, "1023 KiB"), (1024**2 - 1, "1.00 MiB"),
     (5 * 1024**4 // 2, "2.50 TiB"), (1024**7, "1024 EiB")],
)  # fmt: skip
def test_sizes(count: int, text: str) -> None:
    assert words.size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (9.9, "9.9 s"), (9.96, "10 s"), (59.6, "1 min 0 s"), (185, "3 min 5 s"), (8040, "2 h 14 min"),
     (274000, "3 d 4 h")],
)  # fmt: skip
def test_durations(seconds: float, text: str) -> None:
    assert words.duration(seconds) == text


def test_tables_are_aligned() -> None:
    assert words.table([["ID", "Size"], ["abc", "5"]], frozenset({1})) == ["ID   Size", "abc     5"]


def test_times_keep_nanoseconds() -> None:
    assert words.iso(1_700_000_000_000_000_123)[19:29] == ".000000123"


def test_progress_comes_late_and_only_now_and_then_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    clock = ManualClock()
    shown = output.Output(as_json=False, quiet=False, monotonic=clock.monotonic, live=lambda: Lines(clock.monotonic))
    for _ in range(100):
        shown.report(Progress(phase="backup", files=3, bytes=2048, total_bytes=4096))
        clock.advance(0.7)
    assert capsys.readouterr().err.splitlines() == [
        "backup: 2.00 KiB of 4.00 KiB (50 %), after 30 s",
        "backup: 2.00 KiB of 4.00 KiB (50 %), after 1 min 0 s",
    ]


def test_a_terminal_shows_rate_totals_and_remaining_time() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=140)
    bar = Bar(console)
    bar.progress(Progress(phase="restore", files=1200, bytes=1 << 20, total_bytes=4 << 20, path="/home/[bold]x\x1b[2J"))
    bar.above("a warning")
    bar.close()
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "restore" in text and "1,200 files" in text and "1.00 MiB of 4.00 MiB" in text
    assert "a warning" in text and "\\x1b[2J" in text and "[bold]x" in text


def test_quiet_leaves_warnings(capsys: pytest.CaptureFixture[str]) -> None:
    clock = ManualClock()
    shown = output.Output(as_json=False, quiet=True, monotonic=clock.monotonic, live=lambda: Lines(clock.monotonic))
    shown.report(Note(message="by the way"))
    shown.report(Warn(code="x", message="Mind this.", path="/a\nb", hint="Do that."))
    shown.result("done")
    captured = capsys.readouterr()
    assert captured.err == "safehold: warning: /a\\x0ab: Mind this. Do that.\n" and captured.out == "done\n"
