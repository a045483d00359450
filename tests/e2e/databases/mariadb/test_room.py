"""A disk that is, or becomes, full while a base is brought back: it is said in one sentence, and nothing is left."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cli_program import Program, Ran
from mariadb_servers import Server

SIZES = ("2m", "12m", "24m", "48m")
"""Too small for the base's files, for what preparing adds, for the binary logs, and for what a private server writes."""


@contextmanager
def _small(folder: Path, size: str) -> Iterator[Path]:
    place = folder / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=755", "none", place], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)
        place.rmdir()


@pytest.fixture
def stored(safehold: Program, server: Server) -> Server:
    """A base, and a log after it that makes the database larger than the disks here."""
    safehold.do("backup", server.url)
    server.sql("insert into shop.orders (n, note) select seq, repeat(md5(seq), 6) from mysql.seq_1_to_150000")
    safehold.do("db", "watch", server.url, "--once")
    return server


def _is_said(failed: Ran, place: Path) -> None:
    assert failed.status == 1, failed.err
    (error,) = [event for event in failed.events if event["event"] == "error"]
    assert error["code"] == "target", str(error)
    assert str(error["message"]).count(". ") == 0 and str(place) in str(error["message"]), error


def test_too_little_room_is_said_before_anything_is_written(safehold: Program, stored: Server, folder: Path) -> None:
    with _small(folder, "8m") as place:
        failed = safehold("restore", "latest", "--target", place / "r", "--json")
        _is_said(failed, place)
        assert "the restore needs about" in failed.err
        assert os.listdir(place) == []


@pytest.mark.parametrize("size", SIZES)
def test_a_disk_that_becomes_full_leaves_nothing_behind(
    safehold: Program, stored: Server, folder: Path, size: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("restore", "extract"):  # others take the room after it was looked for
        monkeypatch.setattr(f"safehold.ops.databases.mariadb.{module}.SPARE", -(1 << 40))
    with _small(folder, size) as place:
        _is_said(safehold("restore", "latest", "--target", place / "r", "--to-time", "latest", "--json"), place)
        assert os.listdir(place) == []
        _is_said(safehold("drill", "latest", "--scratch", place, "--json"), place)
        assert os.listdir(place) == []
        words = ("--extract", "shop.orders", "--to-time", "latest", "--json")
        _is_said(safehold("restore", "latest", "--target", place / "t.sql", *words), place)
        assert os.listdir(place) == []
