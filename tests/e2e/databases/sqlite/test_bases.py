"""SQLite databases backed up while they are written to, and what else may lie at a path."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import sqlite_databases as databases
from cli_program import Program


@pytest.mark.parametrize(("mode", "page"), [("wal", 512), ("wal", 4096), ("wal", 65536), ("delete", 4096), ("truncate", 1024)])
def test_a_database_at_full_speed(safehold: Program, tmp_path: Path, mode: str, page: int) -> None:
    path = databases.make(tmp_path / "data.db", mode=mode, page=page)
    seen = []
    with databases.application(path, f"PRAGMA journal_mode = {mode}", "PRAGMA synchronous = OFF") as application:
        for number in range(2):
            safehold.do("backup", f"sqlite:{path}", "--check", "quick")
            target = tmp_path / f"restored-{number}"
            safehold.do("restore", "latest", "--target", target, "--verify")
            seen.append(databases.verify(target))
        done, _ = application.stop()
    assert 0 < seen[0] < seen[1] <= done
    assert databases.verify(path) == done


@pytest.mark.parametrize("often", ["PRAGMA wal_checkpoint(TRUNCATE)", "PRAGMA wal_checkpoint(RESTART)", "VACUUM"])
def test_an_application_that_checkpoints(safehold: Program, tmp_path: Path, often: str) -> None:
    path = databases.make(tmp_path / "data.db")
    with databases.application(path, "PRAGMA wal_autocheckpoint = 10", f"often:{often}"):
        for number in range(4):
            safehold.do("backup", f"sqlite:{path}")
            safehold.do("restore", "latest", "--target", tmp_path / f"restored-{number}")
            databases.verify(tmp_path / f"restored-{number}")


def test_changed_pages_alone_are_stored_again_even_by_a_writer(safehold: Program, tmp_path: Path) -> None:
    path = databases.make(tmp_path / "data.db", accounts=20000)
    key = tmp_path / "writer.key"
    safehold.do("key", "writer", key)
    safehold.set(SAFEHOLD_KEY_FILE=str(key))
    first = safehold.do("backup", f"sqlite:{path}", "--json").value
    assert int(first["bytes_added"]) > 5_000_000
    numbers = random.Random(1).sample(range(1, 20001), 50)
    databases.run(path, f"UPDATE accounts SET note = randomblob(40) WHERE id IN ({','.join(map(str, numbers))})")
    second = safehold.do("backup", f"sqlite:{path}", "--json").value
    assert int(second["bytes_added"]) < 50 * 4096 + 40_000
    third = safehold.do("backup", f"sqlite:{path}", "--json").value
    assert int(third["bytes_added"]) < 10_000
    safehold.set(SAFEHOLD_KEY_FILE=str(safehold.key))
    safehold.do("restore", "latest", "--target", tmp_path / "restored")
    databases.verify(tmp_path / "restored", 20000)


def test_what_a_killed_application_leaves(safehold: Program, tmp_path: Path) -> None:
    path = databases.make(tmp_path / "data.db")
    with databases.application(path) as application:
        time.sleep(0.3)
        application.kill()
    assert (tmp_path / "data.db-wal").stat().st_size
    safehold.do("backup", f"sqlite:{path}")
    safehold.do("restore", "latest", "--target", tmp_path / "restored")
    assert databases.verify(tmp_path / "restored") == databases.lines(path) > 0


def test_a_transaction_that_was_cut_off_in_rollback_mode(safehold: Program, tmp_path: Path) -> None:
    path = databases.make(tmp_path / "data.db", mode="delete")
    code = (
        "import os, sqlite3, sys\ndb = sqlite3.connect(sys.argv[1], isolation_level=None)\ndb.execute('PRAGMA cache_size = 1')\n"
        "db.execute('BEGIN')\ndb.execute('UPDATE accounts SET balance = 0, note = randomblob(40)')\nos._exit(0)"
    )
    subprocess.run([sys.executable, "-c", code, path], check=True)
    assert (tmp_path / "data.db-journal").exists()
    safehold.do("backup", f"sqlite:{path}")
    safehold.do("restore", "latest", "--target", tmp_path / "restored")
    assert databases.verify(tmp_path / "restored") == 0


@pytest.fixture
def frozen(tmp_path: Path) -> Iterator[Path]:
    """A folder whose contents can be mounted read-only by ``freeze``."""
    place = tmp_path / "disc"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", place], check=True)
    yield place
    subprocess.run(["umount", place], check=True)


def test_media_that_nobody_can_write_to(safehold: Program, tmp_path: Path, frozen: Path) -> None:
    path = databases.make(frozen / "data.db")
    with databases.application(path) as application:
        time.sleep(0.2)
        application.kill()
    subprocess.run(["mount", "-o", "remount,ro", frozen], check=True)
    safehold.do("backup", f"sqlite:{path}", "--check", "full")
    safehold.do("restore", "latest", "--target", tmp_path / "restored")
    assert databases.verify(tmp_path / "restored") > 0


def test_what_is_no_database(safehold: Program, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no database" * 1000)
    (tmp_path / "secret.db").write_bytes(os.urandom(8192))
    (tmp_path / "empty.db").touch()
    for name in ("text", "secret.db"):
        refused = safehold("backup", f"sqlite:{tmp_path / name}")
        assert refused.status == 1 and f"{name} is no SQLite database, or an encrypted one" in refused.err
    assert "There is no" in safehold("backup", f"sqlite:{tmp_path / 'missing'}").err
    assert safehold("backup", "sqlite:").status == 2
    assert safehold("backup", f"sqlite:{tmp_path / 'text'}", "--exclude", "x").status == 2
    assert safehold("backup", tmp_path / "text", "--check", "quick").status == 2
    safehold.do("backup", f"sqlite:{tmp_path / 'empty.db'}")
    safehold.do("restore", "latest", "--target", tmp_path / "restored")
    assert (tmp_path / "restored").read_bytes() == b""
    assert len(safehold.do("snapshots", "--json").value["snapshots"]) == 1  # type: ignore[arg-type]


def test_a_database_that_another_holds_for_itself(safehold: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = databases.make(tmp_path / "data.db")
    code = (
        "import sqlite3, sys, time\ndb = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "db.execute('PRAGMA locking_mode = EXCLUSIVE')\ndb.execute('BEGIN IMMEDIATE')\ndb.execute('COMMIT')\n"
        "print('held', flush=True)\ntime.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", code, path], stdout=subprocess.PIPE)
    try:
        assert holder.stdout is not None and holder.stdout.readline()
        refused = safehold("backup", f"sqlite:{path}")
        assert refused.status == 1 and "locked" in refused.err and "holds it for itself" in refused.err
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.communicate()


def test_damage_in_the_database_is_told(safehold: Program, tmp_path: Path) -> None:
    path = databases.make(tmp_path / "data.db", mode="delete")
    with path.open("r+b") as file:
        file.seek(4096 * 20)
        file.write(os.urandom(2000))
    checked = safehold("backup", f"sqlite:{path}", "--check", "full")
    assert checked.status == 3 and "SQLite finds" in checked.err
    refused = safehold("restore", "latest", "--target", tmp_path / "restored", "--verify")
    assert refused.status == 4 and not (tmp_path / "restored").exists()
    safehold.do("restore", "latest", "--target", tmp_path / "restored")
    assert (tmp_path / "restored").read_bytes() == path.read_bytes()


def test_a_database_and_its_replacement_are_not_the_same(safehold: Program, tmp_path: Path) -> None:
    path = databases.make(tmp_path / "data.db")
    copy = shutil.copy(path, tmp_path / "copy.db")
    systems = []
    for source in (path, path, copy):
        safehold.do("backup", f"sqlite:{source}")
        systems.append(_system(safehold))
    os.replace(databases.make(tmp_path / "new.db"), path)
    safehold.do("backup", f"sqlite:{path}")
    systems.append(_system(safehold))
    assert systems[0] == systems[1] and len(set(systems)) == 3


def _system(safehold: Program) -> str:
    from safehold.codec.keyfile import KeyFile
    from safehold.repo.repository import open_repository
    from safehold.storage.local import LocalStore

    key = KeyFile.parse(safehold.key.read_text())
    repository = open_repository(LocalStore(safehold.repository), key, safehold.folder / "look")
    database = repository.visible_snapshots()[-1].snapshot.source.database
    assert database is not None and database.engine == "sqlite" and database.facts["mode"] == "wal"
    return database.system


def test_a_target_that_is_taken(safehold: Program, tmp_path: Path) -> None:
    path = databases.make(tmp_path / "data.db")
    path.chmod(0o640)
    os.chown(path, 65534, 65534)
    safehold.do("backup", f"sqlite:{path}")
    target = databases.make(tmp_path / "target.db", accounts=100)
    refused = safehold("restore", "latest", "--target", target)
    assert refused.status == 1 and "--overwrite always" in refused.err
    with databases.application(target) as application:
        refused = safehold("restore", "latest", "--target", target, "--overwrite", "always")
        assert refused.status == 1 and f"process {application.process.pid}" in refused.err
        application.kill()  # leaves a WAL, which must not be replayed into another database
    assert (tmp_path / "target.db-wal").stat().st_size
    safehold.do("restore", "latest", "--target", target, "--overwrite", "always")
    assert databases.verify(target) == 0
    assert (target.stat().st_mode & 0o7777, target.stat().st_uid) == (0o640, 65534)
    assert sorted(name for name in os.listdir(tmp_path) if name.startswith("target")) == ["target.db"]
    (tmp_path / "folder").mkdir()
    safehold.do("restore", "latest", "--target", tmp_path / "folder")
    databases.verify(tmp_path / "folder" / "data.db")


def test_one_table(safehold: Program, tmp_path: Path) -> None:
    path = databases.make(tmp_path / "data.db")
    with closing(sqlite3.connect(path)) as db:
        db.executescript(
            """
            CREATE TABLE "odd ""name" (a TEXT, b REAL, c AS (a || '!') STORED, d BLOB);
            CREATE INDEX by_a ON "odd ""name" (a);
            INSERT INTO "odd ""name" (a, b, d) VALUES ('it''s', 1.5, x'00ff'), (NULL, -1e300, NULL);
            CREATE VIRTUAL TABLE words USING fts5(text);
            """
        )
    safehold.do("backup", f"sqlite:{path}")
    sql, new = tmp_path / "some.sql", tmp_path / "some.db"
    for target in (sql, new):
        safehold.do("restore", "latest", "--target", target, "--extract", 'odd "name', "--extract", "ledger")
    with closing(sqlite3.connect(tmp_path / "replayed.db")) as db:
        db.executescript(sql.read_text())
    for made in (new, tmp_path / "replayed.db"):
        with closing(sqlite3.connect(made)) as db:
            assert db.execute('SELECT * FROM "odd ""name" ORDER BY a').fetchall() == [
                (None, -1e300, None, None),
                ("it's", 1.5, "it's!", b"\0\xff"),
            ]
            names = {row[0] for row in db.execute("SELECT name FROM sqlite_schema")}
            assert {"by_a", "ledger"} <= names and "accounts" not in names
    missing = safehold("restore", "latest", "--target", tmp_path / "x.sql", "--extract", "nothing")
    assert missing.status == 1 and "accounts" in missing.err and not (tmp_path / "x.sql").exists()
    assert safehold("restore", "latest", "--target", tmp_path / "x.sql", "--extract", "words").status == 2
