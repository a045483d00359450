"""How fast WAL goes into the spool: as a process, as the server calls it, and in one process.

    python bench/archive_push.py SEGMENT...

Every round pushes the given segments into a new spool.  The goals: at most 60 ms as a process, 100 segments a second in one.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from safehold.sources.postgresql.spool import Spool


def as_processes(segments: list[str], folder: Path) -> float:
    """Median milliseconds of one process."""
    times = []
    for path in segments:
        begun = time.perf_counter()
        subprocess.run([sys.executable, "-m", "safehold", "pg", "archive-push", path, "--spool", folder], check=True)
        times.append(time.perf_counter() - begun)
    return statistics.median(times) * 1000


def in_process(segments: list[str], folder: Path, threads: int) -> float:
    """Segments a second."""
    spool = Spool(str(folder))
    spool.add(segments[0])
    begun = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(spool.add, segments[1:]))
    return (len(segments) - 1) / (time.perf_counter() - begun)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("segments", nargs="+")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", default=None, help="where the spool is made")
    values = parser.parse_args()
    segments = sorted(values.segments)
    for number in range(values.rounds):
        results = []
        for measure in (as_processes, lambda s, f: in_process(s, f, 1), lambda s, f: in_process(s, f, 2)):
            folder = Path(tempfile.mkdtemp(dir=values.folder))
            results.append(measure(segments, folder))
            shutil.rmtree(folder)
        process, one, two = results
        load = os.getloadavg()[0]
        print(f"round {number}: {process:.0f} ms a process; {one:.0f} segments/s, with two threads {two:.0f} (load {load:.1f})")


if __name__ == "__main__":
    main()
