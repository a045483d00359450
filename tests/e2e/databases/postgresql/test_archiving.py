"""Archiving by archive_command and by streaming, on real servers: kills, full disks, other content, switched timelines."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from postgres_archiving import Archiving, numbers
from postgres_servers import Server

from safehold.sources.postgresql import records


def until(check: Callable[[], object], what: str, seconds: float = 30) -> None:
    for _ in range(int(seconds / 0.05)):
        if check():
            return
        time.sleep(0.05)
    raise AssertionError(f"not within {seconds} s: {what}")


def _catalogue(a: Archiving) -> list[str]:
    """Names of what the repository's commits hold, one by one for each commit's newest."""
    from postgres_proof import opened

    from safehold.ops.databases import logs

    return [stored.log.name for stored in logs.catalogue(opened(a.program), "postgresql", a.system).logs]


def test_times_and_points_are_those_of_pg_waldump(archiving_any: Archiving) -> None:
    a = archiving_any
    a.server.bench("-i", "-s", "1", "-q")
    a.server.bench("-t", "400", "-c", "2")
    a.server.sql("SELECT pg_create_restore_point('here')")
    a.server.sql("BEGIN; CREATE TABLE gone (n int); ROLLBACK")
    a.server.sql("SELECT pg_switch_wal()")
    seen = []
    for path in sorted((a.server.data / "pg_wal").glob("0000000100*")):
        content = records.scan(path.read_bytes(), path.name)
        text = a.server.run("pg_waldump", path, check=False, env={**os.environ, "TZ": "UTC"}).stdout
        if f"{path.name[-2:]}" == "" or not text:
            continue
        times = re.findall(r"desc: (?:COMMIT|ABORT)\S* (\S+ \S+) UTC", text)
        points = re.findall(r"desc: RESTORE_POINT (\S+)", text)
        moments = [
            datetime.fromtimestamp(ns / 10**9, UTC).strftime("%Y-%m-%d %H:%M:%S") for ns in (content.first_ns, content.last_ns)
        ]
        if times and str(content.header.version) == str(a.server.major):
            assert moments == [times[0][:19], times[-1][:19]], path.name
        assert [point.name for point in content.points] == points
        seen += points
    assert seen == ["here"]


def test_kills_of_the_uploader_lose_and_double_nothing(archiving: Archiving) -> None:
    a = archiving
    a.base()
    expected = []
    for number in range(8):
        a.add(number)
        name = a.one("SELECT pg_walfile_name(pg_switch_wal())")
        expected.append(name)
        a.wait_for(name)
        if number % 2:
            process = a.program.start("pg", "archive-upload", "--spool", a.spool, "--batch", "1M")
            time.sleep(0.25 + 0.15 * number)
            process.kill()
            process.wait()
            assert process.stderr is not None and process.stdout is not None
            process.stderr.close()
            process.stdout.close()
    a.upload()
    found = _catalogue(a)
    assert len(found) == len(set(found)) and set(expected) <= set(found)
    assert not list((a.spool / "segments").glob("0*"))
    with a.restored() as server:
        assert numbers(server) == list(range(8))


def test_a_failing_archive_command_is_seen(archiving: Archiving) -> None:
    """Other content of the same name: the server is told, keeps its log, and the status says so."""
    a = archiving
    a.base()
    a.add(1)
    name = a.one("SELECT pg_walfile_name(pg_switch_wal())")
    a.wait_for(name)
    following = f"{name[:16]}{int(name[16:], 16) + 1:08X}"
    with (a.spool / "committed").open("a") as file:
        file.write(f"{following} {hashlib.sha256(b'other').hexdigest()}\n")
    a.add(2)
    a.server.sql("SELECT pg_switch_wal()")
    until(lambda: f"{following} was archived before with other content" in a.server.log.read_text(), "the server's log")
    until(lambda: a.one("SELECT failed_count FROM pg_stat_archiver") != "0", "the failure is counted")
    ran = a.program("db", "status", a.server.url, "--spool", a.spool, "--json")
    assert ran.status == 16
    assert ran.value["server"]["failing"] is True  # type: ignore[index]
    assert "archiving" in [warning["code"] for warning in ran.value["warnings"]]  # type: ignore[attr-defined]
    assert (a.server.data / "pg_wal" / following).exists()


@pytest.mark.skipif(os.geteuid() != 0 or sys.platform != "linux", reason="mounts a small file system")
def test_a_full_spool_loses_nothing(archiving: Archiving) -> None:
    a = archiving
    a.spool.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", a.spool], check=True)
    try:
        a.base()
        for number in range(12):
            a.add(number)
            a.server.sql("INSERT INTO t (n) SELECT 1000 + n FROM generate_series(1, 3000) n; DELETE FROM t WHERE n >= 1000")
            last = a.one("SELECT pg_walfile_name(pg_switch_wal())")
        until(lambda: "its disk is full" in a.server.log.read_text(), "the refusal")
        ran = a.program("db", "status", "--spool", a.spool, "--json")
        assert ran.status == 16
        assert "spool-full" in [warning["code"] for warning in ran.value["warnings"]]  # type: ignore[attr-defined]
        for _ in range(60):
            a.upload()
            if a.one("SELECT coalesce(last_archived_wal, '') FROM pg_stat_archiver") >= last:
                break
            time.sleep(0.5)
        a.upload()
        with a.restored() as server:
            assert numbers(server) == list(range(12))
    finally:
        a.server.stop()
        subprocess.run(["umount", a.spool], check=True)


def test_an_uploader_goes_on_after_the_store_was_away(archiving: Archiving) -> None:
    a = archiving
    a.base()
    process = a.program.start("pg", "archive-upload", "--watch", "--max-age", "0", "--spool", a.spool)
    try:
        until((a.spool / "uploader.lock").exists, "the uploader runs")
        away = a.program.repository.rename(a.program.repository.with_name("away"))
        a.add(1)
        a.wait_for(a.one("SELECT pg_walfile_name(pg_switch_wal())"))
        state = a.spool / "state.json"
        until(lambda: state.exists() and '"error"' in state.read_text(), "the error is written down")
        refused = a.program("pg", "archive-upload", "--spool", a.spool)
        assert refused.status == 1 and "The uploader that is at work fails" in refused.err
        away.rename(a.program.repository)
        until(lambda: not list((a.spool / "segments").glob("0*")), "all is uploaded")
        until(lambda: '"error"' not in state.read_text(), "the error is over")
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate()
    assert process.returncode == 130


def test_an_uploader_that_waits_is_told_not_to(archiving: Archiving) -> None:
    a = archiving
    a.base()
    words = ["pg", "archive-upload", "--spool", a.spool]
    process = a.program.start(*words, "--watch", "--max-age", "3600")
    try:
        until((a.spool / "uploader.lock").exists, "the uploader runs")
        a.add(1)
        a.wait_for(a.one("SELECT pg_walfile_name(pg_switch_wal())"))
        assert a.program("pg", "archive-upload", "--spool", a.spool, "--watch").status == 1
        told = a.program.do(*words).out
        assert told.startswith("Committed ") and told.rstrip().endswith("; 0 wait.")
        assert not list((a.spool / "segments").iterdir())
        assert "Nothing waits" in a.program.do(*words).out
        until(lambda: not (a.spool / "hurry").exists(), "the next ones may wait again")
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate()


@pytest.mark.skipif(os.geteuid() != 0 or sys.platform != "linux", reason="mounts a small file system")
def test_a_full_repository_loses_nothing(archiving: Archiving, tmp_path: Path) -> None:
    a = archiving
    a.base()
    expected = []
    for number in range(4):
        a.add(number)
        a.server.sql("CREATE TABLE x AS SELECT gen_random_uuid() FROM generate_series(1, 40000); DROP TABLE x")
        expected.append(a.one("SELECT pg_walfile_name(pg_switch_wal())"))
    a.wait_for(expected[-1])
    whole = a.program.repository
    small = whole.rename(whole.with_name("whole"))
    whole.mkdir()
    size = sum(path.stat().st_size + 8192 for path in small.rglob("*")) + 400_000
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", whole], check=True)
    try:
        shutil.copytree(small, whole, dirs_exist_ok=True)
        refused = a.program("pg", "archive-upload", "--spool", a.spool, "--batch", "1M")
        assert refused.status == 15, refused.err
        assert set(expected) & {path.name for path in (a.spool / "segments").iterdir()}
        assert a.program("db", "status", "--spool", a.spool, "--json").status == 16
        subprocess.run(["mount", "-o", "remount,size=200m", whole], check=True)
        a.upload()
        assert set(expected) <= set(_catalogue(a))
        assert a.program("db", "status", "--spool", a.spool).status == 0
        with a.restored() as server:
            assert numbers(server) == [0, 1, 2, 3]
    finally:
        subprocess.run(["umount", "-l", whole], check=True)


def test_archive_push_starts_an_uploader(archiving: Archiving, tmp_path: Path) -> None:
    a = archiving
    a.add(1)
    name = a.one("SELECT pg_walfile_name(pg_switch_wal())")
    a.wait_for(name)
    segment = a.server.data / "pg_wal" / name
    spool = tmp_path / "own"
    a.program.set(SAFEHOLD_SPOOL=str(spool))
    command = [sys.executable, "-m", "safehold", "pg", "archive-push", str(segment)]
    subprocess.run(command, check=True)
    lock = spool / "uploader.lock"
    until(lambda: lock.exists() and lock.read_text().strip(), "the uploader runs")
    os.kill(int(lock.read_text()), signal.SIGTERM)
    assert (spool / "segments" / segment.name).exists() or segment.name in (spool / "committed").read_text()


def test_streaming_survives_kills_and_says_what_is_lost(archiving: Archiving) -> None:
    a = archiving
    a.server.sql("ALTER SYSTEM SET archive_mode = off")
    a.server.stop()
    a.start(a.server)
    spool = a.folder / f"{a.server.data.name}.received"
    words = ["pg", "receive", a.server.url, "--slot", "safe", "--spool", spool, "--max-age", "0"]

    def flushed(position: str) -> bool:
        query = f"SELECT flush_lsn >= '{position}' FROM pg_stat_replication WHERE application_name = 'safehold'"
        return bool(a.server.sql(query)) and bool(a.server.sql(query)[0][0])

    def begin() -> subprocess.Popen[bytes]:
        begun = a.program.start(*words)
        until(lambda: a.server.sql("SELECT 1 FROM pg_replication_slots WHERE slot_name = 'safe' AND active"), "it receives")
        return begun

    process = begin()
    a.base()
    for number in range(4):
        a.add(number)
        if number % 2:
            a.server.sql("SELECT pg_switch_wal()")
        position = a.one("SELECT pg_current_wal_flush_lsn()")
        until(lambda position=position: flushed(position), "it is safe")  # type: ignore[misc]
        process.kill()
        process.communicate()
        a.server.sql("SELECT pg_switch_wal()")
        until(lambda: not a.server.sql("SELECT 1 FROM pg_replication_slots WHERE active"), "the slot is free")
        process = begin()
    last = a.one("SELECT pg_walfile_name(pg_current_wal_lsn())")
    a.server.sql("SELECT pg_switch_wal()")
    until(lambda: last in (spool / "committed").read_text() if (spool / "committed").exists() else False, "all is uploaded")
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate()
    assert process.returncode == 130, err
    with a.restored() as server:
        assert numbers(server) == [0, 1, 2, 3]
    # The server is lost: what was received of its current segment is the end of the log.
    process = a.program.start(*words)
    a.add(100)
    position = a.one("SELECT pg_current_wal_flush_lsn()")
    until(lambda: flushed(position), "it is safe")
    process.kill()
    process.communicate()
    a.program.do("pg", "archive-upload", "--spool", spool)
    with a.restored() as server:
        assert numbers(server) == [0, 1, 2, 3, 100]
    until(lambda: not a.server.sql("SELECT 1 FROM pg_replication_slots WHERE active"), "the slot is free")
    # Another receiver of a server that has dropped the log says so, and does not go on.
    a.server.sql("SELECT pg_drop_replication_slot('safe')")
    for number in range(4, 9):
        a.add(number)
        a.server.sql("SELECT pg_switch_wal()")
    a.server.sql("CHECKPOINT")
    a.server.sql("CHECKPOINT")
    (spool / "received").write_text("1 0/100000\n")
    refused = a.program.spawn(*words)
    assert refused.status == 1 and "no longer has its log from 0/100000" in refused.err
    status = a.program("db", "status", "--spool", spool)
    assert status.status == 16 and "--after-gap" in status.err
    shutil.rmtree(spool)


def test_streaming_follows_a_promotion(archiving: Archiving) -> None:
    """Of a standby: what is received goes on with the new timeline, and a restore can go either way."""
    a = archiving
    a.add(1)
    a.base()
    data = a.folder / f"{a.server.data.name}.standby"
    a.server.run("pg_basebackup", "-D", data, "-c", "fast", "-R", "-d", f"host={a.server.sockets} user=postgres")
    standby = Server(a.folder, a.server.major, data.name)
    standby.start("-c", f"unix_socket_directories={standby.sockets}", "-c", "archive_mode=off")
    spool = a.folder / f"{a.server.data.name}.followed"
    process = a.program.start("pg", "receive", standby.url, "--spool", spool, "--max-age", "0")
    try:
        until(lambda: standby.sql("SELECT 1 FROM pg_replication_slots WHERE active"), "it receives")
        a.add(2)
        until(lambda: numbers(standby) == [1, 2], "the standby follows")
        standby.sql("SELECT pg_promote()")
        until(lambda: standby.sql("SELECT NOT pg_is_in_recovery()")[0][0], "it is promoted")
        standby.sql("INSERT INTO t (n) VALUES (3)")
        last = str(standby.sql("SELECT pg_walfile_name(pg_switch_wal())")[0][0])
        assert last[:8] == "00000002"
        committed = spool / "committed"
        until(lambda: committed.exists() and last in committed.read_text(), "the new timeline is uploaded")
        assert "00000002.history" in committed.read_text()
    finally:
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate()
        standby.stop()
        shutil.rmtree(data)
    assert process.returncode == 130, err
    a.archived()
    with a.restored() as server:
        assert numbers(server) == [1, 2, 3]
    with a.restored("--timeline", "1") as server:
        assert numbers(server) == [1, 2]
    shutil.rmtree(spool)
