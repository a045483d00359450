"""Which level of zstd suits the data that comes.

Text of high entropy (hashes, tokens, Base64) becomes no smaller at level 3 than at level 1, which takes a third of the time:
the matches that level 3 finds there cost more bits than they save.  What lies in a database's blocks is much alike, so it is
tried now and then, and holds for what follows.
"""

from __future__ import annotations

from safehold.codec.compression import DEFAULT_LEVEL, length_at, suits_columns

QUICK = 1
EVERY = 16 * 1024 * 1024
"""So many bytes share a trial: it costs a fiftieth of the time that they take."""
SAMPLE = 256 * 1024
"""Bytes of the middle of a piece that are tried."""
WORTH = 1.01
"""A level has to make so much less of it than the quick one."""
ALIKE = 1024 * 1024
"""So many bytes are taken for alike in that all of them, or none, are smaller in columns."""


class Levels:
    """Chooses between ``DEFAULT_LEVEL`` and ``QUICK``, and columns.  Safe to use from several threads: a race costs a trial."""

    def __init__(self) -> None:
        self._level = DEFAULT_LEVEL
        self._rest = 0
        self._columns = False
        self._alike = 0

    def choose(self, data: bytes) -> int:
        """The level for this piece, and for those that follow."""
        self._rest -= len(data)
        if self._rest < 0:
            self._rest = EVERY - len(data)
            at = max(0, (len(data) - SAMPLE) // 2)
            sample = data[at : at + SAMPLE]
            usual = length_at(sample, DEFAULT_LEVEL)
            self._level = DEFAULT_LEVEL if usual * WORTH < length_at(sample, QUICK) else QUICK
        return self._level

    def suits_columns(self, data: bytes) -> bool:
        """Whether this piece is smaller in columns."""
        self._alike -= len(data)
        if self._alike < 0:
            self._alike = ALIKE - len(data)
            self._columns = suits_columns(data)
        return self._columns
