"""What people write for snapshots, times and paths."""

from __future__ import annotations

from datetime import datetime

import pytest

from safehold.core.errors import SnapshotMissing
from safehold.ops.resolve import moment_ns, split, stored_path

NOW = datetime(2026, 3, 31, 12, 30, 15)
NOW_NS = int(NOW.timestamp()) * 10**9 + 5000


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("latest", ("latest", "")),
        ("latest:/etc", ("latest", "/etc")),
        ("latest:etc", ("latest", "etc")),
        ("latest:db", ("latest:db", "")),
        ("latest:db:dump.sql", ("latest:db", "dump.sql")),
        ("latest:db:more:x", ("latest:db:more", "x")),
        ("latest:/db", ("latest", "/db")),
        ("LATEST:db", ("LATEST:db", "")),
        (r"latest:C:\Users", ("latest", r"C:\Users")),
        ("1a2b3c4d:/a:b", ("1a2b3c4d", "/a:b")),
        ("2026-11-20 14:30:/etc", ("2026-11-20 14:30", "/etc")),
        ("2026-11-20T14:30:05+01:00:etc", ("2026-11-20T14:30:05+01:00", "etc")),
        ("2026-11-20", ("2026-11-20", "")),
        ("3 days ago:/etc", ("3 days ago", "/etc")),
        ("yesterday:x", ("yesterday", "x")),
        ("nonsense:x", ("nonsense", "x")),
        ("abcdefg:x", ("abcdefg", "x")),
    ],
)
def test_split(text: str, parts: tuple[str, str]) -> None:
    assert split(text, {"db", "db:more"}) == parts


@pytest.mark.parametrize(
    ("text", "stored"),
    [("/etc/", b"etc"), ("etc/x", b"etc/x"), ("", b""), ("/", b""), (r"C:\Users\me", b"C/Users/me"), ("C:/Users", b"C/Users"),
     ("C:", b"C"), (r"a\b", rb"a\b"), ("caf\udce9", b"caf\xe9")],
)  # fmt: skip
def test_stored_path(text: str, stored: bytes) -> None:
    assert stored_path(text) == stored


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-03-30 8:05", datetime(2026, 3, 30, 8, 5)),
        ("2026-03-30T18:05:09", datetime(2026, 3, 30, 18, 5, 9)),
        ("now", NOW),
        ("90 seconds ago", datetime(2026, 3, 31, 12, 28, 45)),
        ("2 weeks ago", datetime(2026, 3, 17, 12, 30, 15)),
        ("1 month ago", datetime(2026, 2, 28, 12, 30, 15)),
        ("1 year ago", datetime(2025, 3, 31, 12, 30, 15)),
    ],
)
def test_moments(text: str, moment: datetime) -> None:
    assert moment_ns(text, NOW_NS) // 10**9 == int(moment.timestamp())


def test_a_day_is_its_end_or_its_start() -> None:
    start, end = datetime(2026, 3, 30), datetime(2026, 3, 30, 23, 59, 59, 999999)
    for text in ("2026-03-30", "yesterday"):
        assert moment_ns(text, NOW_NS, day_ends=False) == int(start.timestamp()) * 10**9
        assert moment_ns(text, NOW_NS) == int(end.timestamp()) * 10**9 + 999_999_000


@pytest.mark.parametrize("text", ["2026-02-30", "soon", "9999999 years ago", "2026-01-01 25:00"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(SnapshotMissing, match="is no time"):
        moment_ns(text, NOW_NS)
