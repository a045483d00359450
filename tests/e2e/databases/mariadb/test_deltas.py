"""Bases of which only changed pages were streamed: they are what a base is for which every file was read."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from cli_program import Program
from mariadb_servers import Server

from safehold.codec.keyfile import KeyFile
from safehold.repo.repository import open_repository
from safehold.storage.local import LocalStore

Open = Callable[[str], Server]
NOTE = "All files are read"


def _base(safehold: Program, server: Server, more: str = "", *, delta: bool = True) -> str:
    """Take a base; whether only changed pages were read for it is as expected.  Its id."""
    done = safehold.do("backup", server.url + more, "--json")
    assert (NOTE not in done.err and _since(safehold) != "") is delta, done.err
    return str(done.value["snapshot"])


def _since(safehold: Program) -> str:
    key = KeyFile.parse(safehold.key.read_text())
    repository = open_repository(LocalStore(safehold.repository), key, safehold.folder / "cache of the test")
    database = repository.visible_snapshots()[-1].snapshot.source.database
    assert database is not None
    return database.facts.get("since_lsn", "")


def _tables(safehold: Program, base: str) -> dict[str, bytes]:
    """The bytes of every table's file."""
    listed = [str(line["path"]) for line in safehold.do("ls", "-R", base, "--json").lines]
    return {path: safehold.do("cat", f"{base}:{path}").raw for path in listed if path.endswith(".ibd")}


def _settle(server: Server) -> None:
    """Nothing is left to purge, and all is in the files."""
    server.sql("set global innodb_max_purge_lag_wait = 0", "set global innodb_log_checkpoint_now = on")


def test_what_is_put_together_is_byte_for_byte_what_a_whole_read_gives(safehold: Program, server: Server) -> None:
    server.sql(
        "create table shop.small (id int primary key, note varchar(100)) row_format=compressed key_block_size=2",
        "insert into shop.small select seq, md5(seq) from mysql.seq_1_to_5000",
        "create table shop.holes (id int primary key, note text) page_compressed=1",
        "insert into shop.holes select seq, repeat(md5(seq), 20) from mysql.seq_1_to_3000",
        "create table shop.gone (id int primary key)",
        "create table shop.emptied (id int primary key, note varchar(100))",
        "insert into shop.emptied select seq, md5(seq) from mysql.seq_1_to_4000",
        "create table shop.rebuilt like shop.emptied",
        "insert into shop.rebuilt select * from shop.emptied",
        "create table shop.parts (id int primary key) partition by hash(id) partitions 3",
    )
    _settle(server)
    _base(safehold, server, delta=False)
    server.sql(
        "update shop.orders set note = 'changed' where id % 500 = 3",
        "insert into shop.orders (n, note) select seq, repeat('x', 150) from mysql.seq_1_to_20000",
        "update shop.small set note = repeat('y', 90) where id % 700 = 1",
        "insert into shop.small select seq, md5(seq) from mysql.seq_6000_to_9000",
        "update shop.holes set note = repeat('z', 500) where id % 100 = 1",
        "drop table shop.gone",
        "create table shop.new (id int primary key, note varchar(100))",
        "insert into shop.new select seq, md5(seq) from mysql.seq_1_to_2000",
        "truncate table shop.emptied",
        "insert into shop.emptied values (1, 'one')",
        "alter table shop.rebuilt add column extra int default 7, force",
        "alter table shop.parts add partition partitions 1",
        "insert into shop.parts select seq from mysql.seq_1_to_1000",
    )
    _settle(server)
    merged = _base(safehold, server)
    whole = _base(safehold, server, "&delta=no", delta=False)
    one, other = _tables(safehold, merged), _tables(safehold, whole)
    assert one.keys() == other.keys()
    assert [path for path in one if one[path] != other[path]] == []
    assert safehold.do("check", "--read-data", "--json").value["clean"]


def test_bases_in_a_row_under_load_are_each_of_one_moment(safehold: Program, server: Server, opened: Open, folder: Path) -> None:
    server.sql(
        "create table shop.pairs (id int primary key) engine=innodb",
        "create table shop.packed (id int primary key, note varchar(200)) row_format=compressed key_block_size=4",
    )
    safehold.do("backup", server.url)
    stop = threading.Event()
    thread = threading.Thread(target=_load, args=(server, stop))
    thread.start()
    try:
        for _ in range(3):
            time.sleep(0.4)
            safehold.do("backup", server.url)
    finally:
        stop.set()
        thread.join()
    safehold.do("db", "watch", server.url, "--once")
    safehold.do("backup", server.url)
    expected = server.sums()
    bases = [str(row["id"]) for row in safehold.do("snapshots", "--json").value["snapshots"]]  # type: ignore[attr-defined]
    for number, base in enumerate(bases[2:]):
        safehold.do("restore", base, "--target", folder / f"b{number}", "--to-time", "latest", "--verify")
        now = opened(f"b{number}")
        assert now.sums() == expected, base
        now.stop()
        safehold.do("restore", base, "--target", folder / f"m{number}")
        then = opened(f"m{number}")
        assert then.sql("select count(*) * 2 from shop.pairs") == then.sql("select count(*) from shop.orders where id > 20000")
        then.stop()


