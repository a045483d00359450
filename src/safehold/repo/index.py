"""The index of a repository: every shard, and which packs are to be avoided.  ``docs/format/index.md``.

Shards are fetched once, opened, and kept as files in the local cache, mapped into memory.  They are loaded only when the
first chunk is asked for: a backup that finds nothing changed never opens one.
"""

from __future__ import annotations

import mmap
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from safehold.core.errors import DamageError, FormatError, ObjectMissing, StoreError
from safehold.core.events import Reporter, Warn, silent
from safehold.repo import envelopes
from safehold.repo.seals import Seals
from safehold.repo.shards import ChunkPlace, Shard
from safehold.storage.store import Store

PREFIX = "index/"


FILTERED_FROM = 8
"""From so many shards on, a small one is asked only for what it lists ..."""
SMALL = 65_536
"""... small being no more chunks than these ..."""
FILTERED_MOST = 1_000_000
"""... and so many chunks in all: a table of so many numbers takes about 80 MB."""


class Index:
    """Chunk -> place, over all shards.  Reading is safe from several threads."""

    def __init__(self, seals: Seals, store: Store, cache: Path, report: Reporter = silent) -> None:
        """``cache``: the folder where opened shards are kept."""
        self._seals = seals
        self._store = store
        self._cache = cache
        self._report = report
        self._lock = threading.Lock()
        self._shards: dict[str, Shard] | None = None
        self._before_use: Callable[[], object] | None = None
        self._stale = False
        self._filter = _Filter({})
        self.superseded: frozenset[str] = frozenset()
        """Names of stored shards that others replace: what a prune was about to delete."""
        self.avoid: frozenset[bytes] = frozenset()
        """Ids of condemned packs: still read from, never built upon."""

    @property
    def shards(self) -> list[Shard]:
        """All shards, loaded on first use."""
        return list(self._loaded().values())

    def load(self) -> None:
        """Have all shards here, so that looking up needs no store."""
        self._loaded()

    def find(self, name: bytes) -> ChunkPlace | None:
        """Where a chunk lies: preferably not in a condemned pack, and by the word of a trusted device.

        Else an unproven writer could make everybody look for everything in the wrong place.
        """
        fallback, worst = None, 4
        for shard in self._filtered().listing(name):
            for place in _places(shard, name):
                if shard.trusted and not self.avoid:
                    return place
                badness = (place.segment.pack in self.avoid) + 2 * (not shard.trusted)
                if badness == 0:
                    return place
                if badness < worst:
                    fallback, worst = place, badness
        return fallback

    def find_all(self, name: bytes) -> Iterator[ChunkPlace]:
        """Every place of a chunk."""
        for shard in self._filtered().listing(name):
            yield from _places(shard, name)

    def vouches(self, name: bytes, place: ChunkPlace) -> bool:
        """Whether a trusted device says that the chunk lies at that very place."""
        return any(shard.trusted and place in _places(shard, name) for shard in self._filtered().listing(name))

    def has(self, name: bytes) -> bool:
        """Whether a new snapshot may refer to that chunk: it is stored, vouched for, and not condemned."""
        for shard in self._filtered().listing(name):
            if shard.trusted:
                for row in shard.rows(name):
                    if not self.avoid or shard.pack_of(row) not in self.avoid:
                        return True
        return False

    def publish(self, body: bytes) -> str:
        """Store a shard, durably, and take it in; its name."""
        data = envelopes.wrap(self._seals, "index", body)
        name = envelopes.name_of(data)
        self._store.put(PREFIX + name, data)
        signer = self._seals.keyring.slot_id
        self._shards = {**self._loaded(), name: self._shard(name, self._keep(name, body, signer), signer)}
        return name

    @contextmanager
    def supposing(self, shard: Shard) -> Iterator[None]:
        """Within it, chunks are found by a shard, too, that is stored nowhere.  Until the index is listed again."""
        self._shards = {**self._loaded(), shard.name: shard}
        try:
            yield
        finally:
            self._shards = {name: each for name, each in self._loaded().items() if name != shard.name}

    def before_use(self, prepare: Callable[[], object]) -> None:
        """Have ``prepare`` called once, when the next chunk is looked up: never, if none is."""
        self._before_use = prepare

    def list_again(self) -> None:
        """Before the next look-up, list the shards again."""
        self._stale = True

    def refresh(self) -> bool:
        """List the shards again; True if there are others than before."""
        before = set(self._shards or ())
        with self._lock:
            self._shards = self._load(self._shards or {})
            self._stale = False
        return set(self._shards) != before

    def doubt(self, name: str, body: bytes, signer: bytes) -> bool:
        """Compare the local copy of a shard with what the store has; one that differs is dropped.  True if so."""
        path = self._cached().get(name)
        if path is None or (path.suffix == f".{signer.hex()}" and path.read_bytes() == body):
            return False
        path.unlink()
        self._shards = {key: shard for key, shard in (self._shards or {}).items() if key != name}
        return True

    def packs(self) -> dict[bytes, tuple[int, int]]:
        """Every indexed pack: id -> (size, kind)."""
        return {pack: (size, kind) for shard in self.shards for pack, size, kind in shard.packs()}

    def _loaded(self) -> dict[str, Shard]:
        if self._shards is None or self._stale:
            with self._lock:
                if self._shards is None or self._stale:
                    self._shards = self._load(self._shards or {})
                    self._stale = False
        if self._before_use is not None:
            prepare, self._before_use = self._before_use, None
            prepare()
        return self._shards

    def _filtered(self) -> _Filter:
        """What is asked, made anew when the shards have changed.  The first line is the hot path of a first backup."""
        if self._filter.shards is self._shards and not self._stale and self._before_use is None:
            return self._filter
        shards = self._loaded()
        if self._filter.shards is not shards:
            self._filter = _Filter(shards)
        return self._filter

    def _load(self, known: dict[str, Shard]) -> dict[str, Shard]:
        names = sorted(info.key.removeprefix(PREFIX) for info in self._store.list(PREFIX))
        cached = self._cached()
        shards = {}
        for name in names:
            shard = known.get(name) or self._open(name, cached.get(name))
            if shard is not None:
                shards[name] = shard
        self._drop_stale(shards)
        return self._without_replaced(shards)

    def _cached(self) -> dict[str, Path]:
        """The files of the cache, named NAME.SIGNER, by name."""
        try:
            return {path.stem: path for path in self._cache.iterdir() if path.name.count(".") == 1}
        except OSError:
            return {}

    def _open(self, name: str, cached: Path | None) -> Shard | None:
        """A shard from the cache, or from the store; a damaged one is reported and passed over."""
        if cached is not None:
            try:
                return self._shard(name, _mapped(cached), bytes.fromhex(cached.suffix[1:]))
            except (DamageError, OSError, ValueError):
                cached.unlink(missing_ok=True)
        try:
            opened = envelopes.unwrap(self._seals, "index", name, self._store.get(PREFIX + name), orphans=True)
            signer = opened.header.signer
            return self._shard(name, self._keep(name, opened.body, signer), signer)
        except ObjectMissing:
            return None  # replaced since it was listed
        except (DamageError, StoreError) as error:
            if error.retryable:
                raise
            self._report(Warn(code="index-damaged", message=str(error), hint="Run `safehold repair`: it rebuilds the index."))
            return None

    def _shard(self, name: str, body: bytes | memoryview, signer: bytes) -> Shard:
        """What a prune took over from a device's shards is trusted as that device is; only an owner's or reader's word counts."""
        shard = Shard(name, body, trusted=self._seals.trusts(signer), signer=signer)
        if shard.tail.voucher:
            shard.trusted = self._seals.is_proven(signer) and self._seals.trusts(shard.tail.voucher)
        return shard

    def _without_replaced(self, shards: dict[str, Shard]) -> dict[str, Shard]:
        """A shard that another one replaces is not asked, even while it is still stored.  A writer may not say so."""
        proven = [shard for shard in shards.values() if self._seals.is_proven(shard.signer)]
        replaced = {name for shard in proven for name in shard.tail.replaces}
        self.superseded = frozenset(replaced & shards.keys())
        return {name: shard for name, shard in shards.items() if name not in replaced}

    def _keep(self, name: str, body: bytes, signer: bytes) -> bytes | memoryview:
        """Put an opened shard into the cache; where that fails, it stays in memory."""
        path = self._cache / f"{name}.{signer.hex()}"
        partial = path.with_name(f"{path.name}.{os.getpid()}.{threading.get_ident()}.tmp")
        try:
            self._cache.mkdir(mode=0o700, parents=True, exist_ok=True)
            with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(body)
            partial.replace(path)
            return _mapped(path)
        except OSError:
            partial.unlink(missing_ok=True)
            return body

    def _drop_stale(self, shards: Iterable[str]) -> None:
        keep = set(shards)
        try:
            for path in self._cache.iterdir():
                if path.name.split(".")[0] not in keep:
                    path.unlink(missing_ok=True)
        except OSError:
            return  # a cache that cannot be tidied is still a cache


