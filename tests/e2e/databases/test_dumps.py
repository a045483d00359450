"""Logical dumps: real servers, dumped and loaded again; and programs that fail in every way a pipe hides."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_program import Program
from postgres_servers import Server, folder_for_servers, programs

from safehold.sources import dumps
from safehold.sources.database_url import parse


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("PATH", f"{programs(15)}:{os.environ['PATH']}")
    with folder_for_servers() as folder:
        started = Server(folder).init().start()
        yield started
        started.stop()


def _all(server: Server) -> str:
    return f"postgresql://postgres@/?host={server.sockets}"


def test_a_postgresql_server_is_dumped_and_loaded_into_another(safehold: Program, server: Server, tmp_path: Path) -> None:
    server.sql("create role alice login password 'x'")
    server.sql('create database "odd/name" owner alice')
    server.sql("create table t as select n, md5(n::text) as m from generate_series(1, 5000) n", "odd/name")
    expected = server.sql("select count(*), sum(n), md5(string_agg(m, '' order by n)) from t", "odd/name")
    safehold.do("backup", _all(server), "--method", "dump", "--tag", "sql")
    safehold.do("restore", "latest:sql", "--target", tmp_path / "dump")
    assert sorted(os.listdir(tmp_path / "dump")) == ["globals.sql", "odd%2Fname.sql", "postgres.sql"]
    other = Server(server.folder, name="other").init().start()
    try:
        where = f"--host={other.sockets}"
        text = (tmp_path / "dump/globals.sql").read_text()
        other.run("psql", where, "-X", "-d", "postgres", input=text)
        assert other.sql("select rolcanlogin from pg_roles where rolname = 'alice'") == [(True,)]
        other.sql('create database "odd/name"')
        other.run(
            "psql", where, "-X", "-v", "ON_ERROR_STOP=1", "-d", "odd/name", input=(tmp_path / "dump/odd%2Fname.sql").read_text()
        )
        assert other.sql("select count(*), sum(n), md5(string_agg(m, '' order by n)) from t", "odd/name") == expected
    finally:
        other.stop()


def test_the_next_dump_adds_what_changed(safehold: Program, server: Server) -> None:
    server.sql("create table t as select n, md5(n::text) as m from generate_series(1, 100000) n")
    first = safehold.do("backup", server.url, "--method", "dump", "--json").value
    server.sql("update t set m = 'changed' where n = 50000")
    second = safehold.do("backup", server.url, "--method", "dump", "--json").value
    assert int(str(second["bytes_added"])) < int(str(first["bytes_added"])) / 20


def test_a_database_that_is_not_there_makes_no_snapshot(safehold: Program, server: Server) -> None:
    failed = safehold("backup", f"postgresql://postgres@/nothing?host={server.sockets}", "--method", "dump")
    assert failed.status == 1 and "nothing" in failed.err
    failed = safehold("backup", "postgresql://postgres@/?host=/nowhere", "--method", "dump")
    assert failed.status == 1 and "could not be asked" in failed.err
    assert safehold.do("snapshots", "--json").value["snapshots"] == []


def test_passwords_are_in_no_snapshot_and_no_message(safehold: Program, server: Server) -> None:
    safehold.do("backup", f"postgresql://postgres:hush@/postgres?host={server.sockets}", "--method", "dump")
    assert "hush" not in safehold.do("snapshots", "--json").out
    failed = safehold("backup", "postgresql://postgres:hush@/?host=/nowhere", "--method", "dump")
    assert "hush" not in failed.err
    failed = safehold("backup", "postgresql://postgres:hush@host:port/db", "--method", "dump")
    assert failed.status == 2 and "hush" not in failed.err


WHOLE = "--\n-- PostgreSQL database dump\n--\n" + "x\n" * 200 + "\n-- PostgreSQL database dump complete\n"


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (f"printf %s '{WHOLE[:300]}'", "cut off"),
        (f"printf %s '{WHOLE[:100]}'", "fewer than any dump"),
        (f"printf 'ERROR'; printf %s '{WHOLE}'", "does not begin"),
        (
            f"printf %s '{WHOLE}'; echo 'the disk is gone' >&2; exit 3",
            "exited with status 3 while it wrote postgres.sql: the disk is gone",
        ),
        (f"printf %s '{WHOLE}'; kill -9 $$", "killed by signal 9"),
    ],
)
def test_what_is_no_whole_dump_makes_no_snapshot(
    safehold: Program, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, said: str
) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/pg_dump").write_text(f"#!/bin/sh\n{script}\n")
    (tmp_path / "bin/pg_dump").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    failed = safehold("backup", server.url, "--method", "dump")
    assert failed.status == 1 and said in failed.err
    assert safehold.do("snapshots", "--json").value["snapshots"] == []


def test_a_program_that_is_not_installed_is_named(safehold: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    failed = safehold("backup", "mongodb://localhost/")
    assert failed.status == 1 and "no mongodump on this machine" in failed.err


@pytest.mark.parametrize(
    ("scheme", "installed", "dump", "accounts"),
    [
        ("mysql", {"mysqldump": "Ver 9.7.4 for Linux (MySQL)", "mariadb-dump": ""}, "mysqldump", sys.executable),
        ("mariadb", {"mysqldump": "Ver 9.7.4 for Linux (MySQL)", "mariadb-dump": ""}, "mariadb-dump", "mariadb-dump"),
        ("mysql", {"mysqldump": "Ver 10.19 Distrib 10.11.19-MariaDB", "mariadb-dump": ""}, "mariadb-dump", "mariadb-dump"),
        ("mysql", {"mysqldump": "Ver 10.17 Distrib 10.4.1-MariaDB"}, "mysqldump", "mysqldump"),
    ],
)
def test_which_programs_dump_mysql(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme: str, installed: dict[str, str], dump: str, accounts: str
) -> None:
    """MySQL's own know its GTIDs: without an option, only the first file of a dump could be loaded."""
    for name, version in {"mysql": "", "mariadb": "", **installed}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n[ $1 = --version ] && echo '{version}' || echo shop\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    every, only = dumps.parts(parse(f"{scheme}://root@db/")), dumps.parts(parse(f"{scheme}://anna@db/shop"))
    assert [part.name for part in every] == ["users.sql", "shop.sql"] and [part.name for part in only] == ["shop.sql"]
    assert every[0].command[0] == accounts and every[1].command[0] == dump
    assert ("--set-gtid-purged=OFF" in every[1].command) == (accounts == sys.executable)