def _load(server: Server, stop: threading.Event) -> None:
    """Transactions, and tables that come, go, and are made anew."""
    with server.connect() as connection, connection.cursor() as cursor:
        number = 0
        while not stop.is_set():
            number += 1
            cursor.execute("begin")
            cursor.execute("insert into shop.orders (n, note) values (%s, 'a'), (%s, 'b')", (number, number))
            cursor.execute("update shop.orders set note = md5(rand()) where id = %s", (1 + number * 7919 % 20000,))
            cursor.execute("insert into shop.packed values (%s, repeat(md5(rand()), 5))", (number,))
            cursor.execute("insert into shop.pairs values (%s)", (number,))
            cursor.execute("commit")
            if number % 100 == 0:
                cursor.execute(f"create table shop.made_{number} (id int primary key, note varchar(50))")
                cursor.execute(f"insert into shop.made_{number} select seq, md5(seq) from mysql.seq_1_to_500")
            if number % 300 == 0:
                cursor.execute("alter table shop.packed force")
                cursor.execute(f"drop table shop.made_{number - 100}")


def test_when_in_doubt_every_file_is_read(safehold: Program, server: Server, opened: Open, folder: Path) -> None:
    server.sql("create table shop.one (id int primary key)", "insert into shop.one select seq from mysql.seq_1_to_3000")
    _base(safehold, server, delta=False)
    _base(safehold, server)
    server.sql("rename table shop.one to shop.other")
    done = safehold.do("backup", server.url)
    assert NOTE in done.err and "shop/one.ibd was renamed" in done.err
    _base(safehold, server)
    server.import_anew("other")
    _base(safehold, server, delta=False)
    _base(safehold, server)
    server.sql("create table shop.third (id int primary key)", "insert into shop.third select seq from mysql.seq_1_to_3000")
    server.import_anew("third")
    server.sql("insert into shop.third select seq from mysql.seq_3001_to_4500")
    _base(safehold, server, delta=False)
    expected = server.sums()
    safehold.do("restore", "latest", "--target", folder / "r", "--verify")
    assert opened("r").sums() == expected
    _base(safehold, server)
    server.stop()
    server.start()  # perhaps of other files
    _base(safehold, server, delta=False)
    last = _base(safehold, server)
    safehold.do("forget", last)
    _base(safehold, server, delta=False)
    _base(safehold, server)


@pytest.mark.parametrize("page", ["4K", "64K"])
def test_pages_of_another_size(safehold: Program, opened: Open, folder: Path, page: str) -> None:
    server = Server(folder / "p", innodb_page_size=page, innodb_buffer_pool_size="32M").init().start()
    try:
        server.sql(
            "create database shop",
            "create table shop.t (id int primary key, note varchar(200))",
            "insert into shop.t select seq, md5(seq) from mysql.seq_1_to_20000",
            "create table shop.tiny (id int primary key)",
        )
        _base(safehold, server, delta=False)
        server.sql("update shop.t set note = 'changed' where id % 300 = 0", "insert into shop.tiny values (1)")
        _base(safehold, server)
        expected = server.sums()
    finally:
        server.kill()
    safehold.do("restore", "latest", "--target", folder / "r", "--verify")
    restored = Server(folder / "r", innodb_page_size=page, innodb_buffer_pool_size="32M", log_bin="other").start()
    try:
        assert restored.sums() == expected
    finally:
        restored.kill()


def test_a_key_that_may_only_write_merges_too(
    safehold: Program, server: Server, opened: Open, folder: Path, tmp_path: Path
) -> None:
    safehold.do("key", "writer", tmp_path / "writer.key")
    safehold.set(SAFEHOLD_KEY_FILE=str(tmp_path / "writer.key"))
    safehold.do("backup", server.url)
    for number in range(3):
        server.sql(f"update shop.orders set note = 'changed {number}' where id % 900 = {number}")
        safehold.do("backup", server.url)
    expected = server.sums()
    safehold.set(SAFEHOLD_KEY_FILE=str(safehold.key))
    assert _since(safehold) != ""
    safehold.do("restore", "latest", "--target", folder / "r", "--verify")
    assert opened("r").sums() == expected


def test_a_compressed_table_made_since_has_the_size_that_recovery_wants(
    safehold: Program, server: Server, opened: Open, folder: Path
) -> None:
    """Its file has the size of four of the server's pages from the beginning, though its first page counts fewer."""
    _base(safehold, server, delta=False)
    kinds = [f"row_format=compressed key_block_size={size}" for size in (1, 4)]
    server.sql(*(f"create table shop.packed{n} (id int primary key, note varchar(99)) {kind}" for n, kind in enumerate(kinds)))
    _settle(server)
    server.sql(*(f"insert into shop.packed{n} values (1, 'one')" for n in range(len(kinds))))  # what recovery opens it for
    _base(safehold, server, "&checkpoint=no")
    expected = server.sums()
    safehold.do("restore", "latest", "--target", folder / "r", "--verify")
    assert opened("r").sums() == expected
