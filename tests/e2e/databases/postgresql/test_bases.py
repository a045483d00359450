"""Bases of real servers: taken in every way, restored, proved by PostgreSQL itself."""

from __future__ import annotations

import json
import shutil
import signal
import time
from pathlib import Path

import pytest
from cli_program import Program
from postgres_proof import Cluster, databases, sums
from postgres_servers import Server


def _added(safehold: Program, cluster: Cluster, *words: object) -> dict[str, object]:
    return safehold.do("backup", cluster.url, "--json", *words).value


@pytest.mark.parametrize("method", ["local", "stream"])
def test_bases_come_back_whole_and_only_changed_pages_are_stored_again(safehold: Program, cluster: Cluster, method: str) -> None:
    first = _added(safehold, cluster, "--method", method)
    cluster.server.sql("UPDATE pgbench_accounts SET abalance = abalance + 1 WHERE aid % 20000 = 7")
    expected = sums(cluster.server)
    second = _added(safehold, cluster, "--method", method)
    assert second["bytes_stored"] < first["bytes_stored"] / 6  # type: ignore[operator]
    third = _added(safehold, cluster, "--method", method)
    assert third["bytes_stored"] < 150_000  # type: ignore[operator]
    target = cluster.target()
    safehold.do("restore", "latest", "--target", target, "--verify")
    assert not (target / "safehold-restore").exists()
    assert (target / "backup_manifest").read_text().count('"Checksum"') > 900
    cluster.prove(target, expected)


def test_files_that_did_not_change_are_not_read(safehold: Program, pg15: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("safehold.ops.databases.postgresql.filling.RACY_NS", 0)
    _added(safehold, pg15)
    again = _added(safehold, pg15)
    assert again["files_unchanged"] > 900  # type: ignore[operator]
    assert again["bytes_read"] < 20e6  # type: ignore[operator]
    assert _added(safehold, pg15, "--force")["bytes_read"] > 50e6  # type: ignore[operator]


def test_a_delta_restore_writes_what_differs(safehold: Program, pg15: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = sums(pg15.server)
    _added(safehold, pg15)
    target = pg15.target()
    monkeypatch.setattr("safehold.ops.databases.postgresql.restore.CACHED", 1 << 50)  # no base is small beside no memory
    safehold.do("restore", "latest", "--target", target)
    copy = Server(target.parent, pg15.major, target.name)
    copy.start("-c", f"unix_socket_directories={copy.sockets}")
    _wait(copy, "SELECT NOT pg_is_in_recovery()")
    copy.sql("UPDATE pgbench_accounts SET abalance = 7 WHERE aid < 100; CREATE TABLE more AS SELECT 1 AS n")
    copy.stop()
    (target / "more.txt").write_text("not of the base")
    done = safehold.do("restore", "latest", "--target", target, "--json").value
    assert 0 < done["bytes_written"] < 45e6  # type: ignore[operator]
    assert done["removed"] >= 2  # type: ignore[operator]
    pg15.prove(target, expected)


def test_tablespaces_go_where_they_are_told(safehold: Program, cluster: Cluster) -> None:
    space = cluster.server.folder / f"space{cluster.major}"
    made = space.with_suffix(".new")
    for folder in (space, made):
        folder.mkdir()
        shutil.chown(folder, "postgres", "postgres")
    cluster.server.sql(f"CREATE TABLESPACE big LOCATION '{space}'")
    cluster.server.sql("CREATE TABLE spaced TABLESPACE big AS SELECT generate_series(1, 40000) AS n")
    try:
        expected = sums(cluster.server)
        for method in ("local", "stream"):
            _added(safehold, cluster, "--method", method)
            target = cluster.target()
            refused = safehold("restore", "latest", "--target", target)
            assert refused.status == 1
            assert "is not empty" in refused.err
            assert not target.exists()
            wanted = f"{space}={made}"
            safehold.do("restore", "latest", "--target", target, "--tablespace", wanted)
            assert {link.readlink() for link in (target / "pg_tblspc").iterdir()} == {made}
            cluster.verify(target)
            safehold.do("restore", "latest", "--target", target, "--tablespace", wanted)  # once more, over itself
            cluster.prove(target, expected)
            shutil.rmtree(next(made.iterdir()))
    finally:
        cluster.server.sql("DROP TABLE spaced")
        cluster.server.sql("DROP TABLESPACE big")


def test_a_standby_can_be_backed_up(safehold: Program, cluster: Cluster) -> None:
    data = cluster.target()
    where = f"host={cluster.server.sockets} user=postgres"
    cluster.server.run("pg_basebackup", "-D", data, "-R", "-X", "stream", "-c", "fast", "-d", where)
    standby = Server(data.parent, cluster.major, data.name)
    standby.start("-c", f"unix_socket_directories={standby.sockets}")
    try:
        cluster.server.sql("UPDATE pgbench_tellers SET tbalance = tbalance + 1")
        expected = sums(cluster.server)
        position = cluster.server.sql("SELECT pg_current_wal_lsn()::text")[0][0]
        _wait(standby, f"SELECT pg_last_wal_replay_lsn() >= '{position}'")
        for method in ("local", "stream"):
            _added(safehold, Cluster(standby), "--method", method)
    finally:
        standby.stop()
    for number, method in enumerate(("stream", "local")):
        assert databases(safehold)[-1 - number].method == method
        assert databases(safehold)[-1 - number].facts["standby"] == "yes"
        target = cluster.target()
        snapshot = safehold.do("snapshots", "--json").value["snapshots"][-1 - number]  # type: ignore[index]
        safehold.do("restore", snapshot["id"], "--target", target)
        assert not (target / "standby.signal").exists()
        cluster.prove(target, expected)
    shutil.rmtree(data)


def _wait(server: Server, question: str) -> None:
    for _ in range(200):
        if server.sql(question)[0][0]:
            return
        time.sleep(0.05)
    raise AssertionError(question)


def test_a_failing_archive_command_is_told_and_never_waited_for(safehold: Program, pg_folder: Path) -> None:
    server = Server(pg_folder, 15, "failing").init(archive_mode="on", archive_command="/bin/false").start()
    try:
        server.sql("SELECT pg_switch_wal()")
        _wait(server, "SELECT failed_count > 0 FROM pg_stat_archiver")
        for method in ("local", "stream"):
            ran = safehold("backup", server.url, "--method", method, "--json")
            assert ran.status == 0
            assert "archiving" in [event.get("code") for event in ran.events]
    finally:
        server.stop(signal.SIGQUIT)


def test_what_is_known_of_a_base(safehold: Program, cluster: Cluster) -> None:
    _added(safehold, cluster, "--method", "local")
    database = databases(safehold)[-1]
    assert database.system == cluster.server.sql("SELECT system_identifier::text FROM pg_control_system()")[0][0]
    assert database.engine == "postgresql"
    assert database.method == "local"
    assert database.timeline == 1
    assert 0 < database.start < database.stop
    assert database.facts["major"] == str(cluster.major)
    assert database.facts["wal_segment_size"] == "16777216"
    assert database.facts["block_size"] == "8192"
    assert json.loads(database.facts["tablespaces"]) == {}
    assert database.facts["data_directory"] == str(cluster.server.data)
