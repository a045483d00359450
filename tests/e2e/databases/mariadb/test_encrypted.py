"""A server that encrypts its tables itself: bases, restores and drills, and what is missing elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_program import Program
from mariadb_servers import Server

PLUGIN = "file_key_management.so"
UNPACKED = Path(__file__).parents[4] / ".venv" / "mariadb-server" / "usr" / "lib" / "mysql" / "plugin"
"""Where the Makefile unpacks the package that has it: installing it would start a service."""
FOLDERS = (str(UNPACKED), "/usr/lib/mysql/plugin", "/usr/lib64/mysql/plugin", "/usr/lib64/mariadb/plugin")


@pytest.fixture
def settings(folder: Path) -> dict[str, str]:
    found = [place for place in FOLDERS if (Path(place) / PLUGIN).is_file()]
    if not found:
        pytest.skip(f"{PLUGIN} comes with the package mariadb-server, which `make packages` unpacks")
    keys = folder / "keys"
    keys.write_text(f"1;{'ab' * 32}\n")
    keys.chmod(0o644)
    return {
        "plugin_dir": found[0],
        "plugin_load_add": "file_key_management",
        "file_key_management_filename": str(keys),
        "innodb_encrypt_log": "ON",
    }


@pytest.fixture
def encrypted(folder: Path, settings: dict[str, str]) -> Iterator[Server]:
    server = Server(folder / "e", **settings).init().start()
    try:
        server.sql(
            "create database shop",
            "create table shop.t (id int primary key, note varchar(100)) encrypted=yes",
            "insert into shop.t select seq, 'plain words to look for' from mysql.seq_1_to_5000",
            "set global innodb_log_checkpoint_now = on",
        )
        yield server
    finally:
        server.kill()


def test_what_the_server_encrypts_comes_back(
    safehold: Program, encrypted: Server, folder: Path, settings: dict[str, str]
) -> None:
    assert b"plain words" not in (encrypted.data / "shop/t.ibd").read_bytes()
    safehold.do("backup", encrypted.url)
    encrypted.sql("update shop.t set note = 'changed' where id < 50")
    safehold.do("backup", encrypted.url)
    encrypted.sql("insert into shop.t values (10000, 'later')")
    safehold.do("db", "watch", encrypted.url, "--once")
    expected = encrypted.sums()
    safehold.do("restore", "latest", "--target", folder / "r", "--to-time", "latest")
    assert b"plain words" not in (folder / "r/shop/t.ibd").read_bytes()
    restored = Server(folder / "r", **settings, log_bin="other").start()
    try:
        assert restored.sums() == expected
    finally:
        restored.kill()
    safehold.do("drill", "latest")
    safehold.do("restore", "latest", "--target", folder / "t.sql", "--extract", "shop.t")
    assert b"plain words" in (folder / "t.sql").read_bytes()


def test_a_key_or_plugin_that_is_not_here_is_named(
    safehold: Program, encrypted: Server, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    safehold.do("backup", encrypted.url)
    (folder / "keys").rename(folder / "elsewhere")
    for words in (("drill", "latest"), ("restore", "latest", "--target", folder / "r")):
        failed = safehold(*words, "--json")
        assert failed.status == 1 and f"keys from {folder / 'keys'}, which is not on this machine" in failed.err
    assert not (folder / "r").exists() and not (folder / ".r.safehold-part").exists()
    (folder / "elsewhere").rename(folder / "keys")
    monkeypatch.setattr("safehold.sources.mariadb.keys._is_there", lambda place, library: False)
    failed = safehold("drill", "latest")
    assert failed.status == 1 and "the plugin file_key_management, which is not on this machine" in failed.err
