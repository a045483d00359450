"""Timelines: how the histories of a cluster branch off each other (``timeline.c``)."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import NamedTuple

from safehold.core.errors import FormatError
from safehold.sources.postgresql.positions import parse_lsn


class Ancestor(NamedTuple):
    """A timeline on the way to another: it was followed up to ``switch``."""

    timeline: int
    switch: int


class Stretch(NamedTuple):
    """A part of a way through the timelines, from the first position to the last; ``stop`` is None where it has no end."""

    timeline: int
    start: int
    stop: int | None


History = list[Ancestor]
"""Oldest first."""


def parse_history(text: str, name: str) -> History:
    """The ancestors that a history file lists.  Raises ``FormatError``."""
    found: History = []
    for line in text.splitlines():
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        try:
            found.append(Ancestor(int(words[0]), parse_lsn(words[1])))
        except (ValueError, IndexError) as error:
            raise FormatError(f"The history file {name} cannot be read at {line.strip()!r}.", "It is damaged.") from error
    if any(later.timeline <= earlier.timeline for earlier, later in pairwise(found)):
        raise FormatError(f"The timelines in the history file {name} do not ascend.", "It is damaged.")
    return found


def way(target: int, histories: Mapping[int, History]) -> list[Stretch]:
    """How one gets to a timeline from the beginning, oldest stretch first."""
    stretches, start = [], 0
    for timeline, switch in histories.get(target, []):
        stretches.append(Stretch(timeline, start, switch))
        start = switch
    return [*stretches, Stretch(target, start, None)]


def leads_to(timeline: int, position: int, target: int, histories: Mapping[int, History]) -> bool:
    """Whether one that stands at ``position`` of ``timeline`` can get to timeline ``target``."""
    return any(s.timeline == timeline and (s.stop is None or position <= s.stop) for s in way(target, histories))


def newest(timeline: int, position: int, histories: Mapping[int, History]) -> int:
    """The highest timeline that can be got to from there; ``timeline`` itself if there is none."""
    return max((t for t in histories if leads_to(timeline, position, t, histories)), default=timeline)
