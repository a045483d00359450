"""Backup and restore of one tree to S3 and by SFTP: Safehold and restic in turn, and Safehold to a local folder beside them.

    python bench/stores.py TREE --s3 http://HOST:PORT/BUCKET --sftp HOST/FOLDER [--runs 3] [--restic PATH] [--safehold PATH]

Keys come from the AWS variables, the way to HOST from ~/.ssh/config.  To measure a line with delay, run it in a network namespace
whose way to the servers has some (``tc qdisc add dev X root netem delay 20ms``).  Every repository gets a name of its own and
stays there.  Results go to bench/work/results as well.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import secrets
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

WORK = Path(__file__).parent / "work"
PASSWORD = "only for measuring"


class Safehold:
    """To a folder, S3 or SFTP."""

    def __init__(self, program: str, place: str, scratch: Path, s3: str) -> None:
        self._program = program
        self._place = place
        self._environ = {**os.environ, "SAFEHOLD_PASSWORD": PASSWORD, "SAFEHOLD_CACHE_DIR": str(scratch / secrets.token_hex(4))}
        self._environ["AWS_ENDPOINT_URL"] = s3
        self._run("init")

    def _run(self, *words: str) -> None:
        subprocess.run([self._program, "-r", self._place, "-q", *words], env=self._environ, check=True, stdout=subprocess.DEVNULL)

    def backup(self, tree: str) -> None:
        """The tree into the empty repository."""
        self._run("backup", tree)

    def restore(self, target: str) -> None:
        """All of it."""
        self._run("restore", "latest", "--target", target)


class Restic:
    """To S3 or SFTP, with its defaults."""

    def __init__(self, program: str, place: str, scratch: Path) -> None:
        self._words = [program, "-r", place, "-q", "--cache-dir", str(scratch / secrets.token_hex(4))]
        self._environ = {**os.environ, "RESTIC_PASSWORD": PASSWORD}
        self._run("init")

    def _run(self, *words: str) -> None:
        subprocess.run([*self._words, *words], env=self._environ, check=True, stdout=subprocess.DEVNULL)

    def backup(self, tree: str) -> None:
        """The tree into the empty repository."""
        self._run("backup", tree)

    def restore(self, target: str) -> None:
        """All of it."""
        self._run("restore", "latest", "--target", target)


Maker = Callable[[str, Path], Safehold | Restic]


def makers(words: argparse.Namespace) -> dict[str, Maker]:
    """What is measured, in the order of turns.  Each makes an empty repository of a name of its own."""
    s3, _, bucket = words.s3.rpartition("/")
    host, _, folder = words.sftp.partition("/")
    return {
        "safehold local": lambda name, scratch: Safehold(words.safehold, str(scratch / name), scratch, s3),
        "safehold s3": lambda name, scratch: Safehold(words.safehold, f"s3://{bucket}/{name}", scratch, s3),
        "restic s3": lambda name, scratch: Restic(words.restic, f"s3:{s3}/{bucket}/{name}", scratch),
        "safehold sftp": lambda name, scratch: Safehold(words.safehold, f"sftp://{host}/{folder}/{name}", scratch, s3),
        "restic sftp": lambda name, scratch: Restic(words.restic, f"sftp:{host}:/{folder}/{name}", scratch),
    }


def timed(action: Callable[[], None]) -> tuple[float, float]:
    """Wall seconds, and CPU seconds of the processes that were run here (servers not counted)."""
    subprocess.run(["sync"], check=True)
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    action()
    wall, after = time.monotonic() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tree")
    parser.add_argument("--s3", required=True)
    parser.add_argument("--sftp", required=True)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--only", default="", help="programs and places, separated by commas")
    parser.add_argument("--restic", default=str(WORK / "peers" / "bin" / "restic"))
    parser.add_argument("--safehold", default=str(Path(__file__).parent.parent / ".venv" / "bin" / "safehold"))
    words = parser.parse_args()
    wanted = {name: make for name, make in makers(words).items() if not words.only or name in words.only.split(",")}
    subprocess.run(["tar", "cf", "/dev/null", words.tree], check=True)  # into the page cache
    found: dict[str, dict[str, list[tuple[float, float]]]] = {name: {"backup": [], "restore": []} for name in wanted}
    with tempfile.TemporaryDirectory(prefix="bench-stores-") as folder:
        for run in range(words.runs):
            for name, make in wanted.items():
                program = make(f"bench-{secrets.token_hex(4)}", Path(folder))
                found[name]["backup"].append(timed(lambda p=program: p.backup(words.tree)))  # type: ignore[misc]
                target = Path(folder) / "restored"
                found[name]["restore"].append(timed(lambda p=program, t=str(target): p.restore(t)))  # type: ignore[misc]
                shutil.rmtree(target)
                print(run, name, *(f"{found[name][what][-1][0]:.1f} s" for what in found[name]), flush=True)
    report(found)


def report(found: dict[str, dict[str, list[tuple[float, float]]]]) -> None:
    """Medians, and ratios to our own local ones and to restic at the same place."""
    print("| | backup | CPU | restore | CPU | backup by local | backup by restic | restore by restic |")
    print("|---|---|---|---|---|---|---|---|")
    median = {
        name: {what: [statistics.median(column) for column in zip(*runs, strict=True)] for what, runs in of.items()}
        for name, of in found.items()
    }
    for name, of in median.items():
        peer = median.get(name.replace("safehold", "restic")) if name.startswith("safehold") else None
        local = median.get("safehold local")
        cells = [f"{of[what][part]:.1f} s" for what in ("backup", "restore") for part in (0, 1)]
        cells.append(f"{of['backup'][0] / local['backup'][0]:.2f}" if local else "")
        cells += [f"{of[what][0] / peer[what][0]:.2f}" if peer else "" for what in ("backup", "restore")]
        print(f"| {name} | {' | '.join(cells)} |")
    results = WORK / "results"
    results.mkdir(parents=True, exist_ok=True)
    (results / f"stores-{time.strftime('%Y%m%d-%H%M%S')}.json").write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