def test_files_only_options_are_refused(safehold: Program) -> None:
    failed = safehold("backup", "redis://localhost", "--exclude", "*.tmp")
    assert failed.status == 2 and "--exclude is for files" in failed.err
    failed = safehold("backup", "redis://localhost", "--method", "local")
    assert failed.status == 2 and "dumped only" in failed.err


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[Path]:
    with folder_for_servers() as folder:
        process = _start_redis(folder, "--requirepass", "geheim")
        yield folder / "s"
        process.terminate()
        process.wait(20)


def _start_redis(folder: Path, *options: str) -> subprocess.Popen[bytes]:
    command = ["redis-server", "--port", "0", "--unixsocket", str(folder / "s"), "--dir", str(folder), "--save", "", *options]
    process = subprocess.Popen(command, executable="/usr/bin/redis-check-rdb", stdout=subprocess.DEVNULL)
    for _ in range(200):
        if (folder / "s").exists() and b"PONG" in _redis(folder / "s", "ping"):
            return process
        time.sleep(0.05)
    raise AssertionError("redis does not answer")


def _redis(socket: Path, *words: str, stdin: bytes | None = None) -> bytes:
    environment = os.environ | {"REDISCLI_AUTH": "geheim"}
    return subprocess.run(
        ["redis-cli", "-s", socket, *words], env=environment, input=stdin, capture_output=True, check=False
    ).stdout


@pytest.mark.parametrize("diskless", ["yes", "no"])
def test_redis_is_dumped_and_loaded(safehold: Program, redis: Path, tmp_path: Path, diskless: str) -> None:
    _redis(redis, "config", "set", "repl-diskless-sync", diskless)
    _redis(redis, "config", "set", "repl-diskless-sync-delay", "0")
    _redis(redis, stdin=b"".join(b"set key:%d %d\n" % (n, n * n) for n in range(2000)))
    safehold.do("backup", f"redis://:geheim@/?socket={redis}")
    with folder_for_servers() as folder:
        safehold.do("restore", "latest", "--target", folder / "restored")
        assert subprocess.run(["redis-check-rdb", folder / "restored/dump.rdb"], capture_output=True, check=False).returncode == 0
        again = _start_redis(folder / "restored")
        try:
            assert _redis(folder / "restored/s", "dbsize").split()[-1] == b"2000"
            assert _redis(folder / "restored/s", "get", "key:1234") == b"1522756\n"
        finally:
            again.terminate()
            again.wait(20)
    failed = safehold("backup", f"redis://:wrong@/?socket={redis}")
    assert failed.status == 1 and "WRONGPASS" in failed.err
