"""One table out of a physical backup, at a moment; and backups that are proved by bringing them back."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_program import Program
from postgres_archiving import Archiving
from postgres_servers import OLD, Server, folder_for_servers

from safehold.sources.postgresql import deep_check
from safehold.sources.postgresql.programs import Account


@pytest.fixture
def server(safehold: Program) -> Iterator[Server]:
    """A server that archives into the repository."""
    safehold.set(SAFEHOLD_STATE_DIR=str(safehold.folder / "state"))
    with folder_for_servers() as folder:
        started = Server(folder).init().start()
        yield started
        started.stop()


@pytest.fixture(autouse=True)
def nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No scratch folder and no private server outlives a test."""
    with folder_for_servers() as folder:
        monkeypatch.setattr(tempfile, "tempdir", str(folder))
        yield
        monkeypatch.undo()
        assert os.listdir(folder) == []


def test_one_table_comes_out_of_a_base(
    safehold: Program, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.sql('create schema "odd one"')
    server.sql('create table "odd one"."T" as select n, md5(n::text) m from generate_series(1, 3000) n')
    server.sql("create table other as select 'secret' s")
    server.sql("create database shop")
    server.sql("create table orders as select generate_series(1, 100) n", "shop")
    safehold.do("backup", server.url, "--tag", "db")
    server.sql('drop table "odd one"."T"')
    monkeypatch.chdir(tmp_path)
    safehold.do("restore", "latest:db", "--target", "t.sql", "--extract", "postgres.odd one.T")
    text = (tmp_path / "t.sql").read_text()
    assert "secret" not in text and text.count("\n") > 3000
    server.run("psql", f"--host={server.sockets}", "-X", "-v", "ON_ERROR_STOP=1", "-d", "postgres", input=text)
    assert server.sql('select count(*), sum(n) from "odd one"."T"') == [(3000, 4501500)]
    both = ("--extract", "shop", "--extract", "postgres.other")
    safehold.do("restore", "latest:db", "--target", tmp_path / "both.sql", *both)
    text = (tmp_path / "both.sql").read_text()
    assert '\\connect "shop"' in text and "secret" in text and "CREATE TABLE public.orders" in text


def test_a_table_goes_straight_into_another_server(safehold: Program, server: Server, tmp_path: Path) -> None:
    server.sql("create table t as select generate_series(1, 500) n")
    safehold.do("backup", server.url)
    server.sql("create database rescue")
    ran = safehold.do(
        "restore", "latest", "--target", server.url.replace("/postgres?", "/rescue?"), "--extract", "postgres.t", "--json"
    )
    assert ran.value["event"] == "extract"
    assert server.sql("select sum(n) from t", "rescue") == [(125250,)]
    again = safehold("restore", "latest", "--target", server.url.replace("/postgres?", "/rescue?"), "--extract", "postgres.t")
    assert again.status == 1 and "already exists" in again.err
    assert server.sql("select sum(n) from t", "rescue") == [(125250,)]


def test_a_table_as_it_was_at_a_moment(safehold: Program, archiving: Archiving, tmp_path: Path) -> None:
    archiving.add(1)
    archiving.base()
    archiving.add(100)
    moment = archiving.now()
    archiving.server.sql("truncate t")
    archiving.archived()
    safehold.do("restore", "latest", "--target", tmp_path / "t.sql", "--extract", "postgres.t", "--to-time", moment)
    assert re.search(r"^100\b", (tmp_path / "t.sql").read_text(), re.MULTILINE)
    safehold.do("restore", "latest", "--target", tmp_path / "now.sql", "--extract", "postgres.t")
    assert not re.search(r"^100\b", (tmp_path / "now.sql").read_text(), re.MULTILINE)


def test_what_is_not_there_is_named_and_nothing_is_left(safehold: Program, server: Server, tmp_path: Path) -> None:
    safehold.do("backup", server.url)
    failed = safehold("restore", "latest", "--target", tmp_path / "x.sql", "--extract", "nothing.t")
    assert failed.status == 2 and "no database for `nothing.t`" in failed.err and "postgres" in failed.err
    failed = safehold("restore", "latest", "--target", tmp_path / "x.sql", "--extract", "postgres.t")
    assert failed.status == 2 and "no table `t`" in failed.err
    failed = safehold("restore", "latest", "--target", tmp_path / "none" / "x.sql", "--extract", "postgres")
    assert failed.status == 1
    failed = safehold("restore", "latest", "--target", tmp_path / "x.sql", "--extract", "postgres", "--programs", tmp_path)
    assert failed.status == 1 and f"PostgreSQL {OLD}" in failed.err
    assert not (tmp_path / "x.sql").exists() and not list(tmp_path.glob("*.part"))


def test_a_drill_proves_a_base(safehold: Program, server: Server) -> None:
    server.bench("-i", "-s", "1", "-q")
    safehold.do("backup", server.url)
    proved = safehold.do("drill", "--json").value
    assert proved["event"] == "drill" and proved["databases"] == 3


def test_a_drill_finds_damage_that_came_with_the_backup(safehold: Program, server: Server) -> None:
    server.sql("create table t as select n, md5(n::text) m from generate_series(1, 5000) n")
    server.sql("create index i on t (m)")
    server.sql("checkpoint")
    ((path,),) = server.sql("select pg_relation_filepath('t')")
    server.stop()
    with (server.data / str(path)).open("r+b") as file:
        file.seek(8192 * 2 + 6000)
        file.write(b"\xee" * 64)
    server.start()
    assert safehold("backup", server.url).status == 3
    failed = safehold("drill")
    assert failed.status == 4 and "damaged" in failed.err


def test_damage_is_found_without_pg_amcheck(server: Server, tmp_path: Path) -> None:
    """Version 13 has no such program."""
    account = Account(os.geteuid(), os.getegid())

    def problem() -> str:
        return deep_check.problem(server.sockets, "postgres", tmp_path, account)

    server.sql("CREATE DATABASE other")
    server.sql("CREATE TABLE t AS SELECT n FROM generate_series(1, 50) n; CREATE INDEX i ON t (n)")
    server.sql("CREATE TABLE bare AS SELECT n FROM generate_series(1, 5000) n")
    assert problem() == ""
    server.sql("UPDATE pg_index SET indisready = false WHERE indexrelid = 'i'::regclass")
    server.sql("INSERT INTO t VALUES (99)")
    server.sql("UPDATE pg_index SET indisready = true WHERE indexrelid = 'i'::regclass")
    assert re.fullmatch(r'postgres: i: heap tuple .* from table "t" lacks matching index tuple within index "i"', problem())
    server.sql("REINDEX INDEX i")
    assert problem() == ""
    ((path,),) = server.sql("SELECT pg_relation_filepath('bare')")
    server.stop()
    with (server.data / str(path)).open("r+b") as file:
        file.seek(8192 * 2 + 6000)
        file.write(b"\xee" * 64)
    server.start()
    assert problem() == f"postgres: bare: invalid page in block 2 of relation {path}"


def test_a_drill_of_files(safehold: Program, tmp_path: Path) -> None:
    (tmp_path / "source/sub").mkdir(parents=True)
    (tmp_path / "source/sub/file").write_bytes(b"content")
    safehold.do("backup", tmp_path / "source")
    assert safehold.do("drill", "--json").value["bytes"] == 7
    assert subprocess.run(["ls", tmp_path / "source/sub"], capture_output=True, check=True).stdout == b"file\n"


def test_a_tablespace_made_since_the_base_is_not_written_to(archiving: Archiving) -> None:
    """A private server that replayed its making would write into the original's folder."""
    a = archiving
    a.add(1)
    a.base()
    a.add(2)
    before = a.now()
    a.add(3)
    a.server.sql("SELECT pg_switch_wal()")
    space = a.folder / "made_since"
    subprocess.run(["install", "-d", "-o", "postgres", "-m", "700", space], check=True)
    a.server.sql(f"CREATE TABLESPACE since LOCATION '{space}'")
    a.server.sql("CREATE TABLE spaced TABLESPACE since AS SELECT generate_series(1, 1000) n; CHECKPOINT")
    a.archived()
    files = {path: path.read_bytes() for path in space.rglob("*") if path.is_file()}
    a.server.sql("UPDATE spaced SET n = 0; CHECKPOINT")
    changed = {path: path.read_bytes() for path in files}
    refused = a.program("drill", "latest")
    assert refused.status == 1 and str(space) in refused.err
    out = a.folder / "spaced.sql"
    refused = a.program("restore", "latest", "--target", out, "--extract", "postgres.spaced")
    assert refused.status == 1 and not out.exists()
    assert {path: path.read_bytes() for path in files} == changed
    a.program.do("restore", "latest", "--target", out, "--extract", "postgres.t", "--to-time", before)
    assert "\n2\t" in out.read_text()
