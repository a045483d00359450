"""A MariaDB server as SQL, and into another server again."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from cli_program import Program
from mariadb_servers import Server


@pytest.mark.parametrize("resolves", [False, True], ids=["without names", "with names"])
def test_a_server_is_dumped_and_loaded_into_another(
    safehold: Program, launch: Callable[..., Server], folder: Path, tmp_path: Path, resolves: bool
) -> None:
    server = launch()
    if resolves:
        server.stop()
        del server.settings["skip-name-resolve"]
        server.start()
    server.sql("create database `odd/name`", "create table `odd/name`.t (id int primary key, b blob)")
    server.sql("insert into `odd/name`.t values (1, x'00ff27'), (2, null)")
    url = f"mariadb://root@localhost/?socket={server.socket}"
    safehold.do("backup", url, "--method", "dump")
    safehold.do("restore", "latest", "--target", tmp_path / "dump")
    names = {"users.sql", "shop.sql", "odd%2Fname.sql"}
    assert {path.name for path in (tmp_path / "dump").iterdir()} == names
    expected = server.sums(), server.sql("select id, hex(b) from `odd/name`.t")
    server.stop()
    other = Server(folder / "other").init()
    other.settings = server.settings
    other.start()
    try:
        for name in sorted(names):
            into = ["mysql"] if name == "users.sql" and not resolves else []
            command = ["mariadb", "--user=root", f"--socket={other.socket}", *into]
            subprocess.run(command, input=(tmp_path / "dump" / name).read_bytes(), check=True)
        other.sql("flush privileges")
        assert (other.sums(), other.sql("select id, hex(b) from `odd/name`.t")) == expected
        other.connect("clerk", "pen", "shop").close()
    finally:
        other.stop()
