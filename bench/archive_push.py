"""How fast WAL goes into the spool: as a process, as the server calls it, and in one process.

    python bench/archive_push.py SEGMENT...

Every round pushes the given segments into a new spool.  The goals: at most 60 ms as a process, 100 segments a second in one.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from safehold.sources.postgresql.spool import Spool

PROGRAM = str(Path(sys.executable).with_name("safehold"))
"""What `archive_command` names; ``python -m`` would take 5 ms more."""


def as_processes(segments: list[str], folder: Path) -> tuple[float, float]:
    """Median milliseconds of one process, and of CPU that it takes."""
    times, cpu = [], []
    for path in segments:
        before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        subprocess.run([PROGRAM, "pg", "archive-push", path, "--spool", folder], check=True)
        times.append(time.perf_counter() - begun)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return statistics.median(times) * 1000, statistics.median(cpu) * 1000


def in_process(segments: list[str], folder: Path, threads: int) -> float:
    """Segments a second."""
    spool = Spool(str(folder))
    spool.add(segments[0])
    begun = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(spool.add, segments[1:]))
    return (len(segments) - 1) / (time.perf_counter() - begun)


@contextmanager
def _folder(above: str | None) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(dir=above))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("segments", nargs="+")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", default=None, help="where the spool is made")
    values = parser.parse_args()
    segments = sorted(values.segments)
    for number in range(values.rounds):
        with _folder(values.folder) as folder:
            wall, cpu = as_processes(segments, folder)
        rates = []
        for threads in (1, 2):
            with _folder(values.folder) as folder:
                rates.append(in_process(segments, folder, threads))
        load = os.getloadavg()[0]
        print(f"round {number}: {wall:.0f} ms a process, CPU {cpu:.0f} ms; ", end="")
        print(f"{rates[0]:.0f} segments/s, with two threads {rates[1]:.0f} (load {load:.1f})")


if __name__ == "__main__":
    main()
