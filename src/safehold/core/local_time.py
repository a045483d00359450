"""This machine's time zone, with its summer times, as the standard library wants it."""

from __future__ import annotations

import calendar
from datetime import datetime, timedelta, tzinfo


class LocalZone(tzinfo):
    """As the system's ``localtime`` has it."""

    def utcoffset(self, moment: datetime | None) -> timedelta | None:
        return None if moment is None else moment.replace(tzinfo=None).astimezone().utcoffset()

    def dst(self, moment: datetime | None) -> timedelta | None:
        return None

    def tzname(self, moment: datetime | None) -> str | None:
        return None if moment is None else moment.replace(tzinfo=None).astimezone().tzname()

    def fromutc(self, moment: datetime) -> datetime:
        local = datetime.fromtimestamp(calendar.timegm(moment.replace(tzinfo=None).timetuple()))
        return local.replace(microsecond=moment.microsecond, tzinfo=self)
