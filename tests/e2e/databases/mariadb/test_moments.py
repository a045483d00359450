"""Any moment after a base: binary logs followed, replayed up to a position, a transaction, a time; gaps; and one table out of it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest
from cli_program import Program
from mariadb_servers import Server

from safehold.ops.databases.mariadb import status

Open = Callable[[str], Server]


def _watch(safehold: Program, server: Server) -> dict[str, object]:
    return safehold.do("db", "watch", server.url, "--once", "--json").value


def _plan(safehold: Program, *words: object) -> dict[str, object]:
    ran = safehold("restore", *words, "--target", "unused", "--plan", "--json")
    assert ran.status in (0, 1, 2), ran.err
    return ran.value


def _restored(safehold: Program, folder: Path, opened: Open, name: str, *words: object) -> dict[str, object]:
    safehold.do("restore", *words, "--target", folder / name)
    server = opened(name)
    sums = server.sums()
    server.stop()
    return sums


def test_positions_transactions_and_times(safehold: Program, server: Server, opened: Open, folder: Path) -> None:
    base = safehold.do("backup", server.url, "--json").value["snapshot"]
    server.sql("insert into shop.cart values (9001, 'first')", "create table shop.later (id int primary key, t timestamp)")
    server.sql("insert into shop.later values (1, now())", "flush binary logs")
    _watch(safehold, server)
    server.sql("begin", "update shop.orders set n = n + 1 where id < 100", "insert into shop.later values (2, now())", "commit")
    position, gtid = server.position(), server.sql("select @@gtid_binlog_pos")[0][0]
    by_position = server.sums()
    server.sql("grant insert on shop.* to 'clerk'@'%'", "alter table shop.later add column extra varchar(10) default 'x'")
    _watch(safehold, server)
    time.sleep(1.1)
    server.sql("insert into shop.visits values (9001, 'in the third second')")
    by_time, moment = server.sums(), datetime.now()
    time.sleep(1.1)
    server.sql("drop table shop.later", "delete from shop.cart", "flush binary logs")
    server.sql("insert into shop.orders (n, note) values (1, 'last')")
    latest = server.sums()
    _watch(safehold, server)
    assert _restored(safehold, folder, opened, "m1", base, "--to-position", position) == by_position
    assert _restored(safehold, folder, opened, "m2", base, "--to-gtid", gtid) == by_position
    assert _restored(safehold, folder, opened, "m3", base, "--to-time", f"{moment:%Y-%m-%d %H:%M:%S}") == by_time
    assert _restored(safehold, folder, opened, "m4", base, "--to-time", "latest") == latest
    plan = _plan(safehold, base, "--to-time", "latest")
    assert (plan["possible"], plan["gap"], plan["stop"]) == (True, "", server.position())
    assert plan["logs"] == [f"mariadb-bin.{n:06}" for n in (1, 2, 3)]
    assert safehold.do("check", "--json").value["clean"]


def test_moments_that_cannot_be_are_refused_before_anything_is_written(safehold: Program, server: Server, folder: Path) -> None:
    server.sql("insert into shop.cart values (9000, 'before')")
    before = server.sql("select @@gtid_binlog_pos")[0][0]
    base = safehold.do("backup", server.url, "--json").value["snapshot"]
    target = folder / "r"
    assert "is not stored" in safehold("restore", base, "--target", target, "--to-time", "latest").err
    server.sql("begin", "insert into shop.orders (n) values (5)", "insert into shop.orders (n) values (6)", "commit")
    end = server.position()
    _watch(safehold, server)
    name, _, position = end.partition(":")
    for words, said in (
        (("--to-position", f"{name}:{int(position) - 3}"), "middle of a transaction"),
        (("--to-position", f"{name}:{int(position) + 500}"), "The stored log ends at"),
        (("--to-position", f"{name}:4"), "older base"),
        (("--to-position", "nonsense"), "is no place"),
        (("--to-gtid", "0-1-99999"), "is not in the stored log"),
        (("--to-gtid", before), "is not in the stored log"),
        (("--to-time", "2001-01-01"), "older base"),
        (("--to-time", "2099-01-01"), "--to-time latest"),
        (("--to-time", "latest", "--to-gtid", "0-1-1"), "Only one moment"),
        (("--to-lsn", "0/1"), "is for PostgreSQL"),
    ):
        refused = safehold("restore", base, "--target", target, *words)
        assert refused.status in (1, 2) and said in refused.err, (words, refused.err)
    assert not target.exists() and not (folder / ".r.safehold-part").exists()


def _purge(server: Server, first: str) -> None:
    """Remove logs before one: a server that has not yet seen a reader go keeps what that one read, and says so in a warning only."""
    for _ in range(400):
        server.sql(f"purge binary logs to '{first}'")
        if server.sql("show binary logs")[0][0] == first:
            return
        time.sleep(0.05)
    raise AssertionError(f"the logs before {first} stay")


@pytest.mark.parametrize("where", ["start", "middle", "end"])
def test_a_gap_is_told_and_never_passed_over(safehold: Program, server: Server, folder: Path, where: str) -> None:
    if where == "start":
        _watch(safehold, server)
        server.sql("flush binary logs", "insert into shop.cart values (9001, 'a')", "flush binary logs")
        base = safehold.do("backup", server.url, "--json").value["snapshot"]
        server.sql("insert into shop.cart values (9002, 'b')", "flush binary logs")
        _purge(server, "mariadb-bin.000004")
    else:
        base = safehold.do("backup", server.url, "--json").value["snapshot"]
        server.sql("insert into shop.cart values (9001, 'a')")
        _watch(safehold, server)
        reached = server.position()
        server.sql("flush binary logs", "insert into shop.cart values (9002, 'b')", "flush binary logs", "flush binary logs")
        _purge(server, f"mariadb-bin.00000{3 if where == 'middle' else 4}")
    server.sql("insert into shop.cart values (9003, 'c')")
    gap = safehold("db", "watch", server.url, "--once", "--json")
    assert gap.events[-1]["code"] == "log-gap" and any("purged" in str(event.get("message")) for event in gap.events)
    refused = safehold("restore", base, "--target", folder / "r", "--to-time", "latest", "--json")
    assert refused.events[-1]["code"] == "log-gap"
    assert not (folder / "r").exists()
    plan = _plan(safehold, base, "--to-time", "latest")
    assert plan["gap"] and not plan["possible"]
    if where != "start":
        safehold.do("restore", base, "--target", folder / "r", "--to-position", reached)
    again = safehold.do("backup", server.url, "--json").value["snapshot"]
    server.sql("insert into shop.cart values (9004, 'd')")
    assert _watch(safehold, server)["gaps"] == []
    assert _plan(safehold, again, "--to-time", "latest")["possible"]


def test_the_status_asks_the_server_how_far_it_is_ahead(
    safehold: Program, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    safehold.do("backup", server.url)
    asked = safehold.do("db", "status", server.url, "--json").value["server"]
    assert (asked["stored"], asked["behind"], asked["since"]) == ("", 0, None)  # type: ignore[index]
    safehold.do("db", "watch", server.url, "--once")
    told = safehold.do("db", "status", server.url).out
    assert "stored up to mariadb-bin.000001:" in told and "wait" not in told and "nothing was committed since" in told
    server.sql("insert into shop.orders (n) values (1)", "flush binary logs", "insert into shop.orders (n) values (2)")
    told = safehold.do("db", "status", server.url).out
    assert "its log is at mariadb-bin.000002:" in told and "bytes wait since" in told
    monkeypatch.setattr(status, "LATE_SECONDS", -60)
    late = safehold("db", "status", server.url, "--json")
    assert late.status == 16 and [each["code"] for each in late.value["warnings"]] == ["log-behind"]  # type: ignore[index,attr-defined]
    while server.sql("purge binary logs to 'mariadb-bin.000002'", "show binary logs")[0][0] == "mariadb-bin.000001":
        time.sleep(0.05)  # it is still being sent to somebody
    lost = safehold("db", "status", server.url)
    assert lost.status == 16 and "what lies between is lost" in lost.err and "Take a new base now" in lost.err


def test_a_history_that_begins_anew_is_not_mixed_with_the_old(
    safehold: Program, server: Server, folder: Path, opened: Open
) -> None:
    old = safehold.do("backup", server.url, "--json").value["snapshot"]
    server.sql("insert into shop.cart values (9001, 'old')")
    _watch(safehold, server)
    expected = server.sums()
    server.sql("reset master", "insert into shop.cart values (9002, 'new')", "insert into shop.cart values (9003, 'new')")
    told = safehold("db", "watch", server.url, "--once", "--json")
    assert told.status == 1 and any(event.get("code") == "log-restarted" for event in told.events)
    assert _restored(safehold, folder, opened, "o", old, "--to-position", _plan(safehold, old)["latest_position"]) == expected
    new = safehold.do("backup", server.url, "--json").value["snapshot"]
    server.sql("insert into shop.cart values (9004, 'newer')")
    _watch(safehold, server)
    assert _restored(safehold, folder, opened, "n", new, "--to-time", "latest") == server.sums()


def test_watching_goes_on_after_kill_9(safehold: Program, server: Server) -> None:
    base = safehold.do("backup", server.url, "--json").value["snapshot"]
    for round_number in range(3):
        process = safehold.start("db", "watch", server.url, "--every", "0.1")
        for number in range(20):
            server.sql(f"insert into shop.cart values ({10_000 + round_number * 100 + number}, 'x')")
            if number == 10:
                server.sql("flush binary logs")
            time.sleep(0.03)
        time.sleep(0.3)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    _watch(safehold, server)
    plan = _plan(safehold, base, "--to-time", "latest")
    assert (plan["possible"], plan["gap"], plan["stop"]) == (True, "", server.position())


def test_a_lost_cache_costs_no_gap(safehold: Program, server: Server, tmp_path: Path) -> None:
    base = safehold.do("backup", server.url, "--json").value["snapshot"]
    for number in range(3):
        server.sql(f"insert into shop.cart values ({9000 + number}, 'x')")
        _watch(safehold, server)
        safehold.set(SAFEHOLD_CACHE_DIR=str(tmp_path / f"cache-{number}"))
    plan = _plan(safehold, base, "--to-time", "latest")
    assert (plan["possible"], plan["gap"], plan["stop"]) == (True, "", server.position())


def test_without_a_binary_log_there_are_bases_only(safehold: Program, launch: Callable[..., Server], folder: Path) -> None:
    server = launch(log_bin="")
    server.stop()
    del server.settings["log-bin"]
    server.start()
    told = safehold.do("backup", server.url)
    assert "writes no binary log" in told.err
    failed = safehold("db", "watch", server.url, "--once")
    assert failed.status == 1 and "log_bin" in failed.err
    assert "Only the base itself" in safehold("restore", "latest", "--target", folder / "r", "--to-time", "latest").err
    safehold.do("restore", "latest", "--target", folder / "r")


def test_one_table_and_one_database_come_out(
    safehold: Program, server: Server, launch: Callable[..., Server], tmp_path: Path
) -> None:
    safehold.do("backup", server.url)
    server.sql("insert into shop.cart values (9001, 'wanted')", "create database empty_one")
    position = server.position()
    expected = server.sql("checksum table shop.cart")
    server.sql("drop table shop.cart", "create table shop.cart (id int)")
    _watch(safehold, server)
    file = tmp_path / "cart.sql"
    safehold.do("restore", "latest", "--target", file, "--extract", "shop.cart", "--to-position", position)
    assert b"wanted" in file.read_bytes() and b"orders" not in file.read_bytes()
    other = launch("o")
    other.sql("drop database shop")
    words = ("restore", "latest", "--target", other.url, "--extract", "shop.cart", "--to-position", position)
    safehold.do(*words)
    assert other.sql("checksum table shop.cart") == expected
    assert "exists on" in safehold(*words).err
    other.sql("drop database shop")
    safehold.do(*words[:-4], "--extract", "shop", *words[-4:])
    assert other.sql("call shop.twice(21)") == [(42,)]
    assert other.sql("checksum table shop.cart") == expected
    for wanted, said in (("shop.nothing", "no table shop.nothing"), ("nothing", "no database nothing")):
        assert said in safehold("restore", "latest", "--target", tmp_path / "n.sql", "--extract", wanted).err
    assert [path.name for path in tmp_path.iterdir() if "safehold" in path.name or "sql" in path.name] == ["cart.sql"]


def test_a_stop_in_the_middle_leaves_nothing(
    safehold: Program, server: Server, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    safehold.do("backup", server.url)
    server.sql("insert into shop.cart values (9001, 'x')")
    _watch(safehold, server)
    (folder / "bin").mkdir()
    for name in ("mariadb-binlog", "mariadb-dump"):
        (folder / "bin" / name).write_text("#!/bin/sh\necho ERROR: out of luck >&2; exit 5\n")
        (folder / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder / 'bin'}:{os.environ['PATH']}")
    failed = safehold("restore", "latest", "--target", folder / "r", "--to-time", "latest")
    assert failed.status == 1 and "out of luck" in failed.err
    failed = safehold("restore", "latest", "--target", folder / "t.sql", "--extract", "shop.cart")
    assert failed.status == 1 and "exited with status 5" in failed.err
    assert [name for name in os.listdir(folder) if not name.startswith("d")] == ["bin"]


def test_a_killed_restore_leaves_nothing_that_starts(safehold: Program, server: Server, folder: Path) -> None:
    safehold.do("backup", server.url)
    process = safehold.start("restore", "latest", "--target", folder / "r")
    for _ in range(1000):
        if (folder / ".r.safehold-part").exists():
            break
        time.sleep(0.005)
    time.sleep(0.05)
    process.kill()
    process.communicate()
    assert not (folder / "r").exists()
    safehold.do("restore", "latest", "--target", folder / "r")
    assert not (folder / ".r.safehold-part").exists()


def test_every_table_is_checked_on_request(safehold: Program, server: Server, folder: Path) -> None:
    safehold.do("backup", server.url)
    told = safehold.do("restore", "latest", "--target", folder / "r", "--verify")
    assert "Checking every table" in told.err
    server.sql("insert into shop.orders (n, note) values (1, 'more')")
    _watch(safehold, server)
    drilled = safehold.do("drill", "latest", "--json").value
    assert drilled["position"] == server.position() and int(str(drilled["tables"])) > 20
    server.stop()
    index = server.data / "shop/visits.MYI"  # its sum is wrong, which nobody notices while it is copied
    data = bytearray(index.read_bytes())
    data[1024 * 5 : 1024 * 5 + 200] = bytes(200)
    index.write_bytes(data)
    server.start()
    safehold.do("backup", server.url)
    failed = safehold("restore", "latest", "--target", folder / "s", "--verify", "--json")
    assert failed.status == 4 and any("shop.visits" in str(event.get("message")) for event in failed.events)
    assert not (folder / "s").exists()
    assert safehold("drill").status == 4
