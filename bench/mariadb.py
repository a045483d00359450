"""MariaDB: a base and the next one after scattered updates, beside ``mariadb-backup --stream=xbstream | zstd -3 -T2``.

    .venv/bin/python bench/mariadb.py [--rows 3000000] [--updates 100000] [--runs 3]

Both read the same server in turns, right after each other; the median of each, sizes and the ratios are printed.
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
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from mariadb_servers import Server, folder_for_servers


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=3_000_000)
    parser.add_argument("--updates", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=3)
    values = parser.parse_args()
    with folder_for_servers() as folder, tempfile.TemporaryDirectory(prefix="sh-bench-") as work:
        server = Server(folder / "d", innodb_buffer_pool_size="512M", innodb_log_file_size="512M").init().start()
        try:
            _fill(server, values.rows)
            _measure(server, Path(work), values.runs, values.updates, values.rows)
        finally:
            server.kill()


def _fill(server: Server, rows: int) -> None:
    server.sql(
        "create database bench",
        "create table bench.t (id int primary key auto_increment, k int, c char(120), pad char(60), key(k)) engine=innodb",
        *(
            "insert into bench.t (k, c, pad) select floor(rand() * 1000000), concat(md5(rand()), md5(rand()), md5(rand())),"
            f" md5(rand()) from seq_1_to_{min(500_000, rows - done)}"
            for done in range(0, rows, 500_000)
        ),
    )


def _measure(server: Server, work: Path, runs: int, updates: int, rows: int) -> None:
    figures: dict[tuple[str, str], list[tuple[float, float, int]]] = {}
    for number in range(runs):
        ours = _Safehold(work / f"r{number}")
        for phase in ("full", f"after {updates} updates", "nothing changed"):
            if phase.startswith("after"):
                _update(server, updates, rows)
            server.sql("set global innodb_max_purge_lag_wait = 0", "set global innodb_log_checkpoint_now = on")
            peer = partial(_peer, work=work, number=number, incremental=phase != "full")
            for name, run in (("safehold", ours.backup), ("mariadb-backup", peer)):
                began, cpu = time.monotonic(), _cpu()
                size = run(server)
                figures.setdefault((phase, name), []).append((time.monotonic() - began, _cpu() - cpu, size))
                print(f"  {phase:24} {name:16} %7.2f s %7.2f s cpu %9d B" % figures[phase, name][-1], file=sys.stderr)
        shutil.rmtree(ours.folder)
    print("| case | Safehold | mariadb-backup, zstd -3 -T2 | time | CPU | size |\n| --- | --- | --- | --- | --- | --- |")
    for phase in dict.fromkeys(phase for phase, _ in figures):
        mine, theirs = (
            [statistics.median(column) for column in zip(*figures[phase, name], strict=True)]
            for name in ("safehold", "mariadb-backup")
        )
        cells = [f"{wall:.2f} s, {cpu:.2f} s CPU, {size / 1e6:.1f} MB" for wall, cpu, size in (mine, theirs)]
        ratios = [f"{a / b:.2f}" for a, b in zip(mine, theirs, strict=True)]
        print(f"| {' | '.join([phase, *cells, *ratios])} |")


def _cpu() -> float:
    """Seconds of all programs that have ended: what other load on the machine does not change much."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _update(server: Server, updates: int, rows: int) -> None:
    server.sql(
        "create or replace table bench.chosen (id int primary key) engine=memory",
        f"insert ignore into bench.chosen select floor(1 + rand() * {rows}) from seq_1_to_{updates}",
        "update bench.t join bench.chosen using (id) set t.k = t.k + 1, t.pad = md5(rand())",
        "drop table bench.chosen",
    )


class _Safehold:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self._environ = os.environ | {
            "SAFEHOLD_REPO": str(folder / "repo"),
            "SAFEHOLD_KEY_FILE": str(folder / "key"),
            "SAFEHOLD_CACHE_DIR": str(folder / "cache"),
        }
        self._run("init", str(folder / "repo"), "--key-file", str(folder / "key"))

    def backup(self, server: Server) -> int:
        """What the repository grows by."""
        before = _size(self.folder / "repo")
        self._run("backup", server.url)
        return _size(self.folder / "repo") - before

    def _run(self, *words: str) -> None:
        subprocess.run([sys.executable, "-m", "safehold", *words], check=True, env=self._environ, stdout=subprocess.DEVNULL)


def _peer(server: Server, work: Path, number: int, incremental: bool) -> int:
    out, lsn = work / "peer.zst", work / f"lsn{number}"
    fresh = work / "lsn-new"
    shutil.rmtree(fresh, ignore_errors=True)
    command = f"mariadb-backup --no-defaults --backup --stream=xbstream --parallel=2 --target-dir={work}/t --extra-lsndir={fresh}"
    command += f" --user=root --socket={server.socket}" + (f" --incremental-basedir={lsn}" if incremental else "")
    piped = f"set -o pipefail; {command} 2>{work}/peer.log | zstd -q -f -3 -T2 -o {out}"
    subprocess.run(["bash", "-c", piped], check=True)
    with out.open("rb") as file:
        os.fsync(file.fileno())  # as Safehold does with what it stores
    shutil.rmtree(lsn, ignore_errors=True)
    fresh.rename(lsn)
    return out.stat().st_size


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


if __name__ == "__main__":
    main()
