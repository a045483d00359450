"""SQLite: how long commits take while a database is followed, and what backups of a database in use cost.

``python bench/sqlite.py [delays|backups]``: an application writes 1,000 transactions a second in a process of its own, by
itself and beside each follower in turn; then a database of about 330 MB is backed up by each way there is, before and after
7,000 updates.  Litestream is measured if LITESTREAM names it.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

SECONDS = 15.0
RATE = 1000

APPLICATION = """
import json, os, random, sqlite3, sys, time
path, rate, seconds = sys.argv[1], float(sys.argv[2]), float(sys.argv[3])
db = sqlite3.connect(path, timeout=30, isolation_level=None)
db.execute("PRAGMA synchronous = NORMAL")
accounts = db.execute("SELECT max(id) FROM accounts").fetchone()[0]
draw, took, largest, number = random.Random(1), [], 0, 0
began = time.monotonic()
while time.monotonic() - began < seconds:
    pause = began + number / rate - time.monotonic() if rate else 0
    if pause > 0:
        time.sleep(pause)
    number += 1
    a, b = draw.randrange(accounts) + 1, draw.randrange(accounts) + 1
    started = time.perf_counter()
    db.execute("BEGIN IMMEDIATE")
    db.execute("UPDATE accounts SET balance = balance - 1 WHERE id = ?", (a,))
    db.execute("UPDATE accounts SET balance = balance + 1 WHERE id = ?", (b,))
    db.execute("COMMIT")
    took.append((time.perf_counter() - started) * 1000)
    if number % 100 == 0:
        largest = max(largest, os.stat(path + "-wal").st_size)
took.sort()
at = lambda share: round(took[min(len(took) - 1, int(len(took) * share))], 2)
print(json.dumps({"tx/s": round(number / seconds), "p50": at(0.5), "p99": at(0.99), "p99.9": at(0.999), "max": round(took[-1], 1),
                  "over 50 ms": sum(ms > 50 for ms in took), "WAL MB": round(largest / 1e6, 1)}))
"""


def make(path: Path, accounts: int) -> Path:
    """A database in WAL mode."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode = WAL").fetchall()
        db.execute("CREATE TABLE accounts (id INTEGER PRIMARY KEY, balance INTEGER, filling BLOB)")
        db.execute("BEGIN")
        db.executemany("INSERT INTO accounts VALUES (NULL, 1000, ?)", ((os.urandom(150) + bytes(150),) for _ in range(accounts)))
        db.execute("COMMIT")
    return path


def application(path: Path, rate: float, seconds: float = SECONDS) -> dict[str, float]:
    """What an application sees."""
    done = subprocess.run(
        [sys.executable, "-c", APPLICATION, path, str(rate), str(seconds)], stdout=subprocess.PIPE, text=True, check=True
    )
    return dict(json.loads(done.stdout))


class Safehold:
    """The program with a repository of its own."""

    def __init__(self, folder: Path) -> None:
        self.environ = os.environ | {
            "SAFEHOLD_REPO": str(folder / "repository"), "SAFEHOLD_KEY_FILE": str(folder / "key"),
            "SAFEHOLD_CACHE_DIR": str(folder / "cache"), "SAFEHOLD_STATE_DIR": str(folder / "state"),
        }  # fmt: skip
        self("init", "--key-file", folder / "key")

    def __call__(self, *words: object) -> dict[str, object]:
        command = [sys.executable, "-m", "safehold", *map(str, words), "--json", "--quiet"]
        done = subprocess.run(command, env=self.environ, stdout=subprocess.PIPE, check=True)
        return dict(json.loads(done.stdout.splitlines()[-1])) if done.stdout else {}

    @contextmanager
    def watch(self, path: Path) -> Iterator[None]:
        """Follow a database."""
        command = [sys.executable, "-m", "safehold", "db", "watch", f"sqlite:{path}", "--every", "5", "--json"]
        with subprocess.Popen(command, env=self.environ, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
            assert process.stdout is not None
            while b'"base"' not in process.stdout.readline():
                pass
            yield
            process.send_signal(signal.SIGTERM)
            process.stdout.read()


@contextmanager
def litestream(program: str, path: Path, folder: Path) -> Iterator[None]:
    """Litestream, with its defaults, into a folder."""
    process = subprocess.Popen(
        [program, "replicate", path, f"file://{folder / 'replica'}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    time.sleep(3)
    yield
    process.send_signal(signal.SIGTERM)
    process.wait()


def delays(folder: Path) -> None:
    """Commits by themselves, and beside each follower; twice, in turn."""
    safehold = Safehold(folder)
    other = os.environ.get("LITESTREAM", "")
    for run in range(2):
        for rate in (RATE, 0):
            path = make(folder / f"{run}-{rate}-alone.db", 50_000)
            _row(f"{rate or 'all it can'} tx/s alone", application(path, rate))
            path = make(folder / f"{run}-{rate}-safehold.db", 50_000)
            with safehold.watch(path):
                _row(f"{rate or 'all it can'} tx/s, safehold db watch", application(path, rate))
            if other:
                path = make(folder / f"{run}-{rate}-litestream.db", 50_000)
                with litestream(other, path, folder):
                    _row(f"{rate or 'all it can'} tx/s, litestream", application(path, rate))


def backups(folder: Path) -> None:
    """A database of about 330 MB under 200 transactions a second."""
    safehold = Safehold(folder)
    path = make(folder / "large.db", 1_050_000)
    print(f"database: {path.stat().st_size / 1e6:.0f} MB")
    ways: list[tuple[str, Callable[[], object]]] = [
        ("safehold backup", lambda: safehold("backup", f"sqlite:{path}")),
        ("sqlite3 .backup", lambda: _sqlite(path, f".backup {folder / 'copy'}")),
        ("VACUUM INTO", lambda: _sqlite(path, f"VACUUM INTO '{folder / 'copy'}'")),
    ]
    for state in ("new", "unchanged", "after 7,000 updates"):
        if state.startswith("after"):
            with closing(sqlite3.connect(path)) as db:
                db.execute("UPDATE accounts SET balance = balance + 1 WHERE id % 150 = 0")
                db.commit()
        for name, way in ways:
            (folder / "copy").unlink(missing_ok=True)
            before, started = _size(folder / "repository"), time.monotonic()
            writer = subprocess.Popen([sys.executable, "-c", APPLICATION, path, "200", "4"], stdout=subprocess.PIPE, text=True)
            time.sleep(0.5)
            started = time.monotonic()
            way()
            seconds = time.monotonic() - started
            out, _ = writer.communicate()
            stored = _size(folder / "repository") - before if name.startswith("safehold") else _size(folder / "copy")
            _row(
                f"{state}: {name}",
                {"s": round(seconds, 2), "stored MB": round(stored / 1e6, 2), "max ms": json.loads(out)["max"]},
            )


def _sqlite(path: Path, command: str) -> None:
    subprocess.run(["sqlite3", path, ".timeout 30000", command], check=True)


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else sum(f.stat().st_size for f in path.rglob("*") if f.is_file())


def _row(name: str, values: dict[str, float]) -> None:
    print(f"{name:42}", "  ".join(f"{key} {value}" for key, value in values.items()), flush=True)


def main() -> int:
    """Measure what is asked for, or all."""
    for each in sys.argv[1:] or ["delays", "backups"]:
        folder = Path(tempfile.mkdtemp(prefix="safehold-bench-"))
        try:
            {"delays": delays, "backups": backups}[each](folder)
        finally:
            shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
