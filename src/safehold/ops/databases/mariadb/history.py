"""From a base onward: which stored binary logs follow it without a gap, and where in them a wanted moment lies."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

import msgspec

from safehold.core.clock import NS
from safehold.core.errors import LogGap, UsageError
from safehold.ops.databases.logs import Catalogue, StoredLog
from safehold.repo import files
from safehold.repo.reader import ChunkReader
from safehold.repo.snapshots import Database
from safehold.sources.mariadb import binlog
from safehold.sources.mariadb.server import number_of

OFFSETS = (1 << 32) - 1


class Goal(msgspec.Struct, frozen=True, kw_only=True):
    """The moment that is wanted.  With none of these: the base itself."""

    time_ns: int = 0
    latest: bool = False
    """All that is stored."""
    position: str = ""
    """FILE:POS"""
    gtid: str = ""

    @property
    def needs_logs(self) -> bool:
        return bool(self.time_ns or self.latest or self.position or self.gtid)


class Stop(msgspec.Struct, frozen=True):
    """Where the log is applied up to."""

    name: str
    offset: int
    time_ns: int = 0
    """When the last transaction before it was committed; 0: none was."""
    gtid: str = ""


class LogFile(msgspec.Struct, frozen=True):
    """One binary log file of a history, put together from its pieces."""

    name: str
    number: int
    pieces: list[StoredLog]

    @property
    def size(self) -> int:
        """Bytes that are stored of it, from its beginning."""
        return max((p.log.start & OFFSETS) + p.entry.size for p in self.pieces)

    @property
    def last_ns(self) -> int:
        return max(p.log.last_ns for p in self.pieces)

    @property
    def gtid(self) -> str:
        return next((p.log.facts["gtid"] for p in reversed(self.pieces) if "gtid" in p.log.facts), "")

    def data(self, reader: ChunkReader) -> Iterator[bytes]:
        """Its bytes, once each, where pieces overlap."""
        at = 0
        for piece in self.pieces:
            skip = at - (piece.log.start & OFFSETS)
            for part in files.stream(files.open_file(reader, piece.entry)):
                if skip < len(part):
                    yield part[skip:] if skip > 0 else part
                skip -= len(part)
            at = max(at, (piece.log.start & OFFSETS) + piece.entry.size)


class History:
    """What is stored of a base's log."""

    def __init__(self, base: Database, catalogue: Catalogue) -> None:
        self.base = base
        self._logs = catalogue.logs
        pieces = list(self._walk()) if base.start else []
        self.files = list(_grouped(pieces))
        self.end = max((p.log.end for p in pieces), default=0)
        """The position up to which the log is stored without a gap."""
        self.reaches_base = self.end >= base.stop > 0
        self.later = [p for p in self._logs if p.log.start >= self.end > 0 and p not in pieces]
        """Logs that lie beyond a gap."""

    @property
    def last_ns(self) -> int:
        """When the last stored transaction was committed; at least when the base was taken."""
        return max([self.base.stop_ns, *(file.last_ns for file in self.files)])

    @property
    def gap(self) -> str:
        """What is missing, in words; empty if nothing is."""
        base = self.base
        if not base.start:
            return ""
        if not self.reaches_base:
            return f"{base.facts.get('binlog', '')} from {self.end & OFFSETS if self.files else 0} on" if self._beyond() else ""
        if not self.later:
            return ""
        first = self.later[0].log
        return f"{self._name(self.end)} to {first.facts.get('file', first.name)}:{first.start & OFFSETS}"

    def _beyond(self) -> bool:
        return bool(self.later) or any(p.log.end > self.base.start for p in self._logs)

    def _name(self, position: int) -> str:
        name, _, digits = self.base.facts.get("binlog", "log.000000").rpartition(".")
        return f"{name}.{position >> 32:0{len(digits)}}:{position & OFFSETS}"

    def end_name(self) -> str:
        """FILE:POS up to which the log is stored."""
        file = self.files[-1] if self.files else None
        return f"{file.name}:{file.size}" if file else ""

    def _walk(self) -> Iterator[StoredLog]:
        """Piece after piece, each where the one before ended, of the same run of the server's log."""
        at, created, timeline = self.base.start, int(self.base.facts.get("binlog_created", 0)), self.base.timeline
        while True:
            fitting = [p for p in self._logs if p.log.start <= at < p.log.end and _is_of(p, at, created)]
            if not fitting:
                return
            found = max(fitting, key=lambda p: (p.log.timeline == timeline, p.log.end))
            yield found
            at, timeline = found.log.end, found.log.timeline
            created = 0 if at & OFFSETS == 0 else int(found.log.facts.get("created", 0))

    def stop(self, goal: Goal, reader: ChunkReader) -> Stop:
        """Where a moment lies.  Raises ``LogGap`` and ``UsageError`` for one that cannot be reached."""
        self._require_logs()
        if goal.latest:
            return self._latest()
        if goal.time_ns:
            return self._at_time(goal.time_ns, reader)
        if goal.position:
            return self._at_position(goal.position, reader)
        return self._at_gtid(goal.gtid, reader)

    def _require_logs(self) -> None:
        base = self.base
        if not base.start:
            raise LogGap("The server wrote no binary log when this base was taken.", "Only the base itself can be restored.")
        if not self.reaches_base:
            raise LogGap(
                f"The binary log {base.facts.get('binlog')}, which this base needs up to {base.stop & OFFSETS}, is not stored.",
                "Restore the base itself, or one that was taken while the log was followed (`safehold db watch`).",
            )

    def _latest(self) -> Stop:
        if self.later:
            raise LogGap(
                f"Of the binary log, {self.gap} is missing.",
                f"The last moment before the gap is --to-position {self.end_name()}; later ones need a later base.",
            )
        return self._end()

    def _end(self) -> Stop:
        file = self.files[-1]
        return Stop(file.name, file.size, self.last_ns, file.gtid)

    def _at_time(self, time_ns: int, reader: ChunkReader) -> Stop:
        if time_ns < self.base.stop_ns // NS * NS:
            raise UsageError(
                f"That time is before {_words(self.base.stop_ns)}, when this base was taken.",
                "Name an older base of this database.",
            )
        found = Stop(self.base.facts["binlog"], self.base.stop & OFFSETS)
        for file in self.files:
            if file.last_ns <= time_ns:
                found = Stop(file.name, file.size, file.last_ns, file.gtid) if file.last_ns else found
                continue
            for done in self._transactions(file, reader):
                if done.time_ns > time_ns:
                    return found
                found = Stop(file.name, done.end, done.time_ns, done.gtid)
        if time_ns <= self.last_ns:
            return found
        if self.later:
            raise LogGap(
                f"Of the binary log, {self.gap} is missing, and that time is not reached before it.",
                f"The last moment before the gap is --to-position {self.end_name()}.",
            )
        raise LogGap(
            f"The stored log ends with a transaction of {_words(self.last_ns)}, so the state at that time is not known.",
            "`--to-time latest` restores all there is.",
        )

    def _at_position(self, text: str, reader: ChunkReader) -> Stop:
        name, _, digits = text.rpartition(":")
        if not digits.isdigit() or not name.rpartition(".")[2].isdigit():
            raise UsageError(f"`{text}` is no place in a binary log.", "Write FILE:POSITION, like mariadb-bin.000017:4711.")
        wanted = number_of(name) << 32 | int(digits)
        if wanted < self.base.stop:
            raise UsageError(f"{text} is before {self._name(self.base.stop)}, where this base begins.", "Name an older base.")
        file = next((f for f in self.files if f.number == number_of(name)), None)
        if file is None or int(digits) > file.size:
            what = f"Of the binary log, {self.gap} is missing" if self.later else f"The stored log ends at {self.end_name()}"
            raise LogGap(f"{what}, so {text} cannot be reached.", f"The last moment is --to-position {self.end_name()}.")
        last = Stop(file.name, self.base.stop & OFFSETS if wanted >> 32 == self.base.stop >> 32 else len(binlog.MAGIC))
        for done in self._transactions(file, reader):
            if done.start < int(digits) < done.end:
                raise UsageError(
                    f"{text} lies in the middle of a transaction.",
                    f"Before it: {file.name}:{done.start}; with it: {file.name}:{done.end}.",
                )
            if done.start >= int(digits):
                break
            last = Stop(file.name, done.end, done.time_ns, done.gtid)
        return msgspec.structs.replace(last, offset=int(digits))

    def _at_gtid(self, gtid: str, reader: ChunkReader) -> Stop:
        for file in self.files:
            if _surely_before(file, gtid):
                continue
            for done in self._transactions(file, reader):
                if done.gtid == gtid:
                    return Stop(file.name, done.end, done.time_ns, gtid)
        own = self.base.facts.get("gtid", "")
        raise LogGap(
            f"The transaction {gtid} is not in the stored log after this base{f', which stands at {own}' if own else ''}.",
            "If it is older than the base, name an older base.",
        )

    def _transactions(self, file: LogFile, reader: ChunkReader) -> Iterator[binlog.Transaction]:
        """Those of a file that the base does not hold yet."""
        begin = self.base.stop & OFFSETS if file.number == self.base.stop >> 32 else 0
        return (done for done in binlog.transactions(file.data(reader)) if done.start >= begin)

    def needed(self, stop: Stop) -> list[LogFile]:
        """The files from the base to that place."""
        return [file for file in self.files if file.number <= number_of(stop.name)]


def _is_of(piece: StoredLog, at: int, created: int) -> bool:
    """Whether a piece continues a file begun at ``created`` (0: any)."""
    return not created or int(piece.log.facts.get("created", 0)) == created or not at


def _grouped(pieces: list[StoredLog]) -> Iterator[LogFile]:
    rest = list(pieces)
    while rest:
        number = rest[0].log.start >> 32
        own = [p for p in rest if p.log.start >> 32 == number]
        rest = rest[len(own) :]
        yield LogFile(own[0].log.facts.get("file", own[0].log.name), number, own)


def _surely_before(file: LogFile, gtid: str) -> bool:
    """Whether a file ends before a MariaDB GTID of the same domain; with more domains than one nobody knows."""
    try:
        (domain, _, last), (wanted_domain, _, wanted) = file.gtid.split("-"), gtid.split("-")
        return domain == wanted_domain and int(last) < int(wanted)
    except ValueError:
        return False


def _words(time_ns: int) -> str:
    return f"{datetime.fromtimestamp(time_ns // NS):%Y-%m-%d %H:%M:%S}"
