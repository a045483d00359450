"""Archiving and recovery as they run in life: the server itself calls Safehold, as its own user, with that user's configuration."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from postgres_servers import USER, Server, as_postgres, folder_for_servers
from readable_install import install


@pytest.fixture
def folder() -> Iterator[Path]:
    with folder_for_servers() as made:
        yield made


def _until(check: Callable[[], object], what: str, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        time.sleep(0.05)


def _uploaders(spool: Path) -> list[int]:
    """Processes that upload from that spool."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            words = (place / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"archive-upload" in words and os.fsencode(spool) in words:
            found.append(int(place.name))
    return found


def test_the_server_archives_and_recovers_as_its_own_user(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = folder / "home"
    program, variables = install(folder / "install", home)
    (home / ".config" / "safehold").mkdir(parents=True)
    repository, key = folder / "repository", home / "key"
    settings = f'repository = "db"\n[repositories.db]\nlocation = "{repository}"\nkey-file = "{key}"\n'
    (home / ".config" / "safehold" / "config.toml").write_text(settings)
    if os.geteuid() == 0:
        subprocess.run(["chown", "-R", f"{USER}:{USER}", home], check=True)

    def safehold(*words: object) -> str:
        command = [*as_postgres(), str(program), *map(str, words)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
        assert done.returncode == 0, done.stderr
        return done.stdout

    safehold("init", repository, "--key-file", key)
    archiving = {"archive_mode": "on", "archive_command": f"{program} pg archive-push %p"}
    server = Server(folder, 15, "main").init(**archiving).start()
    spool = home / ".local" / "state" / "safehold" / "wal"
    try:
        server.sql("CREATE TABLE t AS SELECT 1 AS n")
        safehold("backup", server.url)
        for number in range(2, 7):  # of four segments of 16 MiB it is not waited for more to come
            last = server.sql(f"INSERT INTO t VALUES ({number}); SELECT pg_walfile_name(pg_switch_wal())")[0][0]
        _until(lambda: server.sql(f"SELECT last_archived_wal >= '{last}' FROM pg_stat_archiver") == [(True,)], "archived")
        assert server.sql("SELECT failed_count FROM pg_stat_archiver") == [(0,)]
        (uploader,) = _uploaders(spool)
        status = Path(f"/proc/{uploader}/status").read_text()
        assert f"\nUid:\t{spool.stat().st_uid}\t" in status
        assert os.getsid(uploader) == uploader, "it minds nobody's terminal"
        _until((spool / "committed").exists, "uploaded by the process that archive-push started")
    finally:
        server.stop()
        for process in _uploaders(spool):
            os.kill(process, signal.SIGTERM)
    _until(lambda: not _uploaders(spool), "the uploader ends")
    safehold("pg", "archive-upload")
    restored = Server(folder, 15, "restored")
    safehold("restore", "latest", "--target", restored.data, "--wal", "fetch")
    assert "archive-get" in (restored.data / "postgresql.auto.conf").read_text()
    for name, value in variables.items():
        monkeypatch.setenv(name, value)  # of whoever starts the server: its restore_command names the Python only
    restored.start("-c", f"unix_socket_directories={restored.sockets}")
    try:
        _until(lambda: restored.sql("SELECT pg_is_in_recovery()") == [(False,)], "recovered")
        assert restored.sql("SELECT n FROM t ORDER BY n") == [(number,) for number in range(1, 7)]
        assert restored.sql("SELECT pg_walfile_name(pg_current_wal_lsn())")[0][0][:8] == "00000002"  # type: ignore[index]
    finally:
        restored.stop()
