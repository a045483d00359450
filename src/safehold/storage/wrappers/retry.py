"""Trying again, for what is worth another try."""

from __future__ import annotations

import builtins
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random
from typing import TypeVar

from safehold.core.clock import Clock
from safehold.core.errors import ObjectExists, SafeholdError
from safehold.storage.store import Buffer, Composition, ObjectInfo, Store, Upload, compose_in
from safehold.storage.wrappers.passthrough import PassThrough

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Patience:
    """How often and how long: ``tries`` in all, with waits that double from ``first`` up to ``longest`` seconds.

    Each wait is a random part of that, at least half of it, so that many clients don't come back at the same instant.
    """

    tries: int = 8
    first: float = 0.5
    longest: float = 60.0

    def wait(self, failures: int, random: Random) -> float:
        """Seconds to wait after so many failures."""
        return float(min(self.longest, self.first * 2 ** (failures - 1)) * random.uniform(0.5, 1.0))


FIRST_CONTACT = Patience(tries=3, first=0.3)
"""Before a store has answered for the first time: who mistyped its place wants to know soon."""


class RetryStore(PassThrough):
    """Repeats what failed with a ``retryable`` error; other errors pass at once.

    An upload keeps its bytes in memory, because a driver's upload is lost with its connection: a pack's worth for each.
    A listing is read whole before its first line is handed on, so that no line comes twice.
    """

    def __init__(
        self, store: Store, clock: Clock, random: Random, patience: Patience = Patience(), first_contact: Patience | None = None
    ) -> None:
        """``first_contact``: the patience with a store that has not answered yet."""
        super().__init__(store)
        self._clock = clock
        self._random = random
        self._patience = patience
        self._now = first_contact or patience

    def attempt(self, action: Callable[[bool], _T]) -> _T:
        """Call ``action(again)`` until it succeeds, fails for good, or patience ends (then its last error is raised)."""
        failures = 0
        while True:
            try:
                result = action(failures > 0)
            except SafeholdError as error:
                failures += 1
                if not error.retryable:
                    self._now = self._patience  # an answer, if not a pleasant one
                    raise
                if failures >= self._now.tries:
                    raise
                self._clock.sleep(self._now.wait(failures, self._random))
            else:
                self._now = self._patience
                return result

    def put(self, key: str, data: Buffer) -> None:
        def action(again: bool) -> None:
            try:
                self.inner.put(key, data)
            except ObjectExists:
                # After a failure of unknown reason it may be our own.
                if not again or self.inner.get(key) != data:
                    raise

        self.attempt(action)

    def upload(self) -> Upload:
        return _RetryUpload(self)

    def get(self, key: str) -> bytes:
        return self.attempt(lambda again: self.inner.get(key))

    def get_range(self, key: str, offset: int, length: int) -> bytes:
        return self.attempt(lambda again: self.inner.get_range(key, offset, length))

    def size(self, key: str) -> int:
        return self.attempt(lambda again: self.inner.size(key))

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        return iter(self.attempt(lambda again: builtins.list(self.inner.list(prefix))))

    def delete(self, key: str) -> None:
        self.attempt(lambda again: self.inner.delete(key))

    def quarantine(self, key: str) -> None:
        self.attempt(lambda again: self.inner.quarantine(key))

    def compose(self, wanted: Composition) -> str:
        return self.attempt(lambda again: compose_in(self.inner, wanted))


class _RetryUpload:
    """Sends as it goes; after a failure a new upload is begun and everything so far is sent again."""

    def __init__(self, store: RetryStore) -> None:
        self._store = store
        self._sent: list[bytes] = []
        self._upload: Upload | None = None
        self._store.attempt(lambda again: self._current())

    def write(self, data: Buffer) -> None:
        piece = bytes(data)
        self._store.attempt(lambda again: self._guarded(lambda upload: upload.write(piece)))
        self._sent.append(piece)

    def commit(self, key: str) -> None:
        def action(again: bool) -> None:
            try:
                self._guarded(lambda upload: upload.commit(key))
            except ObjectExists:
                if not again or not self._is_ours(key):
                    raise

        self._store.attempt(action)
        self._sent.clear()

    def abort(self) -> None:
        upload, self._upload = self._upload, None
        self._sent.clear()
        if upload is not None:
            upload.abort()

    def _guarded(self, action: Callable[[Upload], None]) -> None:
        upload = self._current()
        try:
            action(upload)
        except SafeholdError as error:
            if error.retryable:
                self._upload = None
                upload.abort()
            raise

    def _current(self) -> Upload:
        """The upload under way, begun again if there is none."""
        if self._upload is None:
            upload = self._store.inner.upload()
            try:
                for piece in self._sent:
                    upload.write(piece)
            except BaseException:
                upload.abort()
                raise
            self._upload = upload
        return self._upload

    def _is_ours(self, key: str) -> bool:
        ours = hashlib.sha256()
        for piece in self._sent:
            ours.update(piece)
        return hashlib.sha256(self._store.inner.get(key)).digest() == ours.digest()
