"""SQLite databases that are followed: nothing is lost, every moment comes back as it was, and doubt makes a new base."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import pytest
import sqlite_databases as databases
from cli_program import Program


class Watch:
    """`safehold db watch` in a process of its own."""

    def __init__(self, safehold: Program, *words: object) -> None:
        self.process = safehold.start("db", "watch", *words, "--every", 1, "--json")
        self.events: list[dict[str, object]] = []
        self.errors: list[str] = []
        self._threads = [
            threading.Thread(target=self._read, args=(self.process.stdout, lambda line: self.events.append(json.loads(line)))),
            threading.Thread(target=self._read, args=(self.process.stderr, self.errors.append)),
        ]
        for thread in self._threads:
            thread.start()

    def _read(self, pipe: object, take: object) -> None:
        for line in pipe:  # type: ignore[attr-defined]
            take(line.decode())  # type: ignore[operator]

    def count(self, action: str) -> int:
        return sum(event["action"] == action for event in self.events)

    def wait(self, action: str, count: int = 1, seconds: float = 30) -> None:
        databases.until(lambda: self.count(action) >= count or self.process.poll() is not None, seconds)
        assert self.count(action) >= count, self.errors

    def follower(self) -> int:
        """The process that follows the WAL."""
        found = subprocess.run(
            ["pgrep", "-P", str(self.process.pid), "-f", "sqlite.follower"], stdout=subprocess.PIPE, text=True, check=False
        )
        return int(found.stdout.split()[0]) if found.stdout.split() else 0

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self._end()

    def kill(self) -> None:
        self.process.kill()
        self._end()

    def _end(self) -> int:
        status = self.process.wait(timeout=60)
        for thread in self._threads:
            thread.join()
        for pipe in (self.process.stdout, self.process.stderr):
            assert pipe is not None
            pipe.close()
        return status


@pytest.fixture
def watches(safehold: Program) -> Iterator[object]:
    """Starts watches, and ends those that are left."""
    made: list[Watch] = []

    def start(*words: object) -> Watch:
        made.append(Watch(safehold, *words))
        return made[-1]

    yield start
    for watch in made:
        if watch.process.poll() is None:
            watch.kill()


def restored(safehold: Program, tmp_path: Path, moment: str = "latest") -> int:
    """The ledger's lines at a moment, after every check."""
    target = tmp_path / "restored.db"
    safehold.do("restore", "latest", "--target", target, "--to-time", moment, "--overwrite", "always", "--verify")
    return databases.verify(target)


def words(moment: float) -> str:
    return f"{datetime.fromtimestamp(moment):%Y-%m-%d %H:%M:%S.%f}"


def plan(safehold: Program, moment: str = "latest") -> dict[str, object]:
    return safehold.do("restore", "latest", "--target", "x", "--plan", "--to-time", moment, "--json").value


def test_what_was_written_at_full_speed_is_all_there(safehold: Program, tmp_path: Path, watches) -> None:  # type: ignore[no-untyped-def]
    path = databases.make(tmp_path / "data.db")
    watch = watches(f"sqlite:{path}", "--max-wal", 2)
    with databases.application(path) as application:
        watch.wait("base")
        before = watch.count("logs")
        databases.until(lambda: watch.count("logs") >= before + 3)
        done, _ = application.stop()
    assert watch.stop() == 0
    assert restored(safehold, tmp_path) == done == databases.lines(path)
    told = plan(safehold)
    assert told["gaps"] == [] and int(str(told["logs"])) >= 1 and told["engine"] == "sqlite"


