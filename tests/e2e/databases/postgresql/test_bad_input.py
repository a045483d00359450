"""What people get wrong about a server's address, its folders and disks: one clear sentence, a status, and nothing half written."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_program import Program, Ran
from disks import memory_disk
from postgres_proof import Cluster, sums
from postgres_servers import USER, Server


@pytest.fixture(scope="module")
def encrypted(pg_folder: Path) -> Iterator[Server]:
    """A server that is reached over TCP, with a certificate that says it is somebody else's."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = Server(pg_folder, 15, "tls").init(listen_addresses="127.0.0.1", port=str(port), ssl="on")
    key = ["-out", server.data / "server.crt", "-keyout", server.data / "server.key"]
    made = ["openssl", "req", "-new", "-x509", "-days", "2", "-nodes", "-subj", "/CN=elsewhere.example", *key]
    subprocess.run(made, check=True, capture_output=True)
    (server.data / "server.key").chmod(0o600)
    if os.geteuid() == 0:
        subprocess.run(["chown", USER, server.data / "server.crt", server.data / "server.key"], check=True)
    server.port = port
    yield server.start()
    server.stop()


def _nothing_was_made(safehold: Program, ran: Ran, status: int = 1) -> str:
    """The sentence of a run that failed and left the repository as it was."""
    assert ran.status == status, ran.err
    assert "bug" not in ran.err
    assert len(ran.err.strip().splitlines()) == 1, ran.err
    assert safehold.do("snapshots", "--json").value["snapshots"] == []
    return ran.err


@pytest.mark.parametrize("command", [["backup"], ["backup", "--method", "stream"], ["db", "status"]])
@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("sslmode=verify-full&sslrootcert=/nowhere/root.crt", 'root certificate file "/nowhere/root.crt" does not exist'),
        (
            "sslmode=verify-full&sslrootcert=CERT",
            'server certificate for "elsewhere.example" does not match host name "127.0.0.1"',
        ),
        ("sslmode=nonsense", 'invalid sslmode value: "nonsense"'),
        ("user=nobody", 'role "nobody" does not exist'),
        ("port=1", "port 1 failed: Connection refused"),
    ],
)
def test_addresses_that_lead_nowhere(safehold: Program, encrypted: Server, query: str, told: str, command: list[str]) -> None:
    user = "" if "user=" in query else f"{USER}@"
    query = query.replace("CERT", str(encrypted.data / "server.crt"))
    url = f"postgresql://{user}127.0.0.1{'' if 'port=' in query else f':{encrypted.port}'}/postgres?{query}"
    said = _nothing_was_made(safehold, safehold(*command, url))
    assert said.startswith("safehold: The PostgreSQL server postgresql://")
    if "user=" in query:
        assert " does not let this user in: " in said and told in said
    else:
        assert " cannot be reached: " in said and f"{told}. Check the URL" in said
    assert "connection failed: connection" not in said


@pytest.mark.parametrize("address", ["127.0.0.1:99999/postgres", "127.0.0.1:abc/postgres", "/postgres?nonsense=1"])
def test_addresses_that_are_none(safehold: Program, address: str) -> None:
    for command in ("backup", "db status", "pg receive"):
        said = _nothing_was_made(safehold, safehold(*command.split(), f"postgresql://{USER}:secret@{address}"), 2)
        assert "Write " in said
        assert "secret" not in said


def test_a_database_that_is_not_there(safehold: Program, pg15: Cluster) -> None:
    """A base is of the whole cluster and needs no database; asking the server does."""
    wrong = pg15.url.replace("/postgres?", "/nosuch?")
    said = _nothing_was_made(safehold, safehold("db", "status", wrong))
    assert 'database "nosuch" does not exist' in said


