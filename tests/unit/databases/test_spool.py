"""The spool: durable, never two contents under one name, never another database's, never dropped when full."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import wal_files
from wal_files import name_of, write

from safehold.cli import archive_push
from safehold.core.errors import FormatError, LogConflict, LogDamaged, StoreFull
from safehold.sources.postgresql.spool import Spool
from safehold.sources.postgresql.wal import parse_name


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(str(tmp_path / "spool"))


def test_what_is_taken_is_there_compressed(spool: Spool, tmp_path: Path) -> None:
    path = write(tmp_path, 3, b"content")
    assert spool.add(str(path))
    assert spool.names() == [path.name]
    assert spool.open(path.name) == path.read_bytes()
    assert os.path.getsize(os.path.join(spool.segments, path.name)) < 1000
    assert spool.system() == ("71", wal_files.MIB)


def test_the_same_again_is_success_and_other_content_an_error(spool: Spool, tmp_path: Path) -> None:
    path = write(tmp_path, 3, b"content")
    spool.add(str(path))
    assert not spool.add(str(path))
    write(tmp_path, 3, b"other")
    with pytest.raises(LogConflict, match="with other content"):
        spool.add(str(path))
    assert spool.open(path.name) == wal_files.segment(3, b"content")


def test_what_was_uploaded_is_remembered(spool: Spool, tmp_path: Path) -> None:
    import hashlib

    path = write(tmp_path, 3, b"content")
    spool.add(str(path))
    spool.forget({path.name: hashlib.sha256(path.read_bytes()).hexdigest()})
    assert spool.names() == []
    assert not spool.add(str(path))
    assert spool.names() == []
    write(tmp_path, 3, b"other")
    with pytest.raises(LogConflict):
        spool.add(str(path))


def test_another_database_is_refused(spool: Spool, tmp_path: Path) -> None:
    spool.add(str(write(tmp_path, 3)))
    with pytest.raises(LogConflict, match="of the database system 71, and this is of 72"):
        spool.add(str(write(tmp_path, 4, system=72)))
    (tmp_path / "data" / "pg_wal").mkdir(parents=True)
    (tmp_path / "data" / "global").mkdir()
    (tmp_path / "data" / "global" / "pg_control").write_bytes((72).to_bytes(8, "little"))
    history = tmp_path / "data" / "pg_wal" / "00000002.history"
    history.write_text("1\t0/300000\tno recovery target specified\n")
    with pytest.raises(LogConflict, match="is of 72"):
        spool.add(str(history))


def test_what_is_no_log_is_refused(spool: Spool, tmp_path: Path) -> None:
    path = tmp_path / name_of(3)
    path.write_bytes(bytes(wal_files.MIB))
    with pytest.raises(FormatError, match="does not begin as one"):
        spool.add(str(path))
    path.write_bytes(wal_files.segment(4))
    with pytest.raises(FormatError, match=r"position 0/400000, which is another's"):
        spool.add(str(path))
    (tmp_path / "core").write_bytes(b"")
    with pytest.raises(LogConflict, match="no name of a WAL file"):
        spool.add(str(tmp_path / "core"))
    assert spool.names() == []


def test_a_full_spool_refuses_and_says_so(tmp_path: Path) -> None:
    spool = Spool(str(tmp_path / "spool"), limit=150_000)
    spool.add(str(write(tmp_path, 3, os.urandom(100_000))))
    with pytest.raises(StoreFull, match="is full"):
        spool.add(str(write(tmp_path, 4)))
    assert "is full" in Path(spool.path("refused")).read_text()
    spool.limit = 1 << 30
    spool.add(str(write(tmp_path, 4)))
    assert not os.path.exists(spool.path("refused"))


def test_damage_is_noticed(spool: Spool, tmp_path: Path) -> None:
    path = write(tmp_path, 3, os.urandom(5000))
    spool.add(str(path))
    stored = Path(spool.segments) / path.name
    data = bytearray(stored.read_bytes())
    data[2000] ^= 1
    stored.write_bytes(data)
    with pytest.raises(LogDamaged):
        spool.open(path.name)
    stored.write_bytes(data[:1000])
    with pytest.raises(LogDamaged):
        spool.open(path.name)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("00000001000000000000000A", "segment"),
        ("00000001000000000000000A.partial", "partial"),
        ("00000001000000000000000A.00000028.backup", "backup"),
        ("00000002.history", "history"),
        ("00000001000000000000000a", None),
        ("00000001000000000000000A.", None),
        ("00000001000000000000000A.gz", None),
        ("2.history", None),
        ("", None),
    ],
)
def test_names(name: str, kind: str | None) -> None:
    parsed = parse_name(name)
    assert (parsed.kind if parsed else None) == kind


def test_the_short_way_knows_its_words(tmp_path: Path) -> None:
    path = write(tmp_path, 3)
    words = [str(path), "--spool", str(tmp_path / "s"), "--no-upload"]
    assert archive_push.quickly(words, {}) == 0
    assert archive_push.quickly([*words, "--json"], {}) is None
    assert archive_push.quickly(["--spool", str(tmp_path / "s")], {}) is None
    write(tmp_path, 3, b"other")
    assert archive_push.quickly(words, {}) == 1
    assert archive_push.quickly([*words, "--spool-limit", "many"], {}) == 2


def test_the_short_way_imports_little(tmp_path: Path) -> None:
    code = "import sys; import safehold.cli.archive_push; print(*sorted(sys.modules))"
    plain = "import sys; print(*sorted(sys.modules))"
    run = [subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True) for text in (code, plain)]
    more = set(run[0].stdout.split()) - set(run[1].stdout.split())
    assert not more & {"re", "typing", "argparse", "msgspec", "pathlib", "subprocess", "tomllib", "enum", "dataclasses"}


@pytest.mark.parametrize(("text", "size"), [("16G", 16 << 30), ("500M", 500 << 20), ("64MiB", 64 << 20), ("1000", 1000)])
def test_sizes(text: str, size: int) -> None:
    assert archive_push.parse_size(text) == size