def test_recorded_moments_come_back(safehold: Program, tmp_path: Path, watches) -> None:  # type: ignore[no-untyped-def]
    path = databases.make(tmp_path / "data.db")
    watch = watches(f"sqlite:{path}")
    watch.wait("base")
    moments = []
    for _ in range(4):
        with databases.application(path, pause=0.001) as application:
            time.sleep(0.3)
            application.stop()
        time.sleep(1)
        moments.append((time.time(), databases.lines(path)))
        time.sleep(0.1)
    assert watch.stop() == 0
    assert [count for _, count in moments] == sorted({count for _, count in moments})
    for moment, count in moments:
        assert restored(safehold, tmp_path, words(moment)) == count
    future = safehold("restore", "latest", "--target", tmp_path / "x.db", "--to-time", words(time.time()))
    assert future.status == 1 and "cannot be restored" in future.err and "the last one before it is" in future.err
    past = safehold("restore", "latest", "--target", tmp_path / "x.db", "--to-time", "2020-01-01")
    assert past.status == 1 and "the next one after it is" in past.err
    assert not (tmp_path / "x.db").exists()


def test_no_moment_holds_what_came_after_it(safehold: Program, tmp_path: Path, watches) -> None:  # type: ignore[no-untyped-def]
    path = databases.make(tmp_path / "data.db")
    watch = watches(f"sqlite:{path}", "--max-wal", 2)
    with databases.application(path, pause=0.001) as application:
        watch.wait("base")
        began = time.time()
        time.sleep(3)
        ended = time.time()
        largest = Path(f"{path}-wal").stat().st_size  # the file does not become smaller when the WAL is begun anew
        done, _ = application.stop()
    assert watch.stop() == 0
    assert largest < max(12 << 20, 8000 * done // 2)
    for _ in range(3):
        moment = random.uniform(began + 0.5, ended)
        count = restored(safehold, tmp_path, words(moment))
        assert databases.run(tmp_path / "restored.db", f"SELECT count(*) FROM ledger WHERE at > {moment}") == "0"
        earlier = int(databases.run(path, f"SELECT count(*) FROM ledger WHERE at < {moment - 0.7}"))
        assert earlier <= count


@pytest.mark.parametrize("who", ["watch", "follower"])
def test_a_watch_that_is_killed_loses_nothing(safehold: Program, tmp_path: Path, watches, who: str) -> None:  # type: ignore[no-untyped-def]
    path = databases.make(tmp_path / "data.db")
    draw = random.Random(7)
    watch = watches(f"sqlite:{path}")
    with databases.application(path, pause=0.002) as application:
        watch.wait("base")
        for _ in range(6):
            time.sleep(draw.uniform(0.1, 0.8))
            if who == "watch":
                watch.kill()
                watch = watches(f"sqlite:{path}")
                watch.wait("started")
            else:
                count = watch.count("started")
                with suppress(ProcessLookupError):
                    os.kill(watch.follower(), signal.SIGKILL)
                databases.until(lambda: watch.count("started") > count)  # noqa: B023
        done, _ = application.stop()
    assert watch.stop() == 0
    assert restored(safehold, tmp_path) == done
    for reach in plan(safehold)["reachable"]:  # type: ignore[attr-defined]
        restored(safehold, tmp_path, reach["to"][:26])


def test_a_watch_goes_on_where_it_was_killed(safehold: Program, tmp_path: Path, watches) -> None:  # type: ignore[no-untyped-def]
    path = databases.make(tmp_path / "data.db")
    watch = watches(f"sqlite:{path}")
    watch.wait("base")
    with databases.application(path, pause=0.05) as application:
        for _ in range(3):
            time.sleep(0.5)
            watch.kill()
            time.sleep(0.5)
            watch = watches(f"sqlite:{path}")
            watch.wait("started")
            assert watch.events[0]["resumed"]
        done, _ = application.stop()
    assert watch.stop() == 0
    assert watch.count("base") == 0
    assert restored(safehold, tmp_path) == done
    assert plan(safehold)["gaps"] == []


def test_an_application_that_is_killed(safehold: Program, tmp_path: Path, watches) -> None:  # type: ignore[no-untyped-def]
    path = databases.make(tmp_path / "data.db")
    watch = watches(f"sqlite:{path}")
    watch.wait("base")
    for _ in range(5):
        with databases.application(path) as application:
            time.sleep(0.2)
            application.kill()
    time.sleep(0.3)
    count = databases.lines(path)
    assert watch.stop() == 0
    assert watch.count("doubt") == 0
    assert restored(safehold, tmp_path) == count


def test_an_application_that_checkpoints(safehold: Program, tmp_path: Path, watches) -> None:  # type: ignore[no-untyped-def]
    """In each of the ways that there are, in turn."""
    path = databases.make(tmp_path / "data.db")
    watch = watches(f"sqlite:{path}")
    watch.wait("base")
    ways = [f"often:PRAGMA wal_checkpoint({mode})" for mode in ("PASSIVE", "FULL", "RESTART", "TRUNCATE")]
    with databases.application(path, "PRAGMA wal_autocheckpoint = 5", *ways, pause=0.001) as application:
        databases.until(lambda: databases.lines(path) > 200 * 2 * len(ways), 60)
        done, slowest = application.stop()
    assert watch.stop() == 0
    assert watch.count("doubt") == 0 and watch.count("base") == 1
    assert restored(safehold, tmp_path) == done
    assert slowest < 20  # on any machine; bench/sqlite.py measures


def test_vacuum_and_the_end_of_wal_mode(safehold: Program, tmp_path: Path, watches) -> None:  # type: ignore[no-untyped-def]
    path = databases.make(tmp_path / "data.db")
    watch = watches(f"sqlite:{path}")
    watch.wait("base")
    with databases.application(path, "often:VACUUM", pause=0.001) as application:
        time.sleep(2)
        done, _ = application.stop()
    code = "import sqlite3, sys; db = sqlite3.connect(sys.argv[1], timeout=0.2); db.execute('PRAGMA journal_mode = DELETE')"
    refused = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=False)
    assert "locked" in refused.stderr
    assert watch.stop() == 0
    assert restored(safehold, tmp_path) == done
    databases.run(path, "PRAGMA journal_mode = DELETE", "DELETE FROM ledger WHERE id > 10")
    watch = watches(f"sqlite:{path}")
    watch.wait("base")
    assert watch.stop() == 0
    assert any("not in WAL mode" in line for line in watch.errors)
    safehold.do("restore", "latest", "--target", tmp_path / "last.db")
    assert databases.verify(tmp_path / "last.db") == 10


