"""The store on discs: objects spread over volumes, their metadata at hand on the machine as well."""

from __future__ import annotations

import secrets
import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from safehold.core.clock import Clock
from safehold.core.errors import ObjectExists, ObjectMissing, SafeholdError, StoreError
from safehold.storage.keys import check_key, check_prefix, quarantine_keys
from safehold.storage.local import LocalStore
from safehold.storage.store import Buffer, Capabilities, ObjectInfo
from safehold.storage.volumes.discs import record
from safehold.storage.volumes.discs.exclusive import Exclusive
from safehold.storage.volumes.discs.groups import Groups
from safehold.storage.volumes.discs.ledger import Ledger, Piece, Stored
from safehold.storage.volumes.discs.reading import FrameReader
from safehold.storage.volumes.discs.record import Seal
from safehold.storage.volumes.discs.recorder import Recorder
from safehold.storage.volumes.discs.upload import KIND_AT, Body, DiscUpload
from safehold.storage.volumes.frames import HEAD_SIZE, HEADER

TRANSIENT = "sessions/"
"""What is here is kept on the machine only: it is gone when a backup ends."""
PACKS = "packs/"
DATA_PACK = 1
"""The kind of packs that hold file content, ``repo.seals.DATA``."""
WORTH_CLOSING = 64
"""Frames; a session of fewer is left open at the end: catalogue, parity and directory would take more room than they."""
_KNOWN = 4096
"""Objects whose places are remembered."""


@dataclass(slots=True)
class _Commit:
    """An object that waits for its turn."""

    body: Body
    key: str
    done: bool = False
    error: BaseException | None = None


_Batch = list[_Commit]
_Pieces = list[Piece]


