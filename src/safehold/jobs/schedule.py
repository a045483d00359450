"""When a plan is due: pure functions of its schedule, of when it ran, and of the zone.  ``docs/plans.md``, "When it is due"."""

from __future__ import annotations

import calendar
import re
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta, tzinfo

import msgspec

from safehold.core.clock import NS
from safehold.core.errors import UsageError

WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
SHORTEST = 60
"""Seconds between two runs."""
_SECONDS = {"m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_UNITS = {"m": "min", "h": "h", "d": "d", "w": "weeks"}
_SPAN = re.compile(r"([0-9]{1,5})\s*([mhdw])")
_TIME = re.compile(r"([01]?[0-9]|2[0-3]):([0-5][0-9])")
_FARTHEST_DAYS = 63
"""Any choice of days comes again within two months."""


class Schedule(msgspec.Struct, frozen=True):
    """When something is to run.  Empty: only by hand."""

    every: int = 0
    """Seconds after the last run began."""
    at: tuple[tuple[int, int], ...] = ()
    """Hours and minutes of the day, in order."""
    weekdays: frozenset[int] = frozenset()
    """On these only; 0 is Monday."""
    monthdays: frozenset[int] = frozenset()
    """On these only; what a month does not have is its last day."""

    @property
    def is_empty(self) -> bool:
        """Whether it never is due by itself."""
        return not self.every and not self.at

    def next_ns(self, after_ns: int, zone: tzinfo, later_ns: int = 0) -> int:
        """The first moment after another (ns since 1970) at which it is due; every one of them comes ``later_ns`` later.

        Of an hour that summer time leaves out, the moment is an hour later by the clock; of one that comes twice, the first.
        """
        if self.every:
            return after_ns + self.every * NS
        return next(each for each in self._moments(after_ns - later_ns, zone) if each > after_ns - later_ns) + later_ns

    def _moments(self, from_ns: int, zone: tzinfo) -> Iterator[int]:
        day = datetime.fromtimestamp(from_ns / NS, zone).date() - timedelta(days=1)
        for _ in range(_FARTHEST_DAYS):
            if self._is_on(day):
                for hour, minute in self.at:
                    yield int(datetime.combine(day, time(hour, minute), zone).timestamp()) * NS
            day += timedelta(days=1)

    def _is_on(self, day: date) -> bool:
        if self.weekdays:
            return day.weekday() in self.weekdays
        if self.monthdays:
            last = calendar.monthrange(day.year, day.month)[1]
            return day.day in self.monthdays or (day.day == last and max(self.monthdays) > last)
        return True

    def words(self) -> str:
        """For people: ``every 6 h``, ``02:30 mon, fri``; empty if only by hand."""
        if self.every:
            unit = next(unit for unit in reversed(_SECONDS) if self.every % _SECONDS[unit] == 0)
            number = self.every // _SECONDS[unit]
            return "every week" if (number, unit) == (1, "w") else f"every {number} {_UNITS[unit]}"
        on = [WEEKDAYS[day] for day in sorted(self.weekdays)] or [f"{day}." for day in sorted(self.monthdays)]
        return " ".join(word for word in (", ".join(f"{h:02}:{m:02}" for h, m in self.at), ", ".join(on)) if word)


def schedule(every: str, at: list[str], on: list[str]) -> Schedule:
    """What a plan's settings say.  Raises ``UsageError``."""
    if every and at:
        raise UsageError("A plan runs either `every` so often or `at` some time, not both.", "Leave one of them out.")
    if on and not at:
        raise UsageError("`on` says the days, but `at` is missing.", "Add the time: at 02:30.")
    seconds = span(every, "every") if every else 0
    if every and seconds < SHORTEST:
        raise UsageError(f"{every!r} is too often.", "Once a minute is the most.")
    weekdays, monthdays = _days([word for text in on for word in re.split(r"[\s,]+", text.strip()) if word])
    return Schedule(seconds, tuple(sorted({_time(text) for text in at})), weekdays, monthdays)


def span(text: str, setting: str) -> int:
    """``30m``, ``6h``, ``1d``, ``2w`` in seconds.  Raises ``UsageError``."""
    match = _SPAN.fullmatch(text.strip())
    if match is None or not int(match[1]):
        raise UsageError(f"`{setting}`: {text!r} is no span of time.", "Write it as 30m, 6h, 1d or 1w (m: minutes).")
    return int(match[1]) * _SECONDS[match[2]]


def _time(text: str) -> tuple[int, int]:
    match = _TIME.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"`at`: {text!r} is no time of day.", "Write it as 02:30 or 14:00.")
    return int(match[1]), int(match[2])


def _days(words: list[str]) -> tuple[frozenset[int], frozenset[int]]:
    weekdays = {WEEKDAYS.index(word[:3].lower()) for word in words if word[:3].lower() in WEEKDAYS}
    monthdays = {int(word) for word in words if word.isdecimal() and 1 <= int(word) <= 31}
    unknown = [word for word in words if word[:3].lower() not in WEEKDAYS and not (word.isdecimal() and 1 <= int(word) <= 31)]
    if unknown:
        raise UsageError(f"`on`: {unknown[0]!r} is no day.", "Write mon, tue, ... sun, or days of the month from 1 to 31.")
    if weekdays and monthdays:
        raise UsageError("`on` has days of the week and of the month.", "Make two plans of it.")
    return frozenset(weekdays), frozenset(monthdays)
