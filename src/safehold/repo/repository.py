"""A repository, made or opened: the one object that the operations work with."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cached_property
from pathlib import Path

import msgspec

from safehold.core.clock import Clock, SystemClock
from safehold.core.errors import (
    DamageError,
    NotPermitted,
    ObjectExists,
    RepositoryExists,
    RolledBack,
    SafeholdError,
    WrongKey,
)
from safehold.core.events import Event, Reporter, Warn, silent
from safehold.repo import condemned, config, seen, snapshots
from safehold.repo.index import Index
from safehold.repo.keys.admin import create_repository_keys
from safehold.repo.keys.keyring import Keyring, Seen
from safehold.repo.keys.opening import open_keyring
from safehold.repo.keys.unlock import Credential
from safehold.repo.opened import OpenedSnapshots
from safehold.repo.reader import ChunkReader
from safehold.repo.seals import Seals
from safehold.repo.sessions import Session
from safehold.repo.writer import ChunkWriter, WriterOptions
from safehold.storage.store import ObjectInfo, Store


class Repository:
    """Everything one set of keys protects, on one store."""

    def __init__(
        self, store: Store, parameters: config.Config, seals: Seals, cache: Path, clock: Clock, report: Reporter
    ) -> None:
        self.store = store
        self.config = parameters
        self.seals = seals
        self.clock = clock
        self.report = report
        self.cache = cache / parameters.id
        """This repository's folder in the local cache."""
        self.index = Index(seals, store, self.cache / "index", report)
        self._opened = OpenedSnapshots(seals, store, self.cache)
        self._listed: dict[str, ObjectInfo] = {}
        self.gone: frozenset[bytes] = frozenset()
        """Ids of packs that the store has lost for good."""
        self.hurt: frozenset[str] = frozenset()
        """Snapshots that may need them."""

    @property
    def id(self) -> bytes:
        return self.seals.repository_id

    @property
    def keyring(self) -> Keyring:
        return self.seals.keyring

    @cached_property
    def reader(self) -> ChunkReader:
        """Reads chunks.  Raises ``NotPermitted`` for a writer."""
        self.require_reader()
        return ChunkReader(self.seals, self.store, self.index)

    def require_reader(self) -> None:
        """Raise ``NotPermitted`` unless the key may read."""
        if not self.seals.can_read:
            raise NotPermitted(
                "This key may add backups but not read them.",
                "Use a reader's or the owner's key. Where the configuration names this one, name the repository by its place "
                "(-r FOLDER): then the passphrase is asked for.",
            )

    def require_owner(self, what: str) -> None:
        """Raise ``NotPermitted`` unless the key may administer; ``what`` completes "Only the owner may ..."."""
        if self.keyring.role != "owner":
            raise NotPermitted(f"Only the owner may {what}.", "Use the owner's passphrase or key.")

    def session(self, operation: str) -> Session:
        """A session mark; enter it before looking at anything that the session will build upon."""
        return Session(self.seals, self.store, self.clock, operation)

    def condemned(self) -> list[condemned.Stored]:
        """What is condemned just now; packs among it are avoided by the index from here on."""
        stored = condemned.load_all(self.seals, self.store, self.report)
        self.index.avoid = condemned.packs(stored) | self.gone
        # What was condemned once may be gone, condemnation and all: shards listed before now do not count any more.
        self.index.list_again()
        return stored

    def give_up(self, packs: frozenset[bytes], hurt: frozenset[str]) -> None:
        """These packs are lost for good: what was in them counts as not stored, and these snapshots prove nothing."""
        self.gone, self.hurt = packs, hurt
        self.index.avoid |= packs

    def proves(self, name: str) -> bool:
        """Whether all that the snapshot of that name refers to is stored, and stays so.

        Not one in the trash: a prune that condemned before this session's mark may be about to remove it; nor one that a
        repair found hurt, or that may need what the store has lost.
        """
        return name in self.snapshot_names() and name not in condemned.distrusted(self.condemned()) | self.hurt

    def writer(self, options: WriterOptions | None = None) -> ChunkWriter:
        """A chunk writer with a session key of its own."""
        options = options or WriterOptions()
        return ChunkWriter(self.seals, self.store, self.index, self.seals.new_session(), options, pad=self.config.pad)

    def snapshot_names(self) -> list[str]:
        """Ids of the snapshots that are not in the trash, in no order."""
        stored = self.condemned()
        hidden = condemned.trash(stored)
        names = self._list()
        self._compare_with_seen(names, condemned.removed(stored))
        return [name for name in names if name not in hidden]

    def visible_snapshots(self) -> list[snapshots.Stored]:
        """The snapshots that are not in the trash, oldest first.  A damaged one is reported and passed over."""
        return self.load_snapshots(self.snapshot_names())

    def load_snapshots(self, wanted: list[str]) -> list[snapshots.Stored]:
        """These snapshots, oldest first.  A damaged one is reported and passed over."""
        self.require_reader()
        if not self._listed.keys() >= set(wanted):
            self._list()
        infos = (self._listed.get(name) or ObjectInfo(snapshots.PREFIX + name, 0) for name in wanted)
        found = list(self._opened.load(infos, self._damaged_snapshot))
        self._opened.save(self._listed)
        for each in found:
            if each.signer not in self.keyring.devices:
                message = f"Snapshot {each.id[:8]} is signed by a key slot that is lost or damaged: nobody can say who made it."
                self.report(Warn(code="signer-unknown", message=message, hint="Run `safehold check`."))
        return sorted(found, key=lambda s: (s.snapshot.time_ns, s.id))

    def _list(self) -> list[str]:
        self._listed = {info.key.removeprefix(snapshots.PREFIX): info for info in self.store.list(snapshots.PREFIX)}
        return list(self._listed)

    def _compare_with_seen(self, names: list[str], removed: frozenset[str]) -> None:
        """Warn of snapshots that this machine has seen, that are gone, and that no owner removed."""
        for name in seen.vanished(self.cache, names, removed):
            message = f"Snapshot {name[:8]} is gone, and no owner removed it: the store lost it, or is an older one."
            self.report(Warn(code="rolled-back", message=message, hint="Run `safehold check`."))
        seen.remember(self.cache, names, removed.difference(names))

    def _damaged_snapshot(self, name: str, error: Exception) -> None:
        self.report(Warn(code="snapshot-damaged", message=f"Snapshot {name[:8]}: {error}", hint="Run `safehold check`."))