def test_another_database_in_its_place(safehold: Program, tmp_path: Path, watches) -> None:  # type: ignore[no-untyped-def]
    path = databases.make(tmp_path / "data.db")
    watch = watches(f"sqlite:{path}")
    watch.wait("base")
    databases.run(path, "INSERT INTO ledger (at) VALUES (1)")
    time.sleep(0.3)
    moment = time.time()
    time.sleep(0.3)
    new = databases.make(tmp_path / "new.db", mode="delete")
    databases.run(new, *["INSERT INTO ledger (at) VALUES (1)"] * 5)
    databases.run(new, "PRAGMA journal_mode = WAL")
    os.replace(new, path)
    for ending in ("-wal", "-shm"):
        Path(f"{path}{ending}").unlink(missing_ok=True)
    watch.wait("base", 2)
    databases.run(path, "INSERT INTO ledger (at) VALUES (1)")
    assert watch.stop() == 0
    assert watch.count("doubt") == 1
    assert restored(safehold, tmp_path) == 6
    assert restored(safehold, tmp_path, words(moment)) == 1
    assert len(plan(safehold)["gaps"]) == 1  # type: ignore[arg-type]


def test_a_damaged_frame(safehold: Program, tmp_path: Path, watches) -> None:  # type: ignore[no-untyped-def]
    path = databases.make(tmp_path / "data.db")
    watch = watches(f"sqlite:{path}")
    watch.wait("base")
    databases.run(path, "INSERT INTO ledger (at) VALUES (1)")
    holder = databases.Application(path, 60, ())  # so that the WAL stays
    time.sleep(0.5)
    watch.kill()
    log = Path(f"{path}-wal")
    before = log.stat().st_size
    databases.run(path, "INSERT INTO ledger (at) VALUES (1)")
    with log.open("r+b") as file:
        file.seek(before + 24 + 2000)  # unused space of the page
        file.write(b"\xff")
    watch = watches(f"sqlite:{path}")
    watch.wait("base")
    assert watch.stop() == 0
    holder.kill()
    assert "is damaged" in str(next(event["reason"] for event in watch.events if event["action"] == "doubt"))
    safehold.do("restore", "latest", "--target", tmp_path / "restored.db", "--to-time", "latest")
    assert databases.verify(tmp_path / "restored.db") == 3


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system that is soon full."""
    place = tmp_path / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", place], check=True)
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def test_a_journal_on_a_full_disk(safehold: Program, tmp_path: Path, watches, small: Path) -> None:  # type: ignore[no-untyped-def]
    path = databases.make(tmp_path / "data.db")
    watch = watches(f"sqlite:{path}", "--journal", small)
    watch.wait("base")
    with databases.application(path) as application:
        watch.wait("doubt")
        done, _ = application.stop()
    count = watch.count("started")
    watch.wait("started", count + 1)
    assert watch.stop() == 0
    assert any("No space left" in line for line in watch.errors)
    assert restored(safehold, tmp_path) == done


def test_a_repository_on_a_full_disk(safehold: Program, tmp_path: Path, watches, small: Path) -> None:  # type: ignore[no-untyped-def]
    path = databases.make(tmp_path / "data.db", accounts=200)
    safehold.do("init", small / "repository", "--key-file", tmp_path / "small.key")
    safehold.set(SAFEHOLD_REPO=str(small / "repository"), SAFEHOLD_KEY_FILE=str(tmp_path / "small.key"))
    watch = watches(f"sqlite:{path}")
    watch.wait("base")
    with databases.application(path, pause=0.001) as application:
        (small / "filling").write_bytes(bytes(shutil.disk_usage(small).free))
        databases.until(lambda: any("watch-waits" in line for line in watch.errors))
        done, _ = application.stop()
    (small / "filling").unlink()
    assert watch.stop() == 0
    assert restored_of(safehold, tmp_path, 200) == done
    assert plan(safehold)["gaps"] == []


def restored_of(safehold: Program, tmp_path: Path, accounts: int) -> int:
    safehold.do("restore", "latest", "--target", tmp_path / "restored.db", "--to-time", "latest", "--verify")
    return databases.verify(tmp_path / "restored.db", accounts)


def test_two_databases_and_a_second_watch(safehold: Program, tmp_path: Path, watches) -> None:  # type: ignore[no-untyped-def]
    paths = [databases.make(tmp_path / name) for name in ("one.db", "two.db")]
    watch = watches(*(f"sqlite:{path}" for path in paths))
    watch.wait("base", 2)
    for number, path in enumerate(paths):
        databases.run(path, *["INSERT INTO ledger (at) VALUES (1)"] * (number + 1))
    refused = safehold("db", "watch", f"sqlite:{paths[0]}")
    assert refused.status == 2 and "being followed into this repository already" in refused.err
    assert watch.stop() == 0
    shown = safehold.do("snapshots", "--json").value["snapshots"]
    for path in paths:
        snapshot = next(each for each in shown if each["paths"] == [str(path)])  # type: ignore[attr-defined]
        target = tmp_path / f"restored-{path.name}"
        safehold.do("restore", snapshot["id"], "--target", target, "--to-time", "latest")
        assert databases.verify(target) == paths.index(path) + 1
    assert safehold("db", "watch", "postgresql://localhost").status == 2
    assert safehold("db", "watch", f"sqlite:{tmp_path / 'missing.db'}").status == 1
