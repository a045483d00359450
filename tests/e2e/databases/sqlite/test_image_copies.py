"""Image copies of SQLite: made, rolled, killed, starved, and opened by mistake."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
import sqlite_databases as databases
from cli_program import Program

from safehold.ops.image_copies import rolls

ASK = 'import os, sqlite3; print(sqlite3.connect(os.environ["SAFEHOLD_IMAGE_URL"], uri=True).execute("{}").fetchone()[0])'


@pytest.fixture(autouse=True)
def state(safehold: Program) -> Path:
    folder = safehold.folder / "state"
    safehold.set(SAFEHOLD_STATE_DIR=str(folder))
    return folder


def _create(safehold: Program, path: Path, name: str = "shop") -> Path:
    folder = safehold.folder / "image"
    safehold.do("image-copy", "create", name, f"sqlite:{path}", "--target", folder)
    return folder / "data" / path.name


def _lines(safehold: Program, *words: object) -> int:
    """How many lines the ledger of the opened copy has; the command's output goes past Python."""
    out = safehold.folder / "out"
    ask = ASK.format("select count(*) from ledger")
    safehold.do("image-copy", "open", "shop", *(words or ("--read-only",)), "--command", f"{sys.executable} -c '{ask}' > {out}")
    return int(out.read_text())


def _whole(path: Path, scratch: Path) -> int:
    """Check a copy of the image: how many lines its ledger has."""
    shutil.copyfile(path, scratch)
    return databases.verify(scratch)


@pytest.mark.parametrize(("mode", "page"), [("wal", 512), ("wal", 65536), ("delete", 4096)])
def test_an_image_follows_a_database_at_full_speed(safehold: Program, tmp_path: Path, mode: str, page: int) -> None:
    path = databases.make(tmp_path / "data.db", mode=mode, page=page)
    seen = []
    with databases.application(path, f"PRAGMA journal_mode = {mode}", "PRAGMA synchronous = OFF") as application:
        image = _create(safehold, path)
        for number in range(3):
            safehold.do("image-copy", "update", "shop")
            seen.append(_whole(image, tmp_path / f"seen-{number}"))
        done, _ = application.stop()
    safehold.do("image-copy", "update", "shop")
    assert sorted(set(seen)) == seen and seen[-1] <= done
    assert _lines(safehold) == done == _whole(image, tmp_path / "last")
    safehold.do("image-copy", "verify", "shop")
    safehold.do("image-copy", "verify", "shop", "--deep")
    assert sorted(os.listdir(image.parent.parent)) == ["data", "image.json", "lock"]
    assert os.listdir(image.parent) == [path.name]
    listed = safehold.do("image-copy", "list", "--json").value["image_copies"]
    assert [(one["state"], one["rolls"]) for one in listed] == [("ready", 5)]  # type: ignore[attr-defined]


def test_it_grows_shrinks_and_changes_its_page_size(safehold: Program, tmp_path: Path) -> None:
    path = databases.make(tmp_path / "data.db", mode="delete")
    image = _create(safehold, path)
    for statements in (
        ("CREATE TABLE t AS SELECT randomblob(3000000) b",),
        ("DROP TABLE t", "VACUUM"),
        ("PRAGMA page_size = 1024", "VACUUM"),
        ("PRAGMA page_size = 32768", "VACUUM"),
        ("PRAGMA journal_mode = wal", "CREATE TABLE u AS SELECT randomblob(70000) b"),
        ("SELECT 1",),
    ):
        with closing(sqlite3.connect(path, isolation_level=None)) as db:
            for statement in statements:
                db.execute(statement)
        safehold.do("image-copy", "update", "shop")
        assert image.read_bytes() == path.read_bytes()


def test_an_empty_file_becomes_a_database(safehold: Program, tmp_path: Path) -> None:
    path = tmp_path / "data.db"
    path.touch()
    image = _create(safehold, path)
    assert image.read_bytes() == b""
    safehold.do("image-copy", "update", "shop")
    databases.make(path)
    safehold.do("image-copy", "update", "shop")
    assert image.read_bytes() == path.read_bytes()


def test_it_can_be_killed_at_any_moment(safehold: Program, tmp_path: Path) -> None:
    path = databases.make(tmp_path / "data.db", accounts=8000)
    image = _create(safehold, path)
    for step in range(4):
        databases.run(path, "UPDATE accounts SET note = randomblob(40)", "INSERT INTO ledger (at) VALUES (1)")
        process = safehold.start("image-copy", "update", "shop")
        time.sleep(0.25 + 0.1 * step)
        process.kill()
        process.communicate()
        if step % 2:
            safehold.do("image-copy", "update", "shop")
            assert image.read_bytes() == path.read_bytes()
            safehold.do("image-copy", "verify", "shop")


