"""When plans are due, in zones with summer time and without."""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo

import pytest

from safehold.core.clock import NS
from safehold.core.errors import UsageError
from safehold.jobs.schedule import Schedule, schedule, span

BERLIN = ZoneInfo("Europe/Berlin")
HOUR = 3600


def ns(text: str, zone: tzinfo = UTC) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=zone).timestamp()) * NS


def following(made: Schedule, after: str, count: int, zone: tzinfo = UTC, later_ns: int = 0) -> list[str]:
    """The next so many moments, in that zone."""
    at, found = ns(after, zone), []
    for _ in range(count):
        at = made.next_ns(at, zone, later_ns)
        found.append(f"{datetime.fromtimestamp(at / NS, zone):%Y-%m-%d %H:%M}")
    return found


def test_every_span() -> None:
    assert following(schedule("6h", [], []), "2026-11-23 11:00", 2) == ["2026-11-23 17:00", "2026-11-23 23:00"]
    assert [span(text, "every") for text in ("30m", "6h", "1d", "2w", " 5 m ")] == [
        1800,
        6 * HOUR,
        24 * HOUR,
        14 * 24 * HOUR,
        300,
    ]


def test_times_of_day_come_in_order() -> None:
    made = schedule("", ["20:00", "8:30"], [])
    assert following(made, "2026-11-23 08:30", 3) == ["2026-11-23 20:00", "2026-11-24 08:30", "2026-11-24 20:00"]


def test_days_of_the_week_and_of_the_month() -> None:
    weekly = schedule("", ["02:30"], ["mon, Friday"])  # 2026-11-23 is a Monday
    assert following(weekly, "2026-11-23 02:30", 3) == ["2026-11-27 02:30", "2026-11-30 02:30", "2026-12-04 02:30"]
    monthly = schedule("", ["02:30"], ["1", "31"])
    assert following(monthly, "2027-01-31 03:00", 4) == [
        "2027-02-01 02:30",
        "2027-02-28 02:30",
        "2027-03-01 02:30",
        "2027-03-31 02:30",
    ]


def test_an_hour_that_summer_time_leaves_out_is_an_hour_later() -> None:
    assert following(schedule("", ["02:30"], []), "2026-03-28 12:00", 2, BERLIN) == ["2026-03-29 03:30", "2026-03-30 02:30"]


def test_an_hour_that_comes_twice_counts_once() -> None:
    made = schedule("", ["02:30"], [])
    first = made.next_ns(ns("2026-10-24 12:00", BERLIN), BERLIN)
    second = made.next_ns(first, BERLIN)
    assert second - first == 25 * HOUR * NS and datetime.fromtimestamp(second / NS, BERLIN).day == 26


def test_a_spread_moves_every_moment_alike() -> None:
    made = schedule("", ["23:50"], [])
    assert following(made, "2026-11-23 23:55", 2, later_ns=1800 * NS) == ["2026-11-24 00:20", "2026-11-25 00:20"]


@pytest.mark.parametrize(
    ("every", "at", "on", "said"),
    [
        ("6h", ["02:30"], [], "either"),
        ("", [], ["mon"], "`at` is missing"),
        ("soon", [], [], "no span of time"),
        ("0h", [], [], "no span of time"),
        ("", ["25:00"], [], "no time of day"),
        ("", ["02:30"], ["someday"], "no day"),
        ("", ["02:30"], ["32"], "no day"),
        ("", ["02:30"], ["mon,1"], "of the week and of the month"),
    ],
)
def test_what_is_no_schedule(every: str, at: list[str], on: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        schedule(every, at, on)


def test_in_words() -> None:
    told = [
        schedule(*each).words()
        for each in (("90m", [], []), ("1w", [], []), ("", ["2:30"], ["fri", "mon"]), ("", ["2:30"], ["1"]))
    ]
    assert told == ["every 90 min", "every week", "02:30 mon, fri", "02:30 1."] and schedule("", [], []).words() == ""
