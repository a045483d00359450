"""A repository of ten million chunks: how fast it opens, backs up a small tree, and plans a prune.

    .venv/bin/python bench/huge.py [MILLIONS]

The index shards are real, written by the program's own code; the packs they name are empty files of the right size, since
nothing here reads them.  The small tree is backed up for real first, so that its packs and trees are.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import tempfile
from multiprocessing import Process
from pathlib import Path

from measure import Command, run_measured

from safehold.codec.passphrase import Passphrase
from safehold.repo import repository, shards
from safehold.repo.packs import Footer, PackRecord, SegmentRef
from safehold.repo.seals import DATA, SessionRef
from safehold.storage.open import open_store

PASSWORD = "bench"
PER_PACK = 5000
PER_SHARD = 200
"""Packs in a shard: a million chunks."""
PER_SEGMENT = 100
PACK_SIZE = 32 * 1024 * 1024


def main(millions: int) -> int:
    """Build, measure, print; the exit status."""
    work = Path(tempfile.mkdtemp(prefix="safehold-huge-", dir=Path(__file__).parent / "work"))
    try:
        small = _small_tree(work / "small")
        environment = {"SAFEHOLD_PASSWORD": PASSWORD, "SAFEHOLD_CACHE_DIR": str(work / "cache")}
        program = str(Path(sys.executable).with_name("safehold"))
        store = open_store(str(work / "repository"), create=True)
        repository.create(store, Passphrase(PASSWORD), work / "cache")
        backup = Command((program, "-r", str(work / "repository"), "backup", str(small)), environment)
        _show("first backup of the small tree", backup, work)
        builder = Process(target=_build, args=(work, millions))  # apart, since its memory would show as that of what it starts
        builder.start()
        builder.join()
        print(f"{millions} million chunks in {millions} shards", flush=True)
        _show("unchanged backup, index never seen before", backup, work)
        (small / "one-more").write_text("a file that was not there")
        _show("one new file, index fetched", backup, work)
        for _ in range(3):
            _show("unchanged backup", backup, work)
        (small / "another").write_text("another file that was not there")
        _show("one new file, index in the cache", backup, work)
        _show("prune --dry-run", Command((program, "-r", str(work / "repository"), "prune", "--dry-run"), environment), work)
    finally:
        shutil.rmtree(work)
    return 0


def _small_tree(folder: Path) -> Path:
    for number in range(1000):
        path = folder / f"{number % 20}" / f"{number}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"file {number}\n" * 50)
    return folder


def _build(work: Path, millions: int) -> None:
    """Add shards of a million chunks each, without leaving anything in the cache that is measured."""
    opened = repository.open_repository(open_store(str(work / "repository")), Passphrase(PASSWORD), work / "builder")
    for number in range(millions):
        _add_shard(opened, work / "repository", number)
    shutil.rmtree(work / "builder")


def _add_shard(made: repository.Repository, folder: Path, number: int) -> None:
    session = made.seals.new_session().ref
    records = [_pack(folder, session, number * PER_SHARD + pack) for pack in range(PER_SHARD)]
    made.index.publish(shards.encode(records))


def _pack(folder: Path, session: SessionRef, number: int) -> PackRecord:
    pack_id = hashlib.sha256(b"pack %d" % number).digest()
    names = [hashlib.sha256(b"%d %d" % (number, chunk)).digest()[:24] for chunk in range(PER_PACK)]
    starts = range(0, PER_PACK, PER_SEGMENT)
    segments = [SegmentRef(os.urandom(16), 0, 16 + at * 6000, PER_SEGMENT * 6000, 0, 0, bytes(32)) for at in starts]
    chunks = [[(name, 8192) for name in names[at : at + PER_SEGMENT]] for at in starts]
    path = folder / "packs" / pack_id.hex()[:2] / pack_id.hex()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.truncate(PACK_SIZE)
    return PackRecord(pack_id, DATA, PACK_SIZE, Footer([session], segments), chunks)


def _show(what: str, command: Command, work: Path) -> None:
    cost = run_measured(command, work / "log")
    print(f"{what:45} {cost.wall:7.2f} s wall {cost.cpu:7.2f} s cpu {cost.peak_rss / 2**20:6.0f} MiB", flush=True)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 10))
