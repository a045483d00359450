"""Giving a recovering server the log files that it asks for, and having the next ones ready before it does."""

from __future__ import annotations

import os
from pathlib import Path

from safehold.ops.databases.postgresql.reading import content, load
from safehold.repo.repository import Repository
from safehold.sources.postgresql.positions import segment_name
from safehold.sources.postgresql.spool import write
from safehold.sources.postgresql.wal import parse_name


class Fetcher:
    """The log of one cluster, read for a server that recovers."""

    def __init__(self, repository: Repository, system: str) -> None:
        self._repository = repository
        cluster = load(repository, system)
        self._archive = cluster.archive
        archive = cluster.archive
        files = [*archive.segments.values(), *archive.partials.values(), *archive.history_files.values()]
        self._files = {stored.log.name: stored for stored in files}

    def fetch(self, name: str, target: Path) -> bool:
        """Write the file of that name to ``target``, all or nothing; False if there is none.  Raises ``DamageError``."""
        # A server that asks for a whole segment of an old timeline reads what there is of it up to where the next one begins.
        stored = self._files.get(name) or self._files.get(f"{name}.partial")
        if stored is None:
            return False
        write(str(target.parent), target.name, content(self._repository, stored))
        return True

    def fetch_after(self, name: str, count: int, folder: Path) -> int:
        """Put the segments that follow that one into a folder, ``count`` at most; how many."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        done = 0
        for following in self._following(name, count):
            if not (folder / following).exists() and self.fetch(following, folder / following):
                done += 1
        return done

    def _following(self, name: str, count: int) -> list[str]:
        parsed = parse_name(name)
        if parsed is None or parsed.kind != "segment":
            return []
        size = self._archive.segment
        start = parsed.start(size)
        names = [segment_name(parsed.timeline, start + size * (number + 1), size) for number in range(count)]
        return [each for each in names if each in self._files]


def tidy(folder: Path, name: str) -> None:
    """Drop segments that the server has passed: those before that one, in whichever timeline."""
    if not folder.is_dir():
        return
    for other in os.listdir(folder):
        if len(other) == len(name) == 24 and other[8:] < name[8:]:
            (folder / other).unlink(missing_ok=True)
