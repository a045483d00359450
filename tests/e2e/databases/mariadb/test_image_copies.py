"""Image copies of MariaDB: made, rolled, killed, starved, and opened by mistake."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from cli_program import Program
from mariadb_servers import Server

from safehold.ops.image_copies import mariadb
from safehold.ops.image_copies.images import Image
from safehold.sources.open_files import users

ASK = "select concat(count(*), '|', sum(n), '|', (select count(*) from shop.cart)) from shop.orders"


@pytest.fixture
def image(safehold: Program, server: Server, folder: Path) -> Path:
    safehold.set(SAFEHOLD_STATE_DIR=str(safehold.folder / "state"))
    safehold.do("image-copy", "create", "shop", server.url, "--target", folder / "i")
    return folder / "i"


def _shown(safehold: Program, *words: object, sql: str = ASK) -> str:
    """What the opened image says of its tables; the command's output goes past Python."""
    out = safehold.folder / "out"
    command = f'mariadb --no-defaults -u root -N -B -e "{sql}" > {out} 2>&1'
    safehold("image-copy", "open", "shop", *(words or ("--read-only",)), "--command", command)
    return out.read_text().strip()


def _there(server: Server) -> str:
    value = server.sql(ASK)[0][0]
    return value.decode() if isinstance(value, bytes) else str(value)


def _change(server: Server, number: int) -> None:
    server.sql(
        f"update shop.orders set n = n + {number}, note = sha1(id + {number}) where id % 7 = 0",
        f"insert into shop.cart values ({10000 + number}, 'x')",
        f"create table shop.made_{number} (id int primary key) engine=innodb",
        f"insert into shop.made_{number} values ({number})",
    )


def test_a_table_that_was_imported_is_not_missed(safehold: Program, server: Server, image: Path) -> None:
    """Its pages say that they are old: the engine's own incrementals leave them out, without a word."""
    server.sql(
        "create table shop.moved (id int primary key) engine=innodb", "insert into shop.moved select seq from seq_1_to_5000"
    )
    safehold.do("image-copy", "update", "shop")
    server.import_anew("moved")
    refused = safehold("image-copy", "update", "shop")
    assert refused.status == 1 and "was imported since the last roll" in refused.err


def test_an_image_follows_a_server_under_load(safehold: Program, server: Server, image: Path) -> None:
    stop = threading.Event()

    def load() -> None:
        with server.connect() as connection, connection.cursor() as cursor:
            while not stop.is_set():
                cursor.execute("update shop.orders set n = n + 1 where id = floor(rand() * 20000)")

    thread = threading.Thread(target=load)
    thread.start()
    try:
        for number in range(2):
            _change(server, number)
            server.sql("drop table if exists shop.made_0")
            safehold.do("image-copy", "update", "shop")
    finally:
        stop.set()
        thread.join()
    safehold.do("image-copy", "update", "shop")
    assert _shown(safehold) == _there(server)
    assert "READ ONLY" in _shown(safehold, sql="insert into shop.cart values (-1, 'y')")
    assert not (image / "data/shop/made_0.ibd").exists()
    safehold.do("image-copy", "verify", "shop")
    safehold.do("image-copy", "verify", "shop", "--deep")
    assert sorted(os.listdir(image)) == ["data", "image.json", "lock", "tables"]


def test_it_can_be_killed_at_any_moment(safehold: Program, server: Server, image: Path) -> None:
    for step in range(3):
        _change(server, step)
        process = safehold.start("image-copy", "update", "shop", start_new_session=True)
        until, wanted = time.monotonic() + 20, ("delta", "delta.d", "rolling")[step]
        while process.poll() is None and time.monotonic() < until:
            if (image / wanted).exists() or (wanted == "rolling" and '"rolling"' in (image / "image.json").read_text()):
                time.sleep(0.05 if step == 2 else 0.01)
                break
            time.sleep(0.002)
        subprocess.run(["kill", "-9", "--", f"-{process.pid}"], check=False)
        process.communicate()
    safehold.do("image-copy", "update", "shop")
    safehold.do("image-copy", "verify", "shop")
    assert _shown(safehold) == _there(server)


