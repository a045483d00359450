"""The server's own incremental bases: merged into whole ones that are, byte for byte, what pg_combinebackup makes."""

from __future__ import annotations

import filecmp
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_program import Program
from postgres_proof import Cluster, databases, sums
from postgres_servers import Server

OWN = {"backup_label", "backup_manifest", "pg_wal", "pg_control", "recovery.signal", "postgresql.auto.conf"}
"""What differs between two bases of a server at rest, or is a restore's own."""


def _base_backup(server: Server, folder: Path, *options: object) -> Path:
    server.run("pg_basebackup", "-D", folder, "-c", "fast", "-X", "none", "-d", f"host={server.sockets} user=postgres", *options)
    return folder


def _files(folder: Path) -> Iterator[str]:
    for path in folder.rglob("*"):
        if path.is_file() and not OWN & set(path.relative_to(folder).parts):
            yield str(path.relative_to(folder))


def _same(folder: Path, other: Path) -> None:
    names = sorted(_files(folder))
    assert names == sorted(_files(other))
    _, differing, failed = filecmp.cmpfiles(folder, other, names, shallow=False)
    assert (differing, failed) == ([], [])


def _changes(server: Server) -> None:
    """Every way in which a file changes: pages, growth, a cut, a new file, one that is gone, and one cut that grew again."""
    server.sql("CREATE TABLE gone AS SELECT generate_series(1, 3000) AS n")
    server.sql("CREATE TABLE short AS SELECT n, repeat('x', 400) AS t FROM generate_series(1, 60000) n")
    server.sql("CREATE TABLE again AS SELECT n, repeat('y', 400) AS t FROM generate_series(1, 20000) n")
    server.sql("CREATE TABLE small AS SELECT n FROM generate_series(1, 2000) n")


def _more_changes(server: Server) -> None:
    server.sql("DROP TABLE gone; CREATE TABLE fresh AS SELECT generate_series(1, 9000) AS n")
    for table, keep in (("short", 30000), ("again", 200)):
        server.sql(f"DELETE FROM {table} WHERE n > {keep}")
        server.sql(f"VACUUM (TRUNCATE) {table}")
    server.sql("INSERT INTO again SELECT n, repeat('z', 400) FROM generate_series(1, 9000) n")
    server.sql("UPDATE pgbench_accounts SET abalance = aid WHERE aid % 5000 = 3")
    server.sql("UPDATE small SET n = n + 1 WHERE n = 1000")


@pytest.fixture
def changing(pg18: Cluster) -> Iterator[Cluster]:
    _changes(pg18.server)
    yield pg18
    pg18.server.sql("DROP TABLE IF EXISTS gone, fresh, short, again, small")


def test_a_merged_base_is_what_pg_combinebackup_makes(safehold: Program, changing: Cluster) -> None:
    server = changing.server
    safehold.do("backup", server.url, "--method", "stream")
    full = _base_backup(server, changing.target())
    _more_changes(server)
    parts = [full]
    for number in range(2):
        server.sql(f"UPDATE pgbench_accounts SET abalance = -aid WHERE aid % 7000 = {number}")
        parts.append(_base_backup(server, changing.target(), f"--incremental={parts[-1]}/backup_manifest"))
        safehold.do("backup", server.url, "--method", "incremental")
    combined = changing.target()
    server.run("pg_combinebackup", "-o", combined, *parts)
    target = changing.target()
    safehold.do("restore", "latest", "--target", target)
    assert databases(safehold)[-1].method == "incremental"
    _same(target, combined)
    assert b"INCREMENTAL" not in (target / "backup_label").read_bytes()
    changing.prove(target, sums(server))
    for folder in (*parts, combined):
        shutil.rmtree(folder)


def test_local_streamed_and_incremental_bases_follow_each_other(safehold: Program, changing: Cluster) -> None:
    server = changing.server
    safehold.do("backup", server.url, "--method", "local")
    _more_changes(server)
    first = safehold.do("backup", server.url, "--method", "incremental", "--json").value
    assert first["bytes_stored"] < 2_500_000  # type: ignore[operator]
    for method in ("stream", "local", "incremental"):
        again = safehold.do("backup", server.url, "--method", method, "--json").value
        assert again["bytes_stored"] < 200_000, method  # type: ignore[operator]
    assert [base.method for base in databases(safehold)] == ["local", "incremental", "stream", "local", "incremental"]
    target = changing.target()
    safehold.do("restore", "latest", "--target", target)
    changing.prove(target, sums(server))


def test_a_key_that_may_only_write_makes_incremental_bases(safehold: Program, changing: Cluster, tmp_path: Path) -> None:
    writer = tmp_path / "writer.key"
    safehold.do("key", "writer", writer)
    for method in ("stream", "incremental", "local", "incremental"):
        done = safehold.do("--key-file", writer, "backup", changing.url, "--method", method, "--json").value
        changing.server.sql("UPDATE pgbench_accounts SET abalance = abalance + 1 WHERE aid % 10000 = 9")
        if method != "stream":
            assert done["bytes_stored"] < 400_000, method  # type: ignore[operator]
    assert databases(safehold)[-1].method == "incremental"
    target = changing.target()
    safehold.do("restore", "latest", "--target", target)
    changing.verify(target)
    shutil.rmtree(target)


def test_a_server_without_summaries_gives_a_whole_base(safehold: Program, pg18: Cluster) -> None:
    server = pg18.server
    safehold.do("backup", server.url, "--method", "stream")
    server.sql("ALTER SYSTEM SET summarize_wal = off")
    server.sql("SELECT pg_reload_conf()")
    server.sql("UPDATE pgbench_tellers SET tbalance = 5; SELECT pg_switch_wal(); CHECKPOINT")
    for summary in (server.data / "pg_wal" / "summaries").iterdir():
        summary.unlink()
    try:
        safehold.do("backup", server.url, "--method", "incremental")
        server.sql("ALTER SYSTEM RESET summarize_wal")
        server.sql("SELECT pg_reload_conf()")
        ran = safehold.do("backup", server.url, "--method", "incremental")
    finally:
        server.sql("ALTER SYSTEM RESET summarize_wal")
        server.sql("SELECT pg_reload_conf()")
    assert [base.method for base in databases(safehold)][1] == "stream"
    assert ran.status == 0
