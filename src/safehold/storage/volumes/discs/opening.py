"""Making and opening a set of discs."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec

from safehold.core.clock import Clock, SystemClock
from safehold.core.errors import UsageError
from safehold.core.events import Reporter, silent
from safehold.storage.local import LocalStore
from safehold.storage.volumes.burning.plain_files import PlainFiles
from safehold.storage.volumes.catalogue import Catalogue
from safehold.storage.volumes.discs.exclusive import Exclusive
from safehold.storage.volumes.discs.finishing import Finisher
from safehold.storage.volumes.discs.groups import Groups
from safehold.storage.volumes.discs.layout import layout_of
from safehold.storage.volumes.discs.ledger import Ledger
from safehold.storage.volumes.discs.reading import FrameReader
from safehold.storage.volumes.discs.recorder import Recorder
from safehold.storage.volumes.discs.shelf import Ask, Shelf
from safehold.storage.volumes.discs.store import DiscStore

VIEWS = "views"
"""The folder, beside the catalogue, of what the machine keeps of each generation."""
LOCK = "write.lock"


class Reach(msgspec.Struct, frozen=True):
    """How volumes are got at."""

    places: tuple[Path, ...] = ()
    """Images, folders, devices, or folders with such in them."""
    ask: Ask | None = None
    lost: tuple[int, ...] = ()
    """Volumes that are gone."""


def newest(catalogue: Catalogue) -> int:
    """The generation that is written to."""
    return int(str(catalogue.set.settings.get("generation", 1)))


def generations(catalogue: Catalogue) -> Iterable[int]:
    """All generations, from 1 on."""
    return range(1, newest(catalogue) + 1)


def mirror_folder(catalogue: Catalogue, generation: int) -> Path:
    """Where the machine keeps a generation's metadata."""
    return catalogue.folder / VIEWS / str(generation)


def open_discs(
    catalogue: Catalogue,
    *,
    generation: int = 0,
    reach: Reach | None = None,
    finisher: Finisher | None = None,
    report: Reporter = silent,
    clock: Clock | None = None,
) -> DiscStore:
    """The store of a generation, 0: the newest.  Raises ``UsageError``."""
    clock = clock or SystemClock()
    reach = reach or Reach()
    generation = generation or newest(catalogue)
    if generation not in generations(catalogue):
        raise UsageError(f"{catalogue.set.name} has no generation {generation}.", f"It has 1 to {newest(catalogue)}.")
    ledger, layout = Ledger(catalogue), layout_of(catalogue.set)
    shelf = Shelf(catalogue, reach.places, reach.ask, reach.lost)
    reader = FrameReader(ledger, layout, shelf, report)
    recorder = Recorder(ledger, layout, shelf, generation, clock, finisher or PlainFiles(catalogue))
    groups = Groups(ledger, layout, reader, recorder)
    mirror = LocalStore(mirror_folder(catalogue, generation), create=True)
    lock = Exclusive(catalogue.folder / LOCK, clock)
    return DiscStore(ledger, generation, mirror, reader, recorder, groups, clock, lock)