class _Filter:
    """Which shards may list a chunk.

    A backup a day leaves a small shard a day: one look into a table then stands for hundreds of searches, until a prune joins
    the shards.
    """

    def __init__(self, shards: dict[str, Shard]) -> None:
        self.shards = shards
        every = sorted(shards.values(), key=lambda shard: shard.chunks)
        self._small: dict[int, tuple[Shard, ...]] = {}
        """The beginning of a chunk's name, as a number -> the small shards that list such a chunk."""
        count = 0
        for shard in every if len(every) >= FILTERED_FROM else []:
            if shard.chunks > SMALL or len(self._small) + shard.chunks > FILTERED_MOST:
                break
            self._take(shard)
            count += 1
        self._large = tuple(every[count:])

    def _take(self, shard: Shard) -> None:
        rows = dict.fromkeys(shard.prefixes(), (shard,))
        again = {prefix: (*self._small[prefix], shard) for prefix in rows.keys() & self._small.keys()}
        self._small |= rows
        self._small |= again

    def listing(self, name: bytes) -> tuple[Shard, ...]:
        """The shards to ask for a chunk."""
        if not self._small:
            return self._large
        return self._small.get(int.from_bytes(name[:8], "big"), ()) + self._large


def _places(shard: Shard, name: bytes) -> list[ChunkPlace]:
    """Where a shard says that a chunk lies; rows that point nowhere are passed over."""
    found = []
    for row in shard.rows(name):
        try:
            found.append(shard.place(row))
        except FormatError:
            continue
    return found


def _mapped(path: Path) -> memoryview:
    with path.open("rb") as file:
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
