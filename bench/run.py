"""Measure Safehold and its peers: ``python bench/run.py CASE ...``."""

from __future__ import annotations

import argparse
import fcntl
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import report
from cases import CASES, run_case
from data import WORK
from install import INSTALLED
from peers import NAMES, Program, make_program

_ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    """Run the cases asked for, print and keep what comes out."""
    options = _parse()
    programs = _programs(options.programs, options.safehold)
    versions = {program.name: program.version() for program in programs}
    print("  ".join(f"{name} {version}" for name, version in versions.items()))
    with _alone():
        for case in options.cases:
            print(f"case {case}", file=sys.stderr, flush=True)
            bench = run_case(case, programs, options.runs, WORK / "state")
            path = report.save(case, bench, versions, WORK / "results")
            print(report.text(bench), f"\nkept as {path.name}\n", flush=True)
    return 0


@contextmanager
def _alone() -> Iterator[None]:
    """Keep a second run off: it would share the repositories and the time."""
    with (WORK / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            sys.exit("another measurement is running")
        yield


def _programs(names: list[str], safehold: Path) -> list[Program]:
    """The programs called ``names``; those not installed are left out."""
    found: list[Program] = []
    for name in names:
        program = make_program(name, INSTALLED, WORK / "state", safehold)
        if program.executable.exists():
            found.append(program)
        else:
            print(f"{name} is left out: not installed", file=sys.stderr)
    if not found:
        sys.exit("none of the programs is installed; see bench/README.md")
    return found


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", nargs="+", metavar="CASE", choices=tuple(CASES), help=", ".join(CASES))
    parser.add_argument("--runs", type=int, default=5, help="timed runs (5)")
    parser.add_argument("--programs", type=_names, default=list(NAMES), help="comma-separated, of " + ",".join(NAMES))
    parser.add_argument(
        "--safehold", type=lambda p: Path(p).absolute(), default=_ROOT / ".venv" / "bin" / "safehold", help="the safehold program"
    )
    return parser.parse_args()


def _names(text: str) -> list[str]:
    names = text.split(",")
    for name in names:
        if name not in NAMES:
            raise argparse.ArgumentTypeError(f"no program is called {name}")
    return names


if __name__ == "__main__":
    sys.exit(main())
