"""A MariaDB server with a small shop in it, made once and copied for each test."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from mariadb_servers import Server, folder_for_servers

SHOP = (
    "create database shop",
    "create table shop.orders (id int primary key auto_increment, n int, note varchar(200), key(n)) engine=innodb",
    "insert into shop.orders (n, note) select seq * 7 % 1000, md5(seq) from seq_1_to_20000",
    "create table shop.cart (id int primary key, note varchar(100)) engine=aria",
    "insert into shop.cart select seq, md5(seq) from seq_1_to_3000",
    "create table shop.visits (id int primary key, note varchar(100)) engine=myisam",
    "insert into shop.visits select seq, sha1(seq) from seq_1_to_3000",
    "create view shop.busy as select n, count(*) c from shop.orders group by n having c > 20 order by n",
    "create trigger shop.marked before insert on shop.cart for each row set new.note = concat(new.note, '!')",
    "create procedure shop.twice(a int) select a * 2",
    "create user 'clerk'@'%' identified by 'pen'",
    "grant select on shop.* to 'clerk'@'%'",
)


@pytest.fixture(scope="session")
def template() -> Iterator[Path]:
    """A data folder with the shop, of a server that was shut down."""
    with folder_for_servers() as folder:
        server = Server(folder / "t").init().start()
        try:
            server.sql(*SHOP)
            server.stop()
        finally:
            server.kill()
        for log in server.data.glob("mariadb-bin.*"):
            log.unlink()
        yield server.data


@pytest.fixture
def folder() -> Iterator[Path]:
    with folder_for_servers() as made:
        yield made


@pytest.fixture
def launch(template: Path, folder: Path) -> Iterator[Callable[..., Server]]:
    """Start a server: on a copy of the template, or on a folder that is there."""
    started: list[Server] = []

    def do(name: str = "d", **settings: str) -> Server:
        if not (folder / name).exists():
            subprocess.run(["cp", "-a", template, folder / name], check=True)
        server = Server(folder / name, **settings)
        started.append(server)
        return server.start()

    yield do
    for server in started:
        server.kill()


@pytest.fixture
def server(launch: Callable[..., Server]) -> Server:
    return launch()


@pytest.fixture
def opened(launch: Callable[..., Server], folder: Path) -> Callable[[str], Server]:
    """Start a server on a restored folder."""
    return lambda name: launch(name, log_bin="other")