class DiscStore:
    """One generation of a set of discs.  Objects are written to the open volume; ``mirror`` has all but data packs, too."""

    def __init__(
        self,
        ledger: Ledger,
        generation: int,
        mirror: LocalStore,
        reader: FrameReader,
        recorder: Recorder,
        groups: Groups,
        clock: Clock,
        lock: Exclusive,
    ) -> None:
        self.ledger = ledger
        self.generation = generation
        self.reader = reader
        self.recorder = recorder
        self.groups = groups
        self._name = ledger.catalogue.set.name
        self._mirror = mirror
        self._clock = clock
        self._exclusive = lock
        self._turn = threading.Lock()
        self._queue: deque[_Commit] = deque()
        self._known: dict[str, tuple[Stored, _Pieces]] = {}
        self._written = 0
        """Frames since the session was last closed."""
        self._afterwards: Callable[[], object] = lambda: None
        recorder.first = self._first

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(uploads=4)

    @property
    def location(self) -> str:
        return f"volumes:{self._name}"

    def seal_with(self, seal: Seal) -> None:
        """From now on the private part of the catalogue goes onto volumes, sealed."""
        self.recorder.seal = seal

    def _first(self) -> dict[str, bytes]:
        stored = [self.ledger.find(self.generation, key) for key in record.FIRST]
        keys = [each.key for each in (*stored, *self.ledger.listing(self.generation, record.SLOTS)) if each is not None]
        return {key: self._mirror.get(key) for key in keys if self._is_mirrored(key)}

    def put(self, key: str, data: Buffer) -> None:
        check_key(key)
        if key.startswith(TRANSIENT):
            self._mirror.put(key, data)
            return
        if self.ledger.find(self.generation, key) is not None:
            raise self._exists(key)
        upload = self.upload()
        upload.write(data)
        upload.commit(key)

    def upload(self) -> DiscUpload:
        return DiscUpload(self.reader.layout.frame, self._publish)

    def get(self, key: str) -> bytes:
        check_key(key)
        if key.startswith(TRANSIENT):
            return self._mirror.get(key)
        stored, _ = self._find(key)
        if self._is_mirrored(key):
            return self._mirror.get(key)
        return self.get_range(key, 0, stored.size)

    def read(self, key: str) -> bytes:
        """The same from the volumes themselves, whatever the machine has."""
        stored, pieces = self._find(key)
        return self._read(pieces, 0, stored.size) if stored.size else b""

    def get_range(self, key: str, offset: int, length: int) -> bytes:
        check_key(key)
        if key.startswith(TRANSIENT):
            return self._mirror.get_range(key, offset, length)
        stored, pieces = self._find(key)
        if offset < 0:
            begin = max(0, stored.size + offset)
            length = min(length, stored.size - begin)
            offset = begin
        elif offset + length > stored.size:
            raise StoreError(
                f"{key} in the store {self.location} has {stored.size} bytes; {length} from {offset} on were asked for."
            )
        if self._is_mirrored(key):
            return self._mirror.get_range(key, offset, length)
        return self._read(pieces, offset, length) if length else b""

    def size(self, key: str) -> int:
        check_key(key)
        return self._mirror.size(key) if key.startswith(TRANSIENT) else self._find(key)[0].size

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        check_prefix(prefix)
        if not prefix or prefix.startswith(TRANSIENT):
            yield from self._mirror.list(prefix or TRANSIENT)
        for each in self.ledger.listing(self.generation, prefix):
            yield ObjectInfo(each.key, each.size, each.time_ns)

    def delete(self, key: str) -> None:
        check_key(key)
        if key.startswith(TRANSIENT):
            self._mirror.delete(key)
            return
        self.ledger.bury(self.generation, key)
        self._known.pop(key, None)
        self._mirror.delete(key)

    def quarantine(self, key: str) -> None:
        check_key(key)
        self._find(key)
        mirrored = self._is_mirrored(key)
        for place in quarantine_keys(key):
            check_key(place)
            if self.ledger.find(self.generation, place) is None:
                break
        if mirrored:
            self._mirror.delete(place)
            self._mirror.put(place, self._mirror.get(key))
        if not self.ledger.rename(self.generation, key, place):
            raise StoreError(f"{place} was made meanwhile.", "Run it again.")
        self._known.pop(key, None)
        if mirrored:
            self._mirror.delete(key)

    def sweep(self, older_than_seconds: float, now_ns: int) -> int:
        """Remove what dead processes left on the machine."""
        return self._mirror.sweep(older_than_seconds, now_ns)

    def finish(self) -> None:
        """Close the open volume, and write the parity of its group, be it a short one.  Durable when this returns."""
        with self._turn, self._exclusive.held():
            self.recorder.begin()
            while self.recorder.close_volume():
                continue  # one that was called lost and was found again is open beside the one that followed it
            self.groups.complete(short=True)

    def close_session(self) -> None:
        """Have catalogue and parity behind what was written."""
        with self._turn, self._exclusive.held():
            self.recorder.begin()
            self.recorder.close_session()
            self._written = 0
            self._after_full()

    def and_close(self, close: Callable[[], object]) -> None:
        """Close something else with it."""
        self._afterwards = close

    def close(self) -> None:
        """What little was added stays in the open session, on the open volume: the next run goes on with it."""
        try:
            if self._written >= WORTH_CLOSING:
                self.close_session()
        finally:
            self.recorder.close()
            self.reader.close()
            self.reader.shelf.close()
            self._mirror.close()
            self._afterwards()

    def _publish(self, body: Body, key: str) -> None:
        """Commit, together with what other threads commit at the same time: one flush for all."""
        if key.startswith(TRANSIENT):
            self._mirror.put(key, body.content())
            return
        mine = _Commit(body, key)
        self._queue.append(mine)
        with self._turn:
            if not mine.done:
                batch = []
                while self._queue:
                    batch.append(self._queue.popleft())
                self._commit(batch)
        if mine.error is not None:
            raise mine.error

    def _commit(self, batch: _Batch) -> None:
        try:
            with self._exclusive.held():
                self.recorder.begin()
                taken: set[str] = set()
                for each in batch:
                    self._write(each, taken)
                self.recorder.settle()
                self._after_full()
        except BaseException as error:
            for each in batch:
                each.error = each.error or error
            if not isinstance(error, SafeholdError):
                raise
        finally:
            for each in batch:
                each.body.release()
                each.done = True

    def _write(self, each: _Commit, taken: set[str]) -> None:
        try:
            if each.key in taken or self.ledger.find(self.generation, each.key) is not None:
                raise self._exists(each.key)
            data = self._is_data(each)
            now = self._clock.now_ns()
            stored = Stored(secrets.randbits(63), self.generation, each.key, each.body.size, now, int(data))
            if not data:
                self._mirror.delete(each.key)
                self._mirror.put(each.key, each.body.content())
            self.recorder.write(each.body, stored)
            self._written += each.body.frames
            taken.add(each.key)
        except SafeholdError as error:
            each.error = error

    def _after_full(self) -> None:
        if self.recorder.full:
            self.recorder.full.clear()
            self.groups.complete()

    def _is_data(self, each: _Commit) -> bool:
        return each.key.startswith(PACKS) and each.body.size > KIND_AT and each.body.byte(KIND_AT) == DATA_PACK

    def _is_mirrored(self, key: str) -> bool:
        """Whether the machine has it, and not by a commit that was cut short."""
        if self._find(key)[0].data:
            return False
        try:
            return self._mirror.size(key) == self._find(key)[0].size
        except ObjectMissing:
            return False

    def _find(self, key: str) -> tuple[Stored, _Pieces]:
        known = self._known.get(key)
        if known is not None:
            return known
        stored = self.ledger.find(self.generation, key)
        if stored is None:
            raise ObjectMissing(f"{key} is not in the store {self.location}.")
        found = stored, self.ledger.pieces(stored.number)
        if key.startswith(PACKS):
            if len(self._known) >= _KNOWN:
                self._known.clear()
            self._known[key] = found
        return found

    def _read(self, pieces: _Pieces, offset: int, length: int) -> bytes:
        size = self.reader.layout.frame
        payload = size - HEADER
        begin, end = offset + HEAD_SIZE, offset + HEAD_SIZE + length
        first, last = begin // payload, (end - 1) // payload
        parts: list[memoryview] = []
        for piece in pieces:
            here, stop = max(first, piece.first), min(last + 1, piece.first + piece.frames)
            if here >= stop:
                continue
            view = memoryview(self.reader.read(piece.volume, piece.slot + here - piece.first, stop - here))
            for number in range(here, stop):
                at = (number - here) * size + HEADER
                low = max(begin - number * payload, 0)
                high = min(end - number * payload, payload)
                parts.append(view[at + low : at + high])
        return b"".join(parts)

    def _exists(self, key: str) -> ObjectExists:
        return ObjectExists(f"{key} already exists in the store {self.location}.")
