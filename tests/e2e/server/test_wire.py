"""Bodies that go past ASGI: whatever the pieces in which they come and go, and whoever leaves in between."""

from __future__ import annotations

import hashlib
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from online_servers import Person, ServerInThread, ServerProcess
from sqlalchemy import func, select

from safehold.server.schema import objects

MIB = 1 << 20


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ServerInThread, str, str]]:
    """A server, a repository on it, and a token for it."""
    server = ServerInThread(tmp_path_factory.mktemp("server"))
    owner = server.owner()
    yield server, owner.repository(), owner.token("admin")
    server.stop()


class Line:
    """A connection on which one says exactly what one wants."""

    def __init__(self, place: tuple[ServerInThread, str, str]) -> None:
        server, self.base, self.token = place
        host, port = server.url.removeprefix("http://").split(":")
        self.socket = socket.create_connection((host, int(port)), timeout=20)
        self.file = self.socket.makefile("rb")

    def head(self, method: str, key: str, *more: str) -> bytes:
        path = f"{self.base}/objects/{key}" if key else self.base
        lines = [f"{method} {path} HTTP/1.1", "Host: x", f"Authorization: Bearer {self.token}", *more]
        return "\r\n".join([*lines, "", ""]).encode()

    def put(self, key: str, data: bytes, *more: str) -> bytes:
        return self.head("PUT", key, f"Content-Length: {len(data)}", *more) + data

    def answer(self, of_head: bool = False) -> tuple[int, bytes]:
        status = int(self.file.readline().split()[1])
        length = 0
        while line := self.file.readline().strip().lower():
            if line.startswith(b"content-length:"):
                length = int(line.partition(b":")[2])
        return status, b"" if of_head or status == 100 else self.file.read(length)

    def close(self) -> None:
        self.file.close()
        self.socket.close()


@pytest.fixture
def line(place: tuple[ServerInThread, str, str]) -> Iterator[Line]:
    made = Line(place)
    yield made
    made.close()


def named(seed: int, size: int) -> tuple[str, bytes]:
    data = Random(seed).randbytes(size)
    return f"index/{hashlib.sha256(data).hexdigest()}", data


def count(place: tuple[ServerInThread, str, str]) -> int:
    with place[0].service.database.read() as connection:
        return connection.execute(select(func.count()).select_from(objects)).scalar_one()


@pytest.mark.parametrize("size", [0, 1, 65536, 65537, MIB - 1, MIB, MIB + 1, 3 * MIB + 7])
def test_every_size_comes_and_goes_whole_on_one_connection(line: Line, size: int) -> None:
    key, data = named(size, size)
    for _ in range(2):
        line.socket.sendall(line.put(key, data))
        status, _said = line.answer()
    assert status == 409  # the second time, and its body was taken off the line
    line.socket.sendall(line.head("GET", key))
    assert line.answer() == (200, data)
    line.socket.sendall(line.head("HEAD", key))
    assert line.answer(of_head=True)[0] == 200
    if size > 2:
        line.socket.sendall(line.head("GET", key, f"Range: bytes=1-{size - 2}"))
        assert line.answer() == (206, data[1:-1])


def test_requests_that_come_all_at_once_are_answered_one_after_the_other(line: Line) -> None:
    (one, data), (other, more) = named(101, 2 * MIB), named(102, MIB + 3)
    line.socket.sendall(
        line.put(one, data) + line.put(other, more) + line.head("GET", one) + line.head("GET", other) + line.head("GET", "")
    )
    answers = [line.answer() for _ in range(5)]
    assert [status for status, _ in answers] == [201, 201, 200, 200, 200]
    assert answers[2][1] == data and answers[3][1] == more


def test_a_body_in_drops(line: Line) -> None:
    key, data = named(103, 100_000)
    asked = line.put(key, data)
    for start in range(0, len(asked), 9_973):
        line.socket.sendall(asked[start : start + 9_973])
        time.sleep(0.002)
    assert line.answer()[0] == 201
    line.socket.sendall(line.head("GET", key))
    assert line.answer() == (200, data)