def create(
    store: Store,
    credential: Credential,
    cache: Path,
    *,
    parameters: Callable[[str], config.Config] = lambda name: config.Config(id=name),
    clock: Clock | None = None,
    report: Reporter = silent,
    random: Callable[[int], bytes] = os.urandom,
) -> Repository:
    """Make a repository.  Raises ``RepositoryExists``; an interrupted one leaves no ``config`` and can be made again."""
    clock = clock or SystemClock()
    if exists(store):
        raise RepositoryExists(f"There already is a repository at {store.location}.", "Leave out `init`, or name another place.")
    made = parameters(random(16).hex())
    keyring = create_repository_keys(store, made.repository_id, credential, clock=clock, random=random)
    try:
        config.write(store, made, keyring)
    except ObjectExists as error:
        raise RepositoryExists(f"There already is a repository at {store.location}.", "Somebody made it just now.") from error
    return Repository(store, made, Seals(keyring, random), cache, clock, report)


def open_repository(
    store: Store, credential: Credential, cache: Path, *, clock: Clock | None = None, report: Reporter = silent
) -> Repository:
    """Open a repository.  Raises ``RepositoryMissing``, ``RepositoryTooNew``, ``WrongKey``, ``DamageError``."""
    found, keyring = _open_keys(store, credential, cache, report)
    _remember(cache / found.config.id, keyring)
    if found.key != config.KEY:
        message = f"The config of {store.location} is damaged or missing; its copy is used."
        report(Warn(code="config-damaged", message=message, path=config.KEY, hint="Run `safehold repair`."))
    return Repository(store, found.config, Seals(keyring), cache, clock or SystemClock(), report)


def _open_keys(store: Store, credential: Credential, cache: Path, report: Reporter) -> tuple[config.Stored, Keyring]:
    """The config, of its two copies the first that an owner signed, and the keys."""
    failures: list[tuple[SafeholdError, list[Event]]] = []
    for found in config.candidates(store):
        told: list[Event] = []  # of a damaged config every key object looks damaged, so wait and see
        try:
            seen = _seen(cache / found.config.id)
            keyring = open_keyring(store, found.config.repository_id, credential, seen=seen, report=told.append)
            config.check(found.data, keyring)
        except RolledBack:
            raise
        except (DamageError, WrongKey) as error:
            failures.append((error, told))
            continue
        for event in told:
            report(event)
        return found, keyring
    failure, told = next((each for each in failures if isinstance(each[0], WrongKey)), failures[0])
    for event in told:
        report(event)
    raise failure


def exists(store: Store) -> bool:
    """Whether a store holds a repository, be it a damaged one."""
    return any(config.is_stored(store, key) for key in config.KEYS)


def _seen(folder: Path) -> Seen:
    """What this machine remembers of the repository's keys."""
    try:
        return msgspec.msgpack.decode((folder / "keys").read_bytes(), type=Seen)
    except (OSError, ValueError, RecursionError):
        return Seen()


def _remember(folder: Path, keyring: Keyring) -> None:
    """So that a store cannot take back a retirement or an epoch; a machine that can't keep that goes without."""
    if _seen(folder) == keyring.seen:
        return
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        (folder / "keys.tmp").write_bytes(msgspec.msgpack.encode(keyring.seen))
        (folder / "keys.tmp").replace(folder / "keys")
    except OSError:
        return
