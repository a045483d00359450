"""Bases of a real server: what is stored, what comes back, and what fails without leaving anything."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from cli_program import Program
from mariadb_servers import Server

Open = Callable[[str], Server]


def _snapshots(safehold: Program) -> list[dict[str, object]]:
    return safehold.do("snapshots", "--json").value["snapshots"]  # type: ignore[return-value]


def test_a_base_comes_back_as_it_was(safehold: Program, server: Server, opened: Open, folder: Path) -> None:
    expected = server.sums()
    first = safehold.do("backup", server.url, "--json").value
    server.sql("update shop.orders set note = 'changed' where id between 500 and 510")
    changed = server.sums()
    second = safehold.do("backup", server.url, "--json").value
    assert int(str(second["bytes_added"])) < 400_000 < int(str(first["bytes_added"]))
    safehold.do("restore", first["snapshot"], "--target", folder / "one")
    safehold.do("restore", "latest", "--target", folder / "two")
    one, two = opened("one"), opened("two")
    assert (one.sums(), two.sums()) == (expected, changed)
    one.connect("clerk", "pen", "shop").close()
    owner = (folder / "d").stat()
    for path in ("one", "one/ibdata1", "one/shop/orders.ibd", "one/safehold.restored"):
        found = (folder / path).stat()
        assert (found.st_uid, found.st_gid) == (owner.st_uid, owner.st_gid), path
    assert stat.S_IMODE((folder / "one").stat().st_mode) == 0o700


def test_a_base_under_load_is_of_one_moment(safehold: Program, server: Server, opened: Open, folder: Path) -> None:
    safehold.do("backup", server.url)
    stop = threading.Event()

    def load() -> None:
        with server.connect() as connection, connection.cursor() as cursor:
            number = 0
            while not stop.is_set():
                number += 1
                cursor.execute("begin")
                cursor.execute("insert into shop.orders (n, note) values (%s, 'a'), (%s, 'b')", (number, number))
                cursor.execute("insert into shop.pairs values (%s)", (number,))
                cursor.execute("commit")
                cursor.execute("insert into shop.cart values (%s, 'x')", (100_000 + number,))
                if number % 40 == 0:
                    cursor.execute(f"create table shop.made_{number} (id int primary key) engine=innodb")
                    cursor.execute(f"insert into shop.made_{number} values (1)")
                    cursor.execute(f"alter table shop.orders add column extra{number} int")

    server.sql("create table shop.pairs (id int primary key) engine=innodb")
    thread = threading.Thread(target=load)
    thread.start()
    try:
        _wait_for_rows(server, "shop.pairs")
        safehold.do("backup", server.url)
    finally:
        stop.set()
        thread.join()
    safehold.do("db", "watch", server.url, "--once")
    safehold.do("restore", "latest", "--target", folder / "base")
    safehold.do("restore", "latest", "--target", folder / "now", "--to-time", "latest")
    base = opened("base")
    assert base.sql("select count(*) * 2 from shop.pairs") == base.sql("select count(*) from shop.orders where id > 20000")
    assert base.sql("select count(*) from shop.pairs") > [(0,)]
    base.stop()
    assert opened("now").sums() == server.sums()


def test_a_restored_folder_may_be_restored_again(safehold: Program, server: Server, opened: Open, folder: Path) -> None:
    server.sql("insert into shop.orders (n, note) select seq, repeat('x', 150) from seq_1_to_60000")
    expected = server.sums()
    safehold.do("backup", server.url)
    safehold.do("restore", "latest", "--target", folder / "r")
    restored = opened("r")
    restored.sql("delete from shop.orders where id < 30", "create table shop.more (id int)")
    assert "A server is running" in safehold("restore", "latest", "--target", folder / "r").err
    restored.stop()
    done = safehold.do("restore", "latest", "--target", folder / "r", "--json").value
    assert int(str(done["kept"])) > 100
    assert opened("r").sums() == expected


def test_what_is_no_earlier_restore_is_refused(
    safehold: Program, server: Server, launch: Callable[..., Server], folder: Path
) -> None:
    safehold.do("backup", server.url)
    (folder / "other").mkdir()
    (folder / "other/file").write_bytes(b"precious")
    refused = safehold("restore", "latest", "--target", folder / "other")
    assert refused.status == 1 and "is not empty" in refused.err
    assert os.listdir(folder / "other") == ["file"]
    stranger = launch("s")
    safehold.do("backup", stranger.url)
    safehold.do("restore", "latest", "--target", folder / "r")
    first = _snapshots(safehold)[0]["id"]
    refused = safehold("restore", first, "--target", folder / "r", "--json")
    assert refused.events[-1]["code"] == "wrong-database"


def test_a_write_only_key_adds_changed_pages_only(safehold: Program, server: Server, tmp_path: Path) -> None:
    safehold.do("key", "writer", tmp_path / "writer.key")
    safehold.set(SAFEHOLD_KEY_FILE=str(tmp_path / "writer.key"))
    first = safehold.do("backup", server.url, "--json").value
    safehold.do("db", "watch", server.url, "--once")
    server.sql("update shop.orders set note = 'changed' where id = 77")
    second = safehold.do("backup", server.url, "--json").value
    safehold.do("db", "watch", server.url, "--once")
    assert int(str(second["bytes_added"])) < 400_000 < int(str(first["bytes_added"]))
    safehold.set(SAFEHOLD_KEY_FILE=str(safehold.key))
    plan = safehold.do("restore", first["snapshot"], "--target", "x", "--plan", "--to-time", "latest", "--json").value
    assert plan["possible"] and not plan["gap"]


def test_wrong_words_and_missing_servers_make_nothing(safehold: Program, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    server.sql("create user 'weak'@'localhost' identified by 'pw'")
    for url, status, said in (
        (server.url.replace("root@", "root:wrong@"), 1, "Access denied"),
        (server.url.replace(str(server.socket), "/nowhere"), 1, "cannot be reached"),
        (server.url.replace("root@", "weak:pw@"), 1, "privilege"),
        (server.url + "&paralel=3", 2, "'paralel' in the address means nothing"),
        (server.url + "&parallel=0", 2, "no number from 1 to 64"),
        (server.url.replace("/?", "/shop?"), 2, "--extract"),
    ):
        failed = safehold("backup", url)
        assert failed.status == status and said in failed.err, (url, failed.err)
        assert "wrong" not in failed.err.replace("wrong use", "") or "using password" in failed.err
    monkeypatch.setenv("PATH", "/nowhere")
    failed = safehold("backup", server.url)
    assert failed.status == 1 and "no mariadb-backup on this machine" in failed.err and "Install" in failed.err
    assert _snapshots(safehold) == []


def test_passwords_come_from_files_and_the_environment_and_stand_nowhere(
    safehold: Program, server: Server, tmp_path: Path
) -> None:
    server.sql("create user 'backup'@'localhost' identified by 'sec\"r\\\\et#1'")
    server.sql("grant reload, process, lock tables, binlog monitor, replication slave on *.* to 'backup'@'localhost'")
    url = server.url.replace("root@", "backup@")
    assert safehold("backup", url).status == 1
    safehold.set(MYSQL_PWD='sec"r\\et#1')
    told = safehold.do("backup", url)
    assert "No checkpoint was made first" in told.err
    safehold.do("db", "watch", url, "--once")
    safehold.set(MYSQL_PWD=None)
    (tmp_path / "home").mkdir(exist_ok=True)
    (tmp_path / "home/.my.cnf").write_text("[client]\nuser = backup\npassword = 'sec\"r\\et#1'\n")
    safehold.do("backup", server.url.replace("root@", ""))
    (tmp_path / "home/.my.cnf").rename(tmp_path / "other.cnf")
    safehold.do("backup", f"mariadb://?socket={server.socket}&defaults-file={tmp_path / 'other.cnf'}")
    assert "et#1" not in safehold.do("snapshots", "--json").out


def test_a_server_that_dies_during_the_backup_makes_no_snapshot(safehold: Program, server: Server) -> None:
    server.sql("insert into shop.orders (n, note) select seq, repeat('y', 180) from seq_1_to_80000")
    process = safehold.start("backup", server.url)
    child = _wait_for_child(process, "mariadb-backup")
    os.kill(child, signal.SIGSTOP)  # it must not have ended before
    server.kill()
    os.kill(child, signal.SIGCONT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1 and b"database-" not in err and b"mariadb-backup exited with status 1" in err, err
    assert b"Traceback" not in err
    assert _snapshots(safehold) == []


def test_a_backup_that_is_killed_is_simply_repeated(safehold: Program, server: Server) -> None:
    server.sql("insert into shop.orders (n, note) select seq, repeat('y', 180) from seq_1_to_80000")
    for seconds in (0.02, 0.12):
        process = safehold.start("backup", server.url)
        child = _wait_for_child(process, "mariadb-backup")
        time.sleep(seconds)
        process.kill()
        process.communicate()
        _wait_gone(child)
    assert _snapshots(safehold) == []
    safehold.do("backup", server.url)
    assert safehold.do("check", "--json").value["clean"]


def test_what_was_started_early_ends_with_what_it_was_started_for(
    safehold: Program, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The backup program runs already when the session begins; it reads nothing more, and leaves nothing, if that fails."""
    log, scratch = tmp_path / "pids", tmp_path / "scratch"
    (tmp_path / "bin").mkdir()
    scratch.mkdir()
    (tmp_path / "bin/mariadb-backup").write_text(
        f'#!/bin/sh\n[ "$2" = --version ] || {{ echo $$ >> {log}; [ -z "$SLOW" ] || exec sleep 600; }}\n'
        'exec /usr/bin/mariadb-backup "$@"\n'
    )
    (tmp_path / "bin/mariadb-backup").chmod(0o755)
    safehold.set(PATH=f"{tmp_path / 'bin'}:{os.environ['PATH']}", TMPDIR=str(scratch))
    monkeypatch.setattr(tempfile, "tempdir", None)
    sessions = safehold.repository / "sessions"
    sessions.write_bytes(b"")
    assert safehold("backup", server.url).status != 0
    sessions.unlink()
    safehold.set(SAFEHOLD_KEY_FILE=str(tmp_path / "none"))
    assert safehold("backup", server.url).status != 0
    safehold.set(SAFEHOLD_KEY_FILE=str(safehold.key), SLOW="1")
    for number in (signal.SIGINT, signal.SIGTERM):
        log.write_bytes(b"")
        process = safehold.start("backup", server.url)
        _wait_for(log.read_bytes)
        process.send_signal(number)
        process.communicate(timeout=60)
        assert process.returncode == 130
        _wait_gone(int(log.read_text()))
    assert list(scratch.iterdir()) == []
    assert _snapshots(safehold) == []


