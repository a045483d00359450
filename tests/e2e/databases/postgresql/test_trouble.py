"""What goes wrong while a base is taken or restored: each has its sentence, and nothing half done counts."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_program import Program
from postgres_proof import Cluster, sums
from postgres_servers import Server, as_postgres

PAGE = 8192
QUIET = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


@pytest.fixture
def own(pg_folder: Path) -> Iterator[Server]:
    """A server that a test may break."""
    server = Server(pg_folder, 15, f"own{time.monotonic_ns() % 10**6}").init().start()
    server.sql("CREATE TABLE t AS SELECT n, md5(n::text) AS m FROM generate_series(1, 60000) n; CHECKPOINT")
    yield server
    server.stop(signal.SIGQUIT)


def _file_of(server: Server, table: str) -> Path:
    return server.data / str(server.sql(f"SELECT pg_relation_filepath('{table}')")[0][0])


def _snapshots(safehold: Program) -> list[object]:
    found = safehold.do("snapshots", "--json").value["snapshots"]
    assert isinstance(found, list)
    return found


@pytest.mark.parametrize("method", ["local", "stream"])
def test_a_damaged_page_is_named_and_the_base_incomplete(safehold: Program, own: Server, method: str) -> None:
    file = _file_of(own, "t")
    with file.open("r+b") as data:
        data.seek(3 * PAGE + 500)
        data.write(b"damage")
    ran = safehold("backup", own.url, "--method", method, "--json")
    assert ran.status == 3
    warning = next(event for event in ran.events if event.get("code") == "page-checksum")
    assert str(warning["path"]).endswith(file.name)
    assert "block 3" in str(warning["message"])
    assert safehold("backup", own.url).status == 3, "an unchanged file is looked at again"
    assert all(each["incomplete"] for each in _snapshots(safehold))  # type: ignore[index]
    target = own.folder / f"{own.data.name}r"
    safehold.do("restore", "latest", "--target", target)
    assert (target / file.relative_to(own.data)).read_bytes() == file.read_bytes()
    shutil.rmtree(target)


def test_a_server_that_dies_while_it_streams(safehold: Program, own: Server) -> None:
    process = safehold.start("backup", own.url, "--method", "stream", "--max-rate", "4096")
    for _ in range(300):
        if own.sql("select 1 from pg_stat_progress_basebackup where backup_streamed > 1000000"):
            break
        time.sleep(0.1)
    own.kill()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert b"went away in the middle of the base, no snapshot was made" in err
    assert b"Traceback" not in err
    assert _snapshots(safehold) == []


def test_a_server_that_dies_while_its_folder_is_read(safehold: Program, own: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    from safehold.ops.databases.postgresql.filling import Filling

    whole = Filling._control

    def dying(self: Filling) -> None:
        whole(self)
        own.kill()

    monkeypatch.setattr(Filling, "_control", dying)
    ran = safehold("backup", own.url, "--method", "local")
    assert ran.status == 1
    assert "no snapshot was made" in ran.err
    assert _snapshots(safehold) == []


def test_a_backup_that_is_killed_leaves_the_server_as_it_was(safehold: Program, own: Server) -> None:
    for method in ("stream", "local"):
        rate = ["--max-rate", "8192"] if method == "stream" else []
        process = safehold.start("backup", own.url, "--method", method, *rate, **QUIET)
        time.sleep(0.8 if method == "stream" else 0.45)
        process.kill()
        process.wait()
    time.sleep(0.3)
    assert own.sql("SELECT count(*) FROM pg_replication_slots") == [(0,)]
    expected = sums(own)
    safehold.do("backup", own.url)
    target = own.folder / f"{own.data.name}k"
    safehold.do("restore", "latest", "--target", target)
    Cluster(own).verify(target)
    with Cluster(own).started(target) as copy:
        assert sums(copy) == expected


@pytest.mark.parametrize(("major", "method"), [(15, "local"), (18, "stream")])
def test_files_come_and_go_while_they_are_read(
    safehold: Program, request: pytest.FixtureRequest, major: int, method: str
) -> None:
    cluster: Cluster = request.getfixturevalue(f"pg{major}")
    server = cluster.server
    script = server.folder / "churn.sql"
    script.write_text(
        "CREATE TABLE c:client_id AS SELECT n, repeat('c', 300) AS t FROM generate_series(1, 3000) n;\n"
        "TRUNCATE c:client_id;\nDROP TABLE c:client_id;\nVACUUM pgbench_tellers;\n"
        "UPDATE pgbench_accounts SET abalance = abalance + 1 WHERE aid % 997 = :client_id;\n"
    )
    load = [str(server.bin / "pgbench"), "-n", "-c", "3", "-T", "60", "-f", str(script), "-h", str(server.sockets), "postgres"]
    churn = subprocess.Popen([*as_postgres(), *load], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        time.sleep(0.5)
        for _ in range(2):
            safehold.do("backup", server.url, "--method", method)
    finally:
        churn.kill()
        churn.wait()
    target = cluster.target()
    safehold.do("restore", "latest", "--target", target)
    cluster.verify(target)
    with cluster.started(target) as copy:
        assert copy.sql("SELECT count(*) FROM pgbench_accounts") == [(200000,)]
        copy.run("pg_amcheck", "-h", copy.sockets, "-U", "postgres", "postgres")
    server.sql("DROP TABLE IF EXISTS c0, c1, c2")


def test_targets_that_are_refused(safehold: Program, pg15: Cluster, pg18: Cluster, tmp_path: Path) -> None:
    safehold.do("backup", pg15.url)
    live = safehold("restore", "latest", "--target", pg15.server.data)
    assert live.status == 1
    assert "A PostgreSQL server runs on" in live.err
    other = safehold("restore", "latest", "--target", pg18.server.data)
    assert "holds another PostgreSQL cluster" in other.err
    (tmp_path / "papers").mkdir()
    (tmp_path / "papers" / "letter").write_text("mine")
    strange = safehold("restore", "latest", "--target", tmp_path / "papers")
    assert "is neither empty nor a data directory" in strange.err
    assert os.listdir(tmp_path / "papers") == ["letter"]
    assert pg15.server.sql("SELECT 1") == [(1,)]
    unknown = safehold("restore", "latest", "--target", tmp_path / "n", "--tablespace", "nosuch=/tmp")
    assert unknown.status == 2
    assert not (tmp_path / "n").exists()


def test_an_interrupted_restore_does_not_start_and_is_completed(safehold: Program, pg15: Cluster) -> None:
    expected = sums(pg15.server)
    safehold.do("backup", pg15.url)
    target = pg15.target()
    for seconds in (0.35, 0.45, 0.6):
        process = safehold.start("restore", "latest", "--target", target, **QUIET)
        time.sleep(seconds)
        process.kill()
        process.wait()
        if (target / "safehold-restore").exists():
            assert not (target / "global" / "pg_control").exists()
    safehold.do("restore", "latest", "--target", target)
    pg15.prove(target, expected)


def test_a_full_disk_stops_a_restore_that_can_be_completed(safehold: Program, pg15: Cluster) -> None:
    safehold.do("backup", pg15.url)
    small = pg15.target()
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=30m", "tmpfs", small], check=True)
    try:
        ran = safehold("restore", "latest", "--target", small)
        assert ran.status == 1
        assert "No space left on device" in ran.err
        assert not (small / "global" / "pg_control").exists()
        subprocess.run(["mount", "-o", "remount,size=300m", small], check=True)
        safehold.do("restore", "latest", "--target", small)
        pg15.verify(small)
    finally:
        subprocess.run(["umount", small], check=True)


def test_servers_that_cannot_be_reached(safehold: Program, tmp_path: Path) -> None:
    ran = safehold("backup", f"postgresql://postgres@/postgres?host={tmp_path}")
    assert ran.status == 1
    assert "cannot be reached" in ran.err
    far = safehold("backup", "postgresql://postgres@/postgres?nonsense=1")
    assert far.status == 2
    wrong = safehold("backup", "postgresql:///postgres", "--method", "magic")
    assert wrong.status == 2


def test_the_local_way_needs_the_folder_here(safehold: Program, own: Server) -> None:
    """As on another machine: the folder that the server names is not that server's."""
    own.sql("CREATE ROLE copier LOGIN REPLICATION")
    url = own.url.replace("postgres@", "copier@")
    ran = safehold("backup", url, "--method", "local")
    assert ran.status == 2
    assert "--method stream" in ran.err
    safehold.do("backup", url)
    assert len(_snapshots(safehold)) == 1