@pytest.mark.parametrize("left", [0, 1, 5])
def test_a_roll_that_was_cut_off_is_finished_without_the_original(
    safehold: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: int
) -> None:
    """Cut off before each kind of write to the image: the journal is what the next call goes by."""
    path = databases.make(tmp_path / "data.db")
    image = _create(safehold, path)
    before = image.read_bytes()
    databases.run(path, "UPDATE accounts SET note = randomblob(40) WHERE id < 100", "CREATE TABLE t AS SELECT randomblob(99999)")
    put, count = rolls._put, [left]

    def cut(descriptor: int, data: bytes, offset: int) -> None:
        if count[0] == 0:
            put(descriptor, data[: len(data) // 2], offset)
            raise KeyboardInterrupt
        count[0] -= 1
        put(descriptor, data, offset)

    monkeypatch.setattr(rolls, "_put", cut)
    safehold("image-copy", "update", "shop")
    monkeypatch.setattr(rolls, "_put", put)
    assert image.read_bytes() != before
    if left:
        with pytest.raises(sqlite3.DatabaseError, match="not a database"), closing(sqlite3.connect(image)) as db:
            db.execute("SELECT 1 FROM accounts")
    gone = path.rename(tmp_path / "gone")
    safehold.do("image-copy", "open", "shop", "--read-only", "--command", "true")
    assert image.read_bytes() == gone.read_bytes()


def test_a_journal_that_was_not_finished_counts_for_nothing(safehold: Program, tmp_path: Path) -> None:
    path = databases.make(tmp_path / "data.db")
    image = _create(safehold, path)
    before = image.read_bytes()
    (image.parent.parent / "journal").write_bytes(rolls.MAGIC + b"\x07" * 5000)
    safehold.do("image-copy", "verify", "shop")
    assert image.read_bytes() == before
    assert not (image.parent.parent / "journal").exists()


def test_one_that_was_opened_otherwise_is_refused(safehold: Program, tmp_path: Path) -> None:
    path = databases.make(tmp_path / "data.db")
    image = _create(safehold, path)
    assert image.stat().st_mode & 0o222 == 0
    with closing(sqlite3.connect(image, isolation_level=None)) as db:
        db.execute("SELECT count(*) FROM accounts").fetchone()
        failed = safehold.spawn("image-copy", "update", "shop")
        assert failed.status == 1 and "is open in another program" in failed.err
    safehold.do("image-copy", "update", "shop")
    databases.run(image, "INSERT INTO ledger (at) VALUES (1)")
    for words in (("update", "shop"), ("verify", "shop"), ("open", "shop", "--read-only", "--command", "true")):
        failed = safehold("image-copy", *words)
        assert failed.status == 1 and "was opened otherwise" in failed.err


def test_another_database_is_refused(safehold: Program, tmp_path: Path) -> None:
    path = databases.make(tmp_path / "data.db")
    image = _create(safehold, path)
    before = image.read_bytes()
    other = databases.make(tmp_path / "other.db")
    failed = safehold("image-copy", "update", "shop", "--source", f"sqlite:{other}")
    assert failed.status == 1 and "another database" in failed.err
    # In the same place: by renaming, or written into the same file, as an inode that is used again looks.
    kept = path.read_bytes()
    with path.open("r+b") as file:
        file.truncate()
    failed = safehold("image-copy", "update", "shop")
    assert failed.status == 1 and "another database" in failed.err
    other.replace(path)
    assert "another database" in safehold("image-copy", "update", "shop").err
    path.unlink()
    failed = safehold("image-copy", "update", "shop")
    assert failed.status == 1 and "is a copy of" in failed.err
    assert image.read_bytes() == before == kept


def test_a_clone_is_written_to_and_the_image_rolls_on(safehold: Program, tmp_path: Path) -> None:
    path = databases.make(tmp_path / "data.db")
    image = _create(safehold, path)
    clone = tmp_path / "clone"
    assert _lines(safehold, "--read-write", "--clone", clone) == 0
    databases.run(clone / "data/data.db", "INSERT INTO ledger (at) VALUES (1)")
    databases.run(path, "UPDATE accounts SET note = 'x'")
    safehold.do("image-copy", "update", "shop")
    assert image.read_bytes() == path.read_bytes()
    assert databases.lines(clone / "data/data.db") == 1
    assert (clone / "data/data.db").stat().st_mode & 0o777 == path.stat().st_mode & 0o777


def test_a_full_disk_costs_nothing(safehold: Program, tmp_path: Path) -> None:
    path = databases.make(tmp_path / "data.db", accounts=8000)
    small = tmp_path / "image"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", small], check=True)
    try:
        image = small / "shop/data/data.db"
        safehold.do("image-copy", "create", "shop", f"sqlite:{path}", "--target", small / "shop")
        before = image.read_bytes()
        for megabytes in (9, 3):  # no room for the journal; for the journal, and not for the image to grow
            databases.run(path, "DROP TABLE IF EXISTS t", f"CREATE TABLE t AS SELECT randomblob({megabytes}000000)", "VACUUM")
            failed = safehold("image-copy", "update", "shop")
            assert failed.status == 1 and ("room" in failed.err or "No space" in failed.err)
            assert image.read_bytes() == before
            safehold.do("image-copy", "verify", "shop")
        subprocess.run(["mount", "-o", "remount,size=64m", small], check=True)
        safehold.do("image-copy", "update", "shop")
        databases.run(path, "PRAGMA wal_checkpoint(TRUNCATE)")
        assert image.read_bytes() == path.read_bytes()
    finally:
        subprocess.run(["umount", "-l", small], check=False)


def test_damage_is_found(safehold: Program, tmp_path: Path) -> None:
    path = databases.make(tmp_path / "data.db")
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("CREATE TABLE child (a REFERENCES accounts (id))")
        db.execute("INSERT INTO child VALUES (987654)")
    image = _create(safehold, path)
    safehold.do("image-copy", "verify", "shop")
    failed = safehold("image-copy", "verify", "shop", "--deep")
    assert failed.status == 4 and "row 1 of child refers to a row of accounts that is not there" in failed.err
    found = image.stat()
    with image.open("r+b") as file:
        file.seek(4096 * 5)
        file.write(b"\xff" * 300)
    os.utime(image, ns=(found.st_atime_ns, found.st_mtime_ns))  # the disk's doing, not a program's
    assert safehold("image-copy", "verify", "shop").status == 4


def test_its_making_can_be_killed_and_begun_again(safehold: Program, tmp_path: Path) -> None:
    path = databases.make(tmp_path / "data.db", accounts=40000)
    words = ("image-copy", "create", "shop", f"sqlite:{path}", "--target", tmp_path / "image")
    process = safehold.start(*words)
    while not (tmp_path / "image/data").exists():
        time.sleep(0.005)
    process.kill()
    process.communicate()
    state = json.loads((tmp_path / "image/image.json").read_text())
    if state.get("phase", "creating") == "creating":
        assert "never finished" in safehold("image-copy", "update", "shop").err
        safehold.do(*words)
    assert (tmp_path / "image/data/data.db").read_bytes() == path.read_bytes()
    safehold.do("image-copy", "remove", "shop")
    assert os.listdir(tmp_path / "image") == []


def test_an_image_is_kept_as_a_snapshot_without_the_original(safehold: Program, tmp_path: Path) -> None:
    path = databases.make(tmp_path / "data.db")
    image = _create(safehold, path)
    first = safehold.do("image-copy", "update", "shop", "--backup", "--tag", "night", "--json").value
    databases.run(path, "INSERT INTO ledger (at) VALUES (1)", "PRAGMA wal_checkpoint(TRUNCATE)")
    second = safehold.do("image-copy", "update", "shop", "--backup", "--json").value
    direct = safehold.do("backup", f"sqlite:{path}", "--json").value
    assert int(str(direct["bytes_added"])) < 20_000
    for number, made in enumerate((first, second, direct)):
        safehold.do("restore", made["snapshot"], "--target", tmp_path / f"r{number}", "--verify")
    assert databases.verify(tmp_path / "r0") == 0 and (tmp_path / "r0").stat().st_mode & 0o200
    assert (tmp_path / "r1").read_bytes() == (tmp_path / "r2").read_bytes() == image.read_bytes()
    (stored, *_) = safehold.do("snapshots", "--json").value["snapshots"]  # type: ignore[misc]
    assert stored["tags"] == ["night"]
    assert safehold("image-copy", "update", "shop", "--tag", "x").status == 2
    safehold.do("drill", "latest")
