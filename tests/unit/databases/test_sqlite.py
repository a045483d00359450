"""SQLite's WAL as it is read, log files, journals, and what a moment is made of."""

from __future__ import annotations

import io
import os
import sqlite3
import struct
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import numpy as np
import pytest

from safehold.core.errors import DatabaseFailed
from safehold.sources.sqlite import header, journal, steps, wal
from safehold.sources.sqlite.journal import Journal, Resumption
from safehold.sources.sqlite.steps import Step
from safehold.sources.sqlite.wal import Place


class Written:
    """The bytes of a database in WAL mode, with some transactions in its WAL; copied while it was open."""

    def __init__(self, path: Path, page: int) -> None:
        with closing(sqlite3.connect(path, isolation_level=None)) as db:
            db.execute(f"PRAGMA page_size = {page}")
            db.execute("PRAGMA journal_mode = WAL").fetchall()
            db.execute("CREATE TABLE t (a, b)")
            for number in range(5):
                db.execute("INSERT INTO t VALUES (?, ?)", (number, os.urandom(3 * page)))
            self.log, self.index = Path(f"{path}-wal").read_bytes(), Path(f"{path}-shm").read_bytes()
        self.database = path.read_bytes()
        self.page = page


@pytest.fixture(params=[512, 4096, 65536])
def written(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Written]:
    yield Written(tmp_path / "data.db", request.param)


def test_frames_are_proven_as_sqlite_proves_them(written: Written) -> None:
    index = wal.parse_index(written.index)
    begun = wal.parse_header(written.log)
    assert index is not None and begun is not None
    place, page, big = begun
    assert page == written.page == index.page and place.salts == index.salts
    frames = wal.parse_frames(written.log[32:], page, place, big=big)
    assert (frames.end.frame, frames.end.sums) == (index.frames, index.sums)
    assert frames.sizes[-1] == index.pages and np.count_nonzero(frames.sizes) == index.changes
    middle = frames.end.frame // 2
    cut = wal.parse_frames(written.log[32 : 32 + middle * (24 + page)], page, place, big=big)
    rest = wal.parse_frames(written.log[32 + middle * (24 + page) :], page, cut.end, big=big)
    assert rest.end == frames.end and rest.first == middle


def test_the_last_versions_of_pages_are_the_database(written: Written) -> None:
    begun = wal.parse_header(written.log)
    assert begun is not None
    frames = wal.parse_frames(written.log[32:], begun[1], begun[0], big=begun[2])
    made = bytearray(written.database)
    for number, data in zip(frames.numbers.tolist(), frames.data, strict=True):
        made[(number - 1) * written.page : number * written.page] = data.tobytes()
    assert bytes(made) == written.database  # closing wrote them back


@pytest.mark.parametrize("at", [0, 5, 8, 16, 24, 400])
def test_a_frame_that_is_not_whole_ends_the_wal(written: Written, at: int) -> None:
    begun = wal.parse_header(written.log)
    assert begun is not None
    place, page, big = begun
    damaged = bytearray(written.log[32:])
    damaged[3 * (24 + page) + at] ^= 0x10
    assert wal.parse_frames(bytes(damaged), page, place, big=big).end.frame == 3


def test_an_index_that_is_being_written_is_none(written: Written) -> None:
    for at in (8, 16, 40, 60):
        damaged = bytearray(written.index)
        damaged[at] ^= 1
        assert wal.parse_index(bytes(damaged)) is None
    both = bytearray(written.index)
    both[16] ^= 1
    both[64] ^= 1
    assert wal.parse_index(bytes(both)) is None
    assert wal.parse_index(b"") is None and wal.parse_header(written.log[:31]) is None


def test_headers(tmp_path: Path) -> None:
    data = Written(tmp_path / "data.db", 65536).database
    head = header.parse(data[:100], "data.db")
    assert (head.page, head.wal, head.encoding) == (65536, True, "UTF-8")
    assert header.library_version(head.library) == sqlite3.sqlite_version
    for wrong in (b"", data[:50], os.urandom(100), data[:16] + struct.pack(">H", 1000) + data[18:100]):
        with pytest.raises(DatabaseFailed, match=r"data\.db is no SQLite database"):
            header.parse(wrong, "data.db")


PLACE = Place(b"saltsalt", 0, (1, 2))
SYSTEM = "ab" * 16


def _begin(folder: Path) -> Journal:
    at = Resumption(timeline=7, page=512, position=1, seen_ns=1, place=PLACE, changes=0)
    journal.save(folder, at)
    return Journal(folder, SYSTEM, at)


def _add(made: Journal, transactions: int, pages: int = 2) -> bytes:
    at = made.at
    data = os.urandom(512 * pages)
    step = Step(
        start=at.position, end=made.next_end(transactions), after_ns=at.seen_ns, seen_ns=at.seen_ns + 10, pages=9,
        transactions=transactions, place=msgspec.structs.replace(PLACE, frame=at.place.frame + pages), changes=5, count=pages,
    )  # fmt: skip
    numbers = np.arange(1, pages + 1, dtype=np.uint32)
    made.add(step, numbers, np.frombuffer(data, np.uint8).reshape(pages, 512))
    return data


def test_a_journal_goes_on_after_what_is_whole(tmp_path: Path) -> None:
    made = _begin(tmp_path)
    _add(made, 3)
    first = made.rotate()
    data = _add(made, 2)
    whole = made.at
    _add(made, 4)
    names = journal.files(tmp_path)
    assert names == [first, journal.name_of(7, 4)]
    with (tmp_path / names[1]).open("r+b") as file:
        file.truncate(file.seek(0, 2) - 1)
    assert journal.load(tmp_path) == whole and whole.position == 6
    with (tmp_path / names[1]).open("rb") as file:
        head = steps.require_head(file.read(steps.FILE_HEADER.size), "x")
        ((step, numbers, pages),) = steps.read_steps(file.read, head.page)
        assert file.read() == b""
    assert (head.timeline, head.system, head.start) == (7, SYSTEM, 4)
    assert (step.start, step.end, numbers, pages) == (4, 6, [1, 2], data)


def test_a_step_that_is_damaged_ends_a_log_file(tmp_path: Path) -> None:
    made = _begin(tmp_path)
    for _ in range(3):
        _add(made, 1)
    content = (tmp_path / made.rotate()).read_bytes()
    size = steps.STEP_HEADER.size + 2 * (4 + 512)
    for at in (0, 4, 20, steps.STEP_HEADER.size - 1, steps.STEP_HEADER.size, size - 1):
        damaged = bytearray(content[steps.FILE_HEADER.size :])
        damaged[size + at] ^= 1
        assert len(list(steps.read_steps(io.BytesIO(damaged).read, 512))) == 1


def test_positions_jump_so_that_folders_stay_small(tmp_path: Path) -> None:
    made = _begin(tmp_path)
    for _ in range(journal.FILES_A_FOLDER + 2):
        _add(made, 1, pages=1)
        made.rotate()
    names = journal.files(tmp_path)
    starts = [int(name[9:25], 16) for name in names]
    assert starts[: journal.FILES_A_FOLDER + 1] == list(range(1, journal.FILES_A_FOLDER + 2))
    assert starts[-1] == (1 << 32) + 1
    assert journal.load(tmp_path) == made.at
