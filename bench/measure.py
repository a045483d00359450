"""Run one command and say what it cost.

Wall time, the CPU of the process and of everything it started, and peak
memory.  A thread samples the process tree as well, since the kernel's own
peak is that of the largest single process and would flatter a program that
spreads its work over several.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

_PR_SET_CHILD_SUBREAPER = 36
_SAMPLE_SECONDS = 0.2


@dataclass(frozen=True)
class Command:
    """A command line with what it needs around it."""

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: Path | None = None


@dataclass(frozen=True)
class Cost:
    """What one run took."""

    wall: float
    cpu: float
    peak_rss: int
    """Bytes, of the largest single process."""
    peak_tree: int
    """Bytes, proportional share summed over the process tree (sampled)."""
    other_cpu: float
    """Cores that everything else on the machine kept busy meanwhile."""
    status: int
    stderr: str = ""


def run_measured(command: Command, log: Path) -> Cost:
    """Run ``command`` with its output in ``log`` and return its cost.

    Pending writes are flushed first, outside the timed part, so that no
    program pays for what the one before it left in the page cache.
    """
    _become_subreaper()
    os.sync()
    busy = _busy_seconds()
    with log.open("wb") as out:
        start = time.perf_counter()
        process = _start(command, out.fileno())
        with _TreeSampler(process.pid) as sampler:
            status, cpu, peak = _wait(process.pid)
        wall = time.perf_counter() - start
    process.returncode = status
    cpu += _reap_orphans()
    other = max(0.0, _busy_seconds() - busy - cpu) / wall
    return Cost(wall, cpu, peak, sampler.peak, other, status, _tail(log))


def run_checked(command: Command) -> str:
    """Run an untimed ``command``, return its output, raise if it fails."""
    done = subprocess.run(
        command.argv,
        env=_environment(command.env),
        cwd=command.cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        text = (done.stderr or done.stdout).strip()[-600:]
        raise RuntimeError(f"{command.argv[0]} ended with {done.returncode}: {text}")
    return done.stdout


def _start(command: Command, stderr: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command.argv,
        env=_environment(command.env),
        cwd=command.cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=stderr,
    )


def _environment(extra: Mapping[str, str]) -> dict[str, str]:
    """Only what is needed, so that no setting of the user sways a program."""
    base = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8"}
    return {**base, **extra}


def _wait(pid: int) -> tuple[int, float, int]:
    """Wait for ``pid``: its exit status, CPU seconds and peak memory."""
    try:
        _, raw, usage = os.wait4(pid, 0)
    except KeyboardInterrupt:
        os.kill(pid, signal.SIGTERM)
        os.wait4(pid, 0)
        raise
    cpu = usage.ru_utime + usage.ru_stime
    return os.waitstatus_to_exitcode(raw), cpu, usage.ru_maxrss * 1024


def _become_subreaper() -> None:
    """Have orphaned helpers of a program become ours, so they are counted."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _reap_orphans() -> float:
    """CPU seconds of helpers that outlived the program that started them."""
    total = 0.0
    while True:
        try:
            pid, _, usage = os.wait4(-1, os.WNOHANG)
        except ChildProcessError:
            return total
        if pid == 0:
            return total
        total += usage.ru_utime + usage.ru_stime


def _busy_seconds() -> float:
    """CPU seconds the whole machine has been busy since it started."""
    ticks = [int(n) for n in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    user, nice, system, _idle, _iowait, irq, softirq, _steal = ticks
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def _tail(log: Path) -> str:
    return log.read_bytes()[-600:].decode(errors="replace").strip()


class _TreeSampler:
    """Watches the memory of a process and all its descendants."""

    def __init__(self, pid: int) -> None:
        self.peak = 0
        self._pid = pid
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> _TreeSampler:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(_SAMPLE_SECONDS):
            self.peak = max(self.peak, sum(_memory(pid) for pid in _tree(self._pid)))


def _tree(pid: int) -> Iterator[int]:
    """``pid`` and its descendants; those that end meanwhile are left out."""
    yield pid
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            children = Path(f"/proc/{pid}/task/{task}/children").read_text()
            for child in children.split():
                yield from _tree(int(child))
    except OSError:
        return


def _memory(pid: int) -> int:
    """Proportional memory of ``pid`` in bytes: shared pages counted once."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    for line in text.splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0
