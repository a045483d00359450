"""What mongodump writes, as recorded from mongodump 100.18 of a FerretDB 1.24: taken whole, refused otherwise; and how it is called."""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec
import pytest

from safehold.core.errors import CommandFailed
from safehold.sources import dumps
from safehold.sources.database_url import parse

RECORDED = Path(__file__).parent / "recorded"
SAMPLE = (RECORDED / "mongodb-sample.archive").read_bytes()
"""Two collections: three readers with an index on their names, and five titles."""
ABSENT = (RECORDED / "mongodb-absent.archive").read_bytes()
"""Of a database that is not there."""


def _dumped(data: bytes, folder: Path) -> bytes:
    (folder / "archive").write_bytes(data)
    (part,) = dumps.parts(parse("mongodb://localhost/"))
    came = b""
    with dumps.running(msgspec.structs.replace(part, command=["cat", str(folder / "archive")])) as read:
        while data := read(1 << 16):
            came += data
    return came


def test_a_whole_archive_is_taken_as_it_is(tmp_path: Path) -> None:
    assert _dumped(SAMPLE, tmp_path) == SAMPLE


END_OF_READERS = SAMPLE.index(b"\xff\xff\xff\xff", SAMPLE.index(b"reader 2"))


@pytest.mark.parametrize(
    "length", [0, 50, 121, 700, END_OF_READERS, END_OF_READERS + 4, *range(len(SAMPLE) - 14, len(SAMPLE), 3)]
)
def test_one_that_is_cut_off_is_refused(length: int, tmp_path: Path) -> None:
    with pytest.raises(CommandFailed, match=r"cut off|fewer than any dump has"):
        _dumped(SAMPLE[:length], tmp_path)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"error\n" + SAMPLE, "does not begin"),
        (SAMPLE + b"error\n", "cut off"),
        (SAMPLE[:-4] + bytes(4), "cut off"),
        (ABSENT, "there is nothing in mongodb.archive"),
    ],
)
def test_one_that_is_no_dump_is_refused(data: bytes, said: str, tmp_path: Path) -> None:
    with pytest.raises(CommandFailed, match=said):
        _dumped(data, tmp_path)


def test_a_replica_set_is_named_by_its_members() -> None:
    url = parse("mongodb://me@a.example:27017,b.example:27018/?replicaSet=rs0")
    (part,) = dumps.parts(url)
    assert url.public == "mongodb://me@a.example:27017,b.example:27018/?replicaSet=rs0"
    assert part.command == ["mongodump", "--archive", f"--uri={url.public}", "--oplog"]
    assert parse("mongodb://[::1]:27017/shop").public == "mongodb://[::1]:27017/shop"


@pytest.mark.skipif(sys.platform == "win32", reason="there is no /dev/stdin")
def test_passwords_go_by_standard_input(tmp_path: Path) -> None:
    (part,) = dumps.parts(parse("mongodb://me:p%22w@h/shop?tlsCertificateKeyFilePassword=k%20p&authSource=admin"))
    assert part.command == ["mongodump", "--archive", "--uri=mongodb://me@h/shop?authSource=admin", "--config=/dev/stdin"]
    (tmp_path / "program").write_text("#!/bin/sh\ncat > said\nexec cat archive\n")
    (tmp_path / "program").chmod(0o755)
    (tmp_path / "archive").write_bytes(SAMPLE)
    script = f"cd {tmp_path} && ./program"
    with dumps.running(msgspec.structs.replace(part, command=["sh", "-c", script])) as read:
        while read(1 << 16):
            pass
    assert (tmp_path / "said").read_text() == 'password: "p\\"w"\nsslPEMKeyPassword: "k p"\n'
    with (
        pytest.raises(CommandFailed, match="exited with status 7"),
        dumps.running(msgspec.structs.replace(part, command=["sh", "-c", "exec 0<&-; exit 7"])) as read,
    ):
        assert read(1) == b""