def test_damaged_pages_are_found_and_told(safehold: Program, server: Server) -> None:
    server.stop()
    with (server.data / "shop/orders.ibd").open("r+b") as file:
        file.seek(16384 * 20 + 5000)
        file.write(b"\x55\xaa" * 50)
    server.start()
    failed = safehold("backup", server.url)
    assert failed.status == 1 and "corrupt" in failed.err.lower() and "CHECK TABLE" in failed.err
    assert _snapshots(safehold) == []


def test_a_full_repository_leaves_the_server_alone(safehold: Program, server: Server, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", small], check=True)
    try:
        safehold.do("init", small / "repo", "--key-file", tmp_path / "k2")
        failed = safehold("--repo", small / "repo", "--key-file", tmp_path / "k2", "backup", server.url)
        assert failed.status == 15
        assert (
            safehold.do("--repo", small / "repo", "--key-file", tmp_path / "k2", "snapshots", "--json").value["snapshots"] == []
        )
    finally:
        subprocess.run(["umount", "-l", small], check=True)
    assert server.sql("select count(*) from shop.orders") == [(20000,)]
    safehold.do("backup", server.url)


def _wait_for_child(process: subprocess.Popen[bytes], name: str) -> int:
    """The pid of the program that takes the backup: not of one that is only asked for its version."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        for child in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
            with suppress(OSError):  # gone already
                words = Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")
                if words[0].endswith(name.encode()) and b"--backup" in words:
                    return int(child)
        time.sleep(0.01)
    raise AssertionError(f"no {name} was started")


def _wait_for(is_so: Callable[[], object]) -> None:
    until = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < until
        time.sleep(0.01)


def _wait_for_rows(server: Server, table: str) -> None:
    until = time.monotonic() + 60
    while server.sql(f"select count(*) from {table}") == [(0,)]:
        assert time.monotonic() < until, f"nothing comes into {table}"
        time.sleep(0.02)


def _wait_gone(pid: int) -> None:
    for _ in range(500):
        if not Path(f"/proc/{pid}").exists():
            return
        time.sleep(0.02)
    raise AssertionError("a program was left running")
