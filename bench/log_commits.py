"""What listings take where a database's log was committed very many times.

    python bench/log_commits.py make FOLDER [--commits 5000]
    python bench/log_commits.py measure FOLDER [--runs 3] [--safehold PROGRAM]

``make`` makes a repository with a base of a PostgreSQL cluster and so many commits of its log, a segment each (real objects,
made as the uploader makes them; only what is in the segments is short).  ``measure`` runs the commands that look at all of
them: first without the local cache, then with it.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

from safehold.codec.keyfile import KeyFile
from safehold.ops.backup.memory import Memory
from safehold.ops.databases import logs
from safehold.ops.databases.assembly import Assembly
from safehold.ops.databases.recording import Filled, RecordOptions, record_database
from safehold.repo import config, repository
from safehold.repo.repository import Repository
from safehold.repo.snapshots import Database
from safehold.sources.postgresql.positions import segment_name
from safehold.storage.local import LocalStore

SEGMENT = 16 << 20
SYSTEM = "7300000000000000001"
NAME = "postgresql://postgres@/postgres"
BEGUN_NS = 1_790_000_000 * 10**9
EVERY_NS = 15 * 10**9
"""A commit each 15 seconds: 5,760 a day."""
COMMANDS = (["snapshots"], ["snapshots", "--logs", "--json"], ["db", "status"], ["ls", "latest"])


def make(folder: Path, commits: int) -> None:
    """The repository, its key file and a filled local cache."""
    folder.mkdir()
    repository_id = os.urandom(16)
    key = KeyFile.new(repository_id, os.urandom)
    (folder / "key").write_text(key.text())
    (folder / "key").chmod(0o600)
    store = LocalStore(folder / "repo", create=True)
    made = repository.create(store, key, folder / "cache", parameters=lambda _: config.Config(id=repository_id.hex()))
    _base(made)
    database = Database(engine="postgresql", system=SYSTEM, name=NAME)
    for number in range(1, commits + 1):
        logs.commit(made, database, [_segment(number)], RecordOptions())
        if number % 500 == 0:
            print(f"{number} commits", flush=True)


def _base(made: Repository) -> None:
    def fill(assembly: Assembly, memory: Memory) -> Filled:
        del memory
        assembly.data(b"data/PG_VERSION", b"17\n")
        facts = {"wal_segment_size": str(SEGMENT)}
        base = Database(
            engine="postgresql",
            system=SYSTEM,
            name=NAME,
            timeline=1,
            start=SEGMENT,
            stop=SEGMENT + 400,
            stop_ns=BEGUN_NS,
            facts=facts,
        )
        return Filled(database=base)

    record_database(made, "postgresql", "base", RecordOptions(), fill)


def _segment(number: int) -> logs.NewLog:
    content = [os.urandom(200)]
    at, start = BEGUN_NS + number * EVERY_NS, number * SEGMENT
    log = logs.Log(
        segment_name(1, start, SEGMENT),
        1,
        start,
        start + SEGMENT,
        hashlib.sha256(content[0]).digest(),
        at - EVERY_NS,
        at,
        {"end": str(start + SEGMENT), "xids": f"{number * 1000}-{number * 1000 + 999}"},
    )
    return logs.NewLog(log, lambda _: content.pop() if content else b"")


def measure(folder: Path, program: str, runs: int) -> None:
    """Wall and CPU seconds of each command, without and with the cache."""
    cache = folder / "cache of the measurement"
    environ = {**os.environ, "SAFEHOLD_CACHE_DIR": str(cache)}
    options = ["--repo", str(folder / "repo"), "--key-file", str(folder / "key")]
    for command in COMMANDS:
        shutil.rmtree(cache, ignore_errors=True)
        for number in range(runs + 1):
            before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
            subprocess.run([program, *command, *options], env=environ, check=True, stdout=subprocess.DEVNULL)
            wall, after = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
            cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            print(
                f"{' '.join(command):24} {'with' if number else 'without'} the cache: {wall:6.2f} s, CPU {cpu:6.2f} s", flush=True
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("make", "measure"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--commits", type=int, default=5000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--safehold", default=str(Path(sys.executable).with_name("safehold")))
    values = parser.parse_args()
    if values.what == "make":
        make(values.folder, values.commits)
    else:
        measure(values.folder, values.safehold, values.runs)


if __name__ == "__main__":
    main()
