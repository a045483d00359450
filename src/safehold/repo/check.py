"""Check: what of a repository is as it was stored, and which files are hurt where something is not.  ``docs/check.md``."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Iterator, Sequence

import msgspec

from safehold.repo.checking.findings import DAMAGE, Finding, LostFile
from safehold.repo.checking.inspection import Inspection
from safehold.repo.checking.walk import TreeWalk
from safehold.repo.repository import Repository
from safehold.repo.snapshots import Stored

ALL = 1 << 62


class CheckOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How much is looked at."""

    read_data: float = 0
    """Of how many packs every byte is read: percent, 0 to 100."""
    most_files: int = 1000
    """So many paths are kept with each finding; all are counted.  ``ALL`` keeps all."""


class SnapshotState(msgspec.Struct, frozen=True):
    """What a check says of one snapshot."""

    id: str
    lost: int
    """Paths that cannot be restored whole."""

    @property
    def whole(self) -> bool:
        return self.lost == 0


class Report(msgspec.Struct, frozen=True):
    """The outcome of a check."""

    findings: list[Finding]
    snapshots: list[SnapshotState]
    """Of every snapshot that opens, oldest first; none for a key that may not read."""
    unchecked: list[str]
    """Sentences about what was not looked at, and why."""
    packs: int
    read_packs: int
    """Of which every byte was read."""
    trees: int

    @property
    def damage(self) -> list[Finding]:
        """The findings that are not mere notes."""
        return [found for found in self.findings if found.severity == DAMAGE]

    @property
    def clean(self) -> bool:
        """Nothing is damaged, missing or rolled back."""
        return not self.damage

    @property
    def status(self) -> int:
        """The exit status: 0, or that of ``DamageError``."""
        return 0 if self.clean else 4


def check(
    repository: Repository,
    options: CheckOptions | None = None,
    *,
    shuffle: Callable[[list[bytes]], None] = random.shuffle,
) -> Report:
    """Look at everything this key lets us see; changes nothing.  Raises store errors that are worth another try."""
    options = options or CheckOptions()
    return report(inspect(repository, options, shuffle=shuffle))


def inspect(
    repository: Repository, options: CheckOptions, *, shuffle: Callable[[list[bytes]], None] = random.shuffle
) -> Inspection:
    """A check in the form that ``repair`` works with; the costs of the findings are filled in."""
    inspection = Inspection(repository, options.most_files, digests=options.read_data >= 100)

    def choose(pack_ids: list[bytes]) -> Iterable[bytes]:
        if options.read_data < 100:
            shuffle(pack_ids)
        return pack_ids[: math.ceil(len(pack_ids) * options.read_data / 100)]

    inspection.look(choose)
    for name, path, causes in lost_paths(inspection.snapshots, inspection.walk):
        for key in causes:
            inspection.findings.cost(key, LostFile(name, path))
    return inspection


def lost_paths(found: Sequence[Stored], walk: TreeWalk | None) -> Iterator[tuple[str, bytes, tuple[str, ...]]]:
    """Snapshot, path and causes of everything that cannot be restored whole."""
    if walk is not None:
        for each in found:
            for path, causes in walk.lost_paths(each.snapshot.tree):
                yield each.id, path, causes


def report(inspection: Inspection) -> Report:
    """What is told to the user."""
    lost = {each.id: 0 for each in sorted(inspection.snapshots, key=lambda s: (s.snapshot.time_ns, s.id))}
    for name, _, _ in lost_paths(inspection.snapshots, inspection.walk):
        lost[name] += 1
    return Report(
        inspection.findings.all,
        [SnapshotState(name, count) for name, count in lost.items()],
        inspection.findings.unchecked,
        len(inspection.stored),
        len(inspection.verdicts),
        inspection.walk.trees if inspection.walk else 0,
    )
