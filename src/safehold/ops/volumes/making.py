"""Making a set: it is there as a whole, or nothing of it is left."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from safehold.core.errors import UsageError
from safehold.storage.volumes.catalogue import FILE, Catalogue


@contextmanager
def making(folder: Path, is_made: Callable[[Catalogue], bool]) -> Iterator[Catalogue]:
    """The catalogue of a new set, in ``folder``.  Where what is done within fails, all that it left is removed.

    An earlier making that was cut short by a loss of power, as ``is_made`` tells, is begun anew.  Raises ``UsageError`` if the
    set is there already.
    """
    if (folder / FILE).exists():
        before = Catalogue(folder)
        with closing(before):
            if is_made(before):
                raise UsageError(f"There already is a volume set {folder.name}.", "`safehold volumes list` shows the sets.")
            _unmake(before)
    catalogue = Catalogue(folder, create=True)
    try:
        yield catalogue
    except BaseException:
        _unmake(catalogue)
        raise


def _unmake(catalogue: Catalogue) -> None:
    """Remove the images that a set has begun, and what the machine keeps of it.  What can't be removed stays."""
    volumes = catalogue.volumes()
    catalogue.close()
    for each in volumes:
        with suppress(OSError):
            Path(each.path).unlink()
            Path(each.path).parent.rmdir()
    shutil.rmtree(catalogue.folder, ignore_errors=True)
