"""The repositories that the pages of this machine may show, each opened when it is first asked for."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from safehold.core.errors import ObjectMissing, SafeholdError
from safehold.server.errors import NotFound, Refusal
from safehold.storage.store import Store

_BLOCK = 1 << 20


class StoreSays(Refusal):
    """The store cannot do that; its own sentence says why."""

    status, code = 409, "store"


@dataclass(frozen=True, slots=True)
class Offered:
    """One repository.  ``name`` stands in addresses, ``location`` is for people."""

    name: str
    location: str
    open: Callable[[], Store]


class Shelf:
    """They are read, and never written to."""

    def __init__(self, offered: list[Offered]) -> None:
        self._offered = {each.name: each for each in offered}
        self._open: dict[str, Store] = {}
        self._lock = threading.Lock()

    def names(self) -> list[dict[str, str]]:
        """What there is, as the pages are told."""
        return [{"name": each.name, "location": each.location} for each in self._offered.values()]

    def store(self, name: str) -> Store:
        """Raises ``NotFound``, ``StoreSays``."""
        if name not in self._offered:
            raise NotFound("There is no repository of that name.", "Go back to the list.")
        with self._lock:  # one at a time: it may have to ask for a password at the terminal
            if name not in self._open:
                try:
                    self._open[name] = self._offered[name].open()
                except SafeholdError as error:
                    raise StoreSays(str(error), error.hint) from error
            return self._open[name]

    def listing(self, name: str, prefix: str) -> list[list[object]]:
        """Key, size and time of every object below a folder, sorted.  Raises ``StoreSays``."""
        store = self.store(name)
        try:
            return sorted([each.key, each.size, each.modified_ns] for each in store.list(prefix))
        except SafeholdError as error:
            raise StoreSays(str(error), error.hint) from error

    def size(self, name: str, key: str) -> int:
        """Of an object.  Raises ``NotFound``, ``StoreSays``."""
        store = self.store(name)
        try:
            return store.size(key)
        except ObjectMissing as error:
            raise NotFound("There is no such object.") from error
        except SafeholdError as error:
            raise StoreSays(str(error), error.hint) from error

    def blocks(self, name: str, key: str, offset: int, length: int) -> Iterator[bytes]:
        """The bytes of an object, in pieces.  Raises ``NotFound``, ``StoreSays``, also in the middle."""
        store = self.store(name)
        at, end = offset, offset + length
        while at < end:
            try:
                block = store.get_range(key, at, min(_BLOCK, end - at))
            except ObjectMissing as error:
                raise NotFound("There is no such object.") from error
            except SafeholdError as error:
                raise StoreSays(str(error), error.hint) from error
            yield block
            at += len(block)
