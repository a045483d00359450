"""``volumes:NAME[@VIEW]`` as a bare store: one view of a set, without the keys that bring it up to date."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from safehold.core.clock import SystemClock
from safehold.core.errors import UsageError, Waiting
from safehold.storage.store import Store
from safehold.storage.volumes.catalogue import Catalogue, folder_of
from safehold.storage.volumes.discs.opening import open_discs
from safehold.storage.volumes.drives.drive_store import DriveStore
from safehold.storage.volumes.drives.presence import look, require_single


def open_view(text: str, state: Path | None) -> Store:
    """The store of a drive of the set ``NAME`` that is here: the one that is named, or that was written to longest ago.

    Raises ``UsageError``, ``Waiting``.
    """
    name, _, view = text.partition("@")
    if state is None:
        raise UsageError(f"volumes:{text} needs to know where this machine keeps its volume sets.", "Use the command line.")
    catalogue = Catalogue(folder_of(state, name))
    if catalogue.set.kind != "drives":
        store = open_discs(catalogue, generation=int(view) if view.isdecimal() else 0)
        store.and_close(catalogue.close)
        return store
    with closing(catalogue):
        wanted = catalogue.named(view).uuid if view else ""
        found = look(catalogue, SystemClock().now_ns())
    require_single(found)
    here = [each for each in found.present if not wanted or each.volume.uuid == wanted]
    if not here:
        raise Waiting(f"No drive of {name} that this needs is here.", "Plug one in and run it again.")
    chosen = min(here, key=lambda each: (each.volume.written_ns, each.volume.number))
    return DriveStore(chosen.folder, chosen.title, chosen.mount)
