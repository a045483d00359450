"""Which level of zstd suits the data that comes.

Text of high entropy (hashes, tokens, Base64) becomes no smaller at level 3 than at level 1, which takes a third of the time:
the matches that level 3 finds there cost more bits than they save.  What lies in a database's blocks is much alike, so it is
tried now and then, and holds for what follows.
"""

from __future__ import annotations

from itertools import count

from safehold.codec.compression import DEFAULT_LEVEL, length_at

QUICK = 1
EVERY = 16
"""So many pieces share a trial: it costs a fiftieth of the time that they take."""
SAMPLE = 256 * 1024
"""Bytes of the middle of a piece that are tried."""
WORTH = 1.01
"""A level has to make so much less of it than the quick one."""


class Levels:
    """Chooses between ``DEFAULT_LEVEL`` and ``QUICK``.  Safe to use from several threads: a race costs a trial."""

    def __init__(self) -> None:
        self._numbers = count()
        self._level = DEFAULT_LEVEL

    def choose(self, data: bytes) -> int:
        """The level for this piece, and for those that follow."""
        if next(self._numbers) % EVERY == 0:
            at = max(0, (len(data) - SAMPLE) // 2)
            sample = data[at : at + SAMPLE]
            usual = length_at(sample, DEFAULT_LEVEL)
            self._level = DEFAULT_LEVEL if usual * WORTH < length_at(sample, QUICK) else QUICK
        return self._level
