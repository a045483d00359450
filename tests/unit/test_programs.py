"""Programs that run beside this one: whenever an interrupt comes, none is left behind."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import pytest

from safehold.core import interrupts
from safehold.core.programs import begun

SLEEP = ["sleep", "60"]


@pytest.fixture
def handled() -> Iterator[list[int]]:
    """Numbers of the signals that were handled, as the program handles them."""
    numbers: list[int] = []

    def handle(number: int, frame: FrameType | None) -> None:
        if not interrupts.waits(number):
            numbers.append(number)
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, handle)
    yield numbers
    signal.signal(signal.SIGINT, before)


def ended(process: subprocess.Popen[bytes]) -> bool:
    return not Path(f"/proc/{process.pid}").exists()


def test_an_interrupt_while_a_program_is_begun(handled: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    began: list[subprocess.Popen[bytes]] = []
    real = subprocess.Popen

    def begin(command: list[str]) -> subprocess.Popen[bytes]:
        began.append(real(command))
        signal.raise_signal(signal.SIGINT)
        assert handled == [], "it waits"
        signal.raise_signal(signal.SIGINT)
        return began[0]

    monkeypatch.setattr(subprocess, "Popen", begin)
    with pytest.raises(KeyboardInterrupt), begun(SLEEP):
        pytest.fail("it was to be interrupted before")
    assert handled == [signal.SIGINT] and ended(began[0])


def test_a_caller_that_fails(handled: list[int]) -> None:
    told: list[subprocess.Popen[bytes]] = []

    def end(process: subprocess.Popen[bytes]) -> None:
        told.append(process)
        process.terminate()

    with pytest.raises(KeyboardInterrupt), begun(SLEEP, end=end) as process:
        signal.raise_signal(signal.SIGINT)
    assert told == [process] and process.returncode == -signal.SIGTERM


def test_a_caller_that_has_read_enough() -> None:
    with begun(["yes"], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"y\n"
    assert process.returncode is not None, "it was not waited for, or for ever"


def test_a_program_that_is_not_there() -> None:
    with pytest.raises(FileNotFoundError), begun(["no-such-program-at-all"]):
        pytest.fail("it cannot run")


def test_held_within_held(handled: list[int]) -> None:
    with pytest.raises(KeyboardInterrupt), interrupts.held():
        with interrupts.held():
            signal.raise_signal(signal.SIGINT)
        assert handled == []
    assert handled == [signal.SIGINT]