def test_a_spool_on_a_disk_that_takes_no_file(safehold: Program, pg15: Cluster, tmp_path: Path) -> None:
    segment = str(pg15.server.sql("SELECT pg_walfile_name(pg_current_wal_lsn())")[0][0])
    path = pg15.server.data / "pg_wal" / segment
    with memory_disk(tmp_path / "disk", "64m") as disk:
        safehold.do("pg", "archive-push", path, "--spool", disk / "used", "--no-upload")
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        before = sorted(disk.rglob("*"))
        pushed = _nothing_was_made(safehold, safehold("pg", "archive-push", path, "--spool", disk / "new", "--no-upload"))
        assert pushed.startswith(f"safehold: {segment} was not archived: {disk / 'new'}: Read-only file system. ")
        for command in (["pg", "archive-upload"], ["pg", "receive", pg15.url]):
            for spool in (disk / "used", disk / "new"):
                said = _nothing_was_made(safehold, safehold(*command, "--spool", spool))
                assert said.startswith(f"safehold: The spool {spool} cannot be written: Read-only file system. ")
        assert sorted(disk.rglob("*")) == before
    assert pg15.server.sql("SELECT count(*) FROM pg_replication_slots") == [(0,)]


def test_a_tablespace_that_would_lie_in_the_data_directory(safehold: Program, pg15: Cluster) -> None:
    place = pg15.server.folder / "side"
    place.mkdir()
    if os.geteuid() == 0:
        subprocess.run(["chown", USER, place], check=True)
    pg15.server.sql(f"CREATE TABLESPACE side LOCATION '{place}'")
    pg15.server.sql("CREATE TABLE apart TABLESPACE side AS SELECT generate_series(1, 500) AS n")
    try:
        expected = sums(pg15.server)
        safehold.do("backup", pg15.url)
        target = pg15.target()
        link = pg15.server.folder / "leads into it"
        link.symlink_to(target)
        for wrong in (target, target / "inside", target / "pg_tblspc" / "7", target.parent, link / "inside"):
            ran = safehold("restore", "latest", "--target", target, "--tablespace", f"side={wrong}")
            assert ran.status == 1
            assert ran.err.startswith(
                f"safehold: The folder {wrong} of tablespace side and the data directory ({target}) lie one in"
            )
            assert not target.exists()
        apart = pg15.server.folder / "apart"
        safehold.do("restore", "latest", "--target", target, "--tablespace", f"side={apart}")
        pg15.prove(target, expected)
    finally:
        pg15.server.sql("DROP TABLE apart")
        pg15.server.sql("DROP TABLESPACE side")


def test_an_image_copy_where_not_one_file_fits(safehold: Program, pg15: Cluster, tmp_path: Path) -> None:
    def create(folder: Path) -> str:
        return _nothing_was_made(safehold, safehold("image-copy", "create", "copy", pg15.url, "--target", folder))

    with memory_disk(tmp_path / "disk", "8k") as disk:
        (disk / "fills it").write_bytes(bytes(8192))
        assert "No space left on device" in create(disk / "copy")
        assert not list(disk.rglob("data"))
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        assert f"{disk / 'other'} cannot be made: Read-only file system. Choose another folder." in create(disk / "other")
    assert safehold.do("image-copy", "list", "--json").value["image_copies"] == []
    assert pg15.server.sql("SELECT count(*) FROM pg_replication_slots") == [(0,)]


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1"])
def test_a_cluster_of_another_encoding(safehold: Program, pg_folder: Path, encoding: str) -> None:
    """It was unforeseen once: of SQL_ASCII, text comes as bytes unless an encoding is asked for."""
    server = Server(pg_folder, 15, encoding.lower()).init(f"--encoding={encoding}").start()
    try:
        for method in ("local", "stream"):
            safehold.do("backup", server.url, "--method", method)
        status = safehold("db", "status", server.url, "--json")
        assert status.status == 16, "nothing is archived"
        assert [each["code"] for each in status.value["warnings"]] == ["archiving-off"]  # type: ignore[attr-defined]
    finally:
        server.stop()