def test_a_roll_is_done_again_where_it_ended_unnoticed(
    safehold: Program, server: Server, image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine was done, or nearly, and the image's state says that it was not: without the original it is finished."""
    _change(server, 1)
    expected = _there(server)

    def cut(image: Image, state: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(mariadb, "_finish", cut)
        safehold("image-copy", "update", "shop")
    assert json.loads((image / "image.json").read_text())["phase"] == "rolling"
    (image / "data/shop/cart.MAD").unlink()  # the last that is put in place
    server.kill()
    assert _shown(safehold) == expected
    safehold.do("image-copy", "verify", "shop", "--deep")


def test_a_clone_is_written_to_and_the_image_rolls_on(safehold: Program, server: Server, image: Path, folder: Path) -> None:
    said = _shown(safehold, "--read-write", "--clone", folder / "c", sql="create table shop.mine (a int); select 5 + 5")
    assert said == "10"
    _change(server, 1)
    safehold.do("image-copy", "update", "shop")
    assert _shown(safehold) == _there(server)
    assert (folder / "c/data/shop/mine.ibd").exists() and not (image / "data/shop/mine.ibd").exists()


def test_one_that_was_opened_otherwise_is_refused(
    safehold: Program, server: Server, image: Path, launch: Callable[..., Server]
) -> None:
    shutil.copytree(image, image.with_name("copy"), copy_function=shutil.copy2)
    subprocess.run(["chown", "-R", "nobody", image.with_name("copy")], check=True)
    other = launch("copy/data", log_bin="other")
    other.stop()
    before = json.loads((image / "image.json").read_text())
    failed = safehold("image-copy", "update", image.with_name("copy"))
    assert failed.status == 1 and "was opened otherwise" in failed.err
    assert json.loads((image / "image.json").read_text()) == before


def test_another_server_or_one_that_was_set_back_is_refused(
    safehold: Program, server: Server, image: Path, launch: Callable[..., Server]
) -> None:
    other = launch("other")
    failed = safehold("image-copy", "update", "shop", "--source", other.url)
    assert failed.status == 1 and "another database" in failed.err
    server.stop()
    subprocess.run(["cp", "-a", server.data, server.data.with_name("old")], check=True)
    server.start()
    _change(server, 1)
    safehold.do("image-copy", "update", "shop")
    server.stop()
    shutil.rmtree(server.data)
    server.data.with_name("old").rename(server.data)
    server.start()
    failed = safehold("image-copy", "update", "shop")
    assert failed.status == 1 and "set back" in failed.err
    safehold.do("image-copy", "verify", "shop")


def test_a_full_disk_costs_nothing(safehold: Program, server: Server, folder: Path) -> None:
    safehold.set(SAFEHOLD_STATE_DIR=str(safehold.folder / "state"))
    small = folder / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400m,mode=755", "tmpfs", small], check=True)
    try:
        safehold.do("image-copy", "create", "shop", server.url, "--target", small / "i")
        _change(server, 1)
        for left in (1, 9):
            filler = small / "filler"
            filler.write_bytes(bytes(shutil.disk_usage(small).free - (left << 20)))
            failed = safehold("image-copy", "update", "shop")
            assert failed.status != 0 and "Traceback" not in failed.err
            filler.unlink()
        safehold.do("image-copy", "update", "shop")
        assert _shown(safehold) == _there(server)
    finally:
        subprocess.run(["umount", "-l", small], check=False)


def test_a_damaged_page_is_found(safehold: Program, server: Server, image: Path) -> None:
    with (image / "data/shop/orders.ibd").open("r+b") as file:
        file.seek(16384 * 4 + 4000)
        file.write(b"\xff" * 8)
    failed = safehold("image-copy", "verify", "shop")
    assert failed.status == 4 and "orders.ibd" in failed.err


def test_an_image_is_kept_as_a_snapshot(
    safehold: Program, server: Server, image: Path, folder: Path, opened: Callable[[str], Server]
) -> None:
    _change(server, 1)
    made = safehold.do("image-copy", "update", "shop", "--backup", "--json").value
    expected = server.sums()
    server.sql("insert into shop.orders (n, note) values (1, 'later')")
    safehold.do("db", "watch", server.url, "--once")
    later = server.sums()
    safehold.do("restore", made["snapshot"], "--target", folder / "r", "--verify")
    safehold.do("restore", made["snapshot"], "--target", folder / "l", "--to-time", "latest")
    assert opened("r").sums() == expected
    assert opened("l").sums() == later
    safehold.do("image-copy", "verify", "shop")


def test_a_server_that_outlived_its_opener_is_ended(safehold: Program, image: Path) -> None:
    ready = safehold.folder / "ready"
    words = ("image-copy", "open", "shop", "--read-only", "--command", f"touch {ready}; exec sleep 30")
    process = safehold.start(*words, start_new_session=True)
    while not ready.exists():
        assert process.poll() is None
        time.sleep(0.02)
    process.kill()  # and not its children
    process.wait(5)
    for stream in (process.stdout, process.stderr):
        if stream is not None:
            stream.close()
    (server,) = users(image / "reading/data/ibdata1")
    safehold.do("image-copy", "verify", "shop")
    for _ in range(200):
        if not Path(f"/proc/{server}/exe").exists():
            break
        time.sleep(0.02)
    assert not Path(f"/proc/{server}/exe").exists() and not (image / "reading").exists()
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
