"""What of a cluster's log is in the repository, and how far one gets with it.  Pure functions of the catalogue."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise

import msgspec

from safehold.ops.databases.logs import Log, StoredLog
from safehold.ops.databases.postgresql.segments import reach
from safehold.sources.postgresql import timelines
from safehold.sources.postgresql.positions import segment_name
from safehold.sources.postgresql.timelines import History, Stretch
from safehold.sources.postgresql.wal import DEFAULT_SEGMENT, parse_name


class Base(msgspec.Struct, frozen=True, kw_only=True):
    """A base, as far as a plan needs it."""

    id: str
    timeline: int
    start: int
    stop: int
    stop_ns: int
    standby: bool = False
    """It was taken from a standby: its last segment is not whole."""


class Piece(msgspec.Struct, frozen=True):
    """A file that a recovery reads, and the name under which the server asks for it."""

    name: str
    stored: StoredLog

    @property
    def log(self) -> Log:
        return self.stored.log


class Reach(msgspec.Struct, frozen=True, kw_only=True):
    """How far one gets from a base along a way."""

    pieces: list[Piece]
    """Without a gap, in the order in which they are read."""
    end: int
    """The position that is reached."""
    missing: str
    """The name of the first segment that is not there."""
    gap: bool
    """Whether later ones are there."""

    @property
    def last_ns(self) -> int:
        """When the last transaction on the way ended; 0: not known."""
        return max((piece.log.last_ns for piece in self.pieces), default=0)


class Archive(msgspec.Struct, frozen=True, kw_only=True):
    """A cluster's log as the repository has it."""

    segment: int
    """Bytes of a segment."""
    segments: Mapping[tuple[int, int], StoredLog]
    """By timeline and start."""
    partials: Mapping[tuple[int, int], StoredLog]
    histories: Mapping[int, History]
    history_files: Mapping[int, StoredLog]

    def way(self, target: int) -> list[Stretch]:
        """How one gets to a timeline."""
        return timelines.way(target, self.histories)

    def newest_timeline(self, base: Base) -> int:
        """The highest timeline that can be got to from a base."""
        return timelines.newest(base.timeline, base.stop, self.histories)

    def leads_to(self, base: Base, timeline: int) -> bool:
        """Whether a base lies on the way to a timeline."""
        return base.timeline == timeline or timelines.leads_to(base.timeline, base.stop, timeline, self.histories)

    def reach(self, base: Base, timeline: int) -> Reach:
        """Follow the log from a base to the first segment that is not there."""
        stretches = [s for s in self.way(timeline) if s.timeline >= base.timeline]
        pieces: list[Piece] = []
        at = base.start - base.start % self.segment
        end = base.stop
        while True:
            wanted = self._timeline_at(stretches, at)
            name = segment_name(wanted, at, self.segment)
            stored = self.segments.get((wanted, at))
            if stored is not None:
                pieces.append(Piece(name, stored))
                end = max(end, reach(stored.log))
            elif not self._is_in_base(base, at):
                break
            at += self.segment
        last = self._last(stretches, wanted, at)
        if last is not None:
            pieces.append(last[0])
            end = max(end, last[1])
        gap = any(start > at and self._timeline_at(stretches, start) == t for t, start in self.segments)
        return Reach(pieces=pieces, end=end, missing=name, gap=gap)

    def _timeline_at(self, stretches: list[Stretch], at: int) -> int:
        """Which timeline's file holds the segment: that of the newest that has begun in it (``XLogFileReadAnyTLI``)."""
        begun = [s.timeline for s in stretches if s.start - s.start % self.segment <= at]
        return begun[-1] if begun else stretches[0].timeline

    def _is_in_base(self, base: Base, at: int) -> bool:
        """Whether a base brings that segment along, as whole as the server had it."""
        return at < base.stop - (self.segment if base.standby else 0)

    def _last(self, stretches: list[Stretch], wanted: int, at: int) -> tuple[Piece, int] | None:
        """What still leads a bit further where a segment is missing, and to where.

        It is the partial segment, or what there is of the timeline that was left in the middle of it.
        """
        for stretch in reversed(stretches):
            left = stretch.stop if stretch.timeline < wanted else None
            if stretch.timeline > wanted or (stretch.timeline < wanted and (left is None or left <= at)):
                continue
            key = (stretch.timeline, at)
            stored = self.partials.get(key) or (self.segments.get(key) if stretch.timeline < wanted else None)
            if stored is not None:
                end = reach(stored.log)
                return Piece(segment_name(stretch.timeline, at, self.segment), stored), end if left is None else min(end, left)
        return None

    def gaps(self) -> list[tuple[str, str]]:
        """The first and the last missing segment between two that are there, of each timeline."""
        return [
            (segment_name(timeline, first, self.segment), segment_name(timeline, after - self.segment, self.segment))
            for timeline, first, after in self._holes()
        ]

    def _holes(self) -> Iterator[tuple[int, int, int]]:
        keys = sorted(self.segments)
        for (timeline, start), (other, after) in pairwise(keys):
            if timeline == other and after > start + self.segment:
                yield timeline, start + self.segment, after


def archive_of(logs: Iterable[StoredLog], histories: Mapping[int, History], segment: int = 0) -> Archive:
    """The archive that a catalogue's logs make; ``segment``: bytes of a segment where none is there to tell."""
    segments: dict[tuple[int, int], StoredLog] = {}
    partials: dict[tuple[int, int], StoredLog] = {}
    files: dict[int, StoredLog] = {}
    size = segment
    for stored in logs:
        log = stored.log
        parsed = parse_name(log.name)
        if parsed is None:
            continue
        if parsed.kind == "segment":
            segments[log.timeline, log.start] = stored
            size = log.end - log.start
        elif parsed.kind == "partial":
            partials[log.timeline, log.start] = stored
        elif parsed.kind == "history":
            files[log.timeline] = stored
    return Archive(
        segment=size or DEFAULT_SEGMENT, segments=segments, partials=partials, histories=histories, history_files=files
    )