def test_who_asks_first_whether_to_send(line: Line) -> None:
    key, data = named(104, 2 * MIB)
    line.socket.sendall(line.put(key, b"", "X-Content-SHA256: " + key[6:]).replace(b": 0", b": %d" % len(data), 1)[:-2])
    line.socket.sendall(b"Expect: 100-continue\r\n\r\n")
    assert line.answer()[0] == 100
    line.socket.sendall(data)
    assert line.answer()[0] == 201


@pytest.mark.parametrize("size", [70_000, 5 * MIB])
def test_a_refusal_reaches_who_still_sends_and_the_connection_lives(line: Line, size: int) -> None:
    key, data = named(105, size)
    wrong = f"index/{'0' * 64}"
    line.socket.sendall(line.put(wrong, data))
    assert line.answer()[0] == 422
    line.socket.sendall(line.put("nonsense/x", data) + line.head("GET", ""))
    assert line.answer()[0] == 400
    assert line.answer()[0] == 200
    stranger = line.put(key, data).replace(line.token.encode(), b"shp_nobody_nothing")
    line.socket.sendall(stranger + line.head("GET", ""))
    assert line.answer()[0] == 401
    assert line.answer()[0] == 200


def test_who_leaves_half_way_leaves_nothing(place: tuple[ServerInThread, str, str], line: Line) -> None:
    before = count(place)
    key, data = named(106, 4 * MIB)
    folder = place[0].settings.data / "repositories"
    line.socket.sendall(line.put(key, data)[: -MIB // 2])
    _until(lambda: any(folder.glob("*/tmp/*.part")))
    line.close()
    _until(lambda: not any(folder.glob("*/tmp/*.part")))
    assert count(place) == before


def test_who_leaves_while_a_file_is_sent_harms_nobody(place: tuple[ServerInThread, str, str], line: Line) -> None:
    key, data = named(107, 24 * MIB)
    line.socket.sendall(line.put(key, data))
    assert line.answer()[0] == 201
    for _ in range(3):
        other = Line(place)
        other.socket.sendall(other.head("GET", key))
        assert other.file.readline().split()[1] == b"200"
        other.close()
    line.socket.sendall(line.head("GET", key))
    time.sleep(0.1)  # the line is full by now
    assert line.answer() == (200, data)


def test_a_stored_file_that_was_cut_off_is_never_called_whole(place: tuple[ServerInThread, str, str], line: Line) -> None:
    key, data = named(108, 2 * MIB)
    line.socket.sendall(line.put(key, data))
    assert line.answer()[0] == 201
    (file,) = place[0].settings.data.glob(f"repositories/*/{key}")
    with file.open("r+b") as stored:
        stored.truncate(MIB)
    line.socket.sendall(line.head("GET", key))
    assert line.answer()[0] == 400
    line.socket.sendall(line.head("GET", key, "Range: bytes=0-99999"))
    assert line.answer() == (206, data[:100_000])
    file.unlink()


def test_over_tls(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path / "srv")
    try:
        owner = Person(server.url, "anna", fingerprint=server.fingerprint)
        owner.register(server.setup_code)
        base = owner.repository()
        for size in (0, 70_000, 3 * MIB + 11):
            key, data = named(size, size)
            assert owner("PUT", f"{base}/objects/{key}", data=data).status == 201
            assert owner("PUT", f"{base}/objects/{key}", data=data).status == 409
            assert owner("GET", f"{base}/objects/{key}").data == data
            if size:
                assert owner("GET", f"{base}/objects/{key}", Range="bytes=5-60000").data == data[5:60001]
    finally:
        server.stop()


def _until(check: object) -> None:
    for _ in range(400):
        if check():  # type: ignore[operator]
            return
        time.sleep(0.02)
    raise AssertionError("that does not come")
