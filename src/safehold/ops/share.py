"""Making shares: what is meant, what of it can be used where it lies, and what has to be packed again.  ``docs/sharing.md``."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import msgspec

from safehold.codec.share_secret import ID_SIZE, Link, ShareSecret
from safehold.core.errors import NotPermitted, ObjectExists, SafeholdError, SnapshotMissing
from safehold.repo.repository import Repository
from safehold.repo.shares import manifest, records
from safehold.repo.shares.building import How, Layout, Locator
from safehold.repo.shares.coverage import Coverage
from safehold.repo.shares.drafting import Draft, draft
from safehold.repo.shares.files import FileSink
from safehold.repo.shares.keys import COST, Lock, ShareKey, share_key
from safehold.repo.shares.packing import Sink, StoreSink
from safehold.repo.shares.records import DATA, MANIFEST, Follow, Record, key_of
from safehold.repo.snapshots import Stored


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """How something is shared."""

    name: str
    """What the owner calls it: what was asked for."""
    password: str = ""
    expires_ns: int = 0
    opens: int = 0
    latest: bool = False
    """It follows the backups of this source: `refresh` brings it up to date."""
    tag: str = ""
    """With ``latest``: only those with this tag."""


class Made(msgspec.Struct, frozen=True):
    """A share, and what it took."""

    record: Record
    secret: ShareSecret | None
    used: int
    """Bytes of segments that are used where they lie."""
    added: int
    """Bytes that were stored for it: what was packed again, and the manifest."""

    @property
    def link(self) -> str:
        """What opens it, if it is on a server."""
        return link_of(self.record)


class Registry(Protocol):
    """The server that opens shares.  Every method may be repeated."""

    @property
    def origin(self) -> str:
        """Scheme and host of its links."""

    def create(self, record: Record) -> None:
        """Make a share known, not to be opened yet."""

    def publish(self, record: Record) -> None:
        """Let it be opened by this record's manifest, and by no earlier one."""

    def revoke(self, share: bytes) -> None:
        """Let it be opened no more, at once."""

    def generation(self, share: bytes) -> int:
        """The state that is published; -1: none."""


def create(repository: Repository, stored: Stored, path: bytes, options: Options, registry: Registry) -> Made:
    """Share ``path`` of a snapshot by a link.  Raises ``PathMissing``, ``DamageError``, ``NotPermitted``, ``StoreError``."""
    secret = ShareSecret.new(repository.seals.random)
    lock = new_lock(repository, options.password, secret=True)
    key = share_key(repository.seals.random(ID_SIZE), lock, secret, options.password)
    source = stored.snapshot.source
    follow = Follow(stored.snapshot.host, source.paths, options.tag) if options.latest else None
    record = Record(
        share=key.share,
        made_ns=repository.clock.now_ns(),
        name=options.name,
        snapshot=stored.id,
        path=path,
        lock=lock,
        key=key.key,
        secret=secret.value,
        server=registry.origin,
        expires_ns=options.expires_ns,
        opens=options.opens,
        follow=follow,
    )
    return _store(repository, stored, record, registry)


def refresh(repository: Repository, record: Record, registry: Registry) -> Made | None:
    """Bring a share up to date that follows the latest backup; None if it is, or follows none.  Same link, same key.

    What was stored before and could not be published then, is published first.
    """
    if not record.server or record.is_over(repository.clock.now_ns()):
        return None
    if registry.generation(record.share) < record.generation:
        registry.create(record)
        registry.publish(record)
    if record.follow is None:
        return None
    stored = latest(repository, record.follow)
    if stored is None or stored.id == record.snapshot:
        return None
    newer = msgspec.structs.replace(
        record, snapshot=stored.id, generation=record.generation + 1, made_ns=repository.clock.now_ns()
    )
    return _store(repository, stored, newer, registry)


def latest(repository: Repository, follow: Follow) -> Stored | None:
    """The newest backup of what a share follows."""
    found = [
        stored
        for stored in repository.visible_snapshots()
        if stored.snapshot.host == follow.host
        and stored.snapshot.source.paths == follow.paths
        and not stored.snapshot.incomplete
        and (not follow.tag or follow.tag in stored.snapshot.tags)
    ]
    return found[-1] if found else None


def revoke(repository: Repository, record: Record, registry: Registry | None) -> None:
    """Take a share back.  The server refuses it from now on; a prune removes what it stored."""
    if registry is not None:
        registry.revoke(record.share)
    _require_reader(repository)
    gone = msgspec.structs.replace(
        record,
        generation=record.generation + 1,
        made_ns=repository.clock.now_ns(),
        revoked=True,
        segments=[],
        secret=b"",
        key=b"",
    )
    records.write(repository.seals, repository.store, gone)


def shares(repository: Repository) -> list[Record]:
    """Every share, oldest first; those that were taken back or are over too, until a prune forgets them."""
    _require_reader(repository)
    found = records.load_all(repository.seals, repository.store, repository.report)
    return sorted((each.record for each in found.values()), key=lambda record: (record.made_ns, record.share))


def chosen(repository: Repository, text: str) -> Record:
    """The share with that id, beginning of an id (4 digits or more), or link.  Raises ``SnapshotMissing``."""
    wanted = text.strip().lower().partition("#")[0].rpartition("/")[2]
    fitting = [record for record in shares(repository) if len(wanted) >= 4 and record.share.hex().startswith(wanted)]
    if len(fitting) != 1:
        what = f"{len(fitting)} shares begin" if fitting else "No share begins"
        raise SnapshotMissing(f"{what} with `{wanted}`.", "`safehold share list` shows them.")
    return fitting[0]


def link_of(record: Record) -> str:
    """The link of a share on a server; empty for others, and for one that was taken back."""
    if not record.server or len(record.secret) != ID_SIZE:
        return ""
    scheme, _, host = record.server.partition("://")
    return Link(scheme, host, record.share, ShareSecret(record.secret)).text()


def create_file(
    repository: Repository, stored: Stored, path: bytes, options: Options, file: Path, *, by_store: bool = False
) -> Made:
    """Share ``path`` of a snapshot as a file, with all it needs in it, or (``by_store``) with the segments left in the store.

    With a password that alone opens it; else a key of its own does.  Raises as ``create``, and ``TargetError``.
    """
    random = repository.seals.random
    secret = None if options.password else ShareSecret.new(random)
    lock = new_lock(repository, options.password, secret=secret is not None)
    key = share_key(random(ID_SIZE), lock, secret, options.password)
    record = Record(
        share=key.share,
        made_ns=repository.clock.now_ns(),
        name=options.name,
        snapshot=stored.id,
        path=path,
        lock=lock,
        key=key.key,
        secret=secret.value if secret else b"",
        expires_ns=options.expires_ns,
    )
    with _session(repository):
        sink = FileSink(file)
        try:
            built = _build(repository, stored, record, sink, How.BY_PACK if by_store else How.CARRIED)
            root = msgspec.structs.replace(built.root, store=repository.store.location if by_store else "")
            size = sink.close(key.share, lock, manifest.seal(key, root, built.parts, random))
        except BaseException:
            sink.abort()
            raise
        record = _with(record, built)
        if record.segments:
            records.write(repository.seals, repository.store, record)
    return Made(record, secret, built.used, size)


def new_lock(repository: Repository, password: str, *, secret: bool) -> Lock:
    """A lock with a fresh salt."""
    return Lock(repository.seals.random(16), secret, (COST.memory_kib, COST.passes, COST.lanes) if password else None)


class _Built(msgspec.Struct, frozen=True):
    root: manifest.Root
    parts: list[bytes]
    stored: list[bytes]
    used: int


def _store(repository: Repository, stored: Stored, record: Record, registry: Registry) -> Made:
    """Objects first, then the record, then the server is told: whatever stops it, nothing is promised that is not there."""
    with _session(repository) as require_alive:
        sink = StoreSink(repository.store, lambda digest: key_of(record.share, digest, DATA))
        try:
            built = _build(repository, stored, record, sink, How.BY_ID)
        except BaseException:
            sink.abort()
            raise
        objects = [(each.sha256, each.size) for each in sink.objects]
        root = msgspec.structs.replace(built.root, objects=objects)
        sealed = manifest.seal(ShareKey(record.share, record.key), root, built.parts, repository.seals.random)
        digest = _put(repository, record, sealed)
        record = msgspec.structs.replace(_with(record, built), manifest=digest, objects=objects)
        require_alive()
        if record.generation == 0:
            registry.create(record)
        records.write(repository.seals, repository.store, record)
        registry.publish(record)
    return Made(record, ShareSecret(record.secret), built.used, len(sealed) + sum(size for _, size in objects))


def _put(repository: Repository, record: Record, sealed: bytes) -> bytes:
    digest = hashlib.sha256(sealed).digest()
    try:
        repository.store.put(key_of(record.share, digest, MANIFEST), sealed)
    except ObjectExists:
        raise SafeholdError("Two listings of a share came out the same, which cannot be.", "Try again.") from None
    return digest


def _build(repository: Repository, stored: Stored, record: Record, sink: Sink, how: How) -> _Built:
    wanted = draft(repository.reader, stored.snapshot.tree, record.path, repository.report)
    coverage = Coverage(repository, wanted.wanted)
    locator = Locator(repository, wanted, coverage, sink, how)
    sink.finish()
    layout = Layout(locator)
    layout.add_tree(wanted.root)
    first, *others = layout.parts()
    used = sum(segment.length for segment in locator.segments if segment.id in coverage.pure)
    root = _root(repository, stored, record, wanted, first)
    return _Built(root, [msgspec.msgpack.encode(part) for part in others], locator.stored, used)


def _root(repository: Repository, stored: Stored, record: Record, wanted: Draft, first: manifest.Part) -> manifest.Root:
    return manifest.Root(
        share=record.share,
        repository=repository.id,
        name=wanted.name,
        taken_ns=stored.snapshot.time_ns,
        made_ns=record.made_ns,
        generation=record.generation,
        entries=wanted.count,
        size=wanted.size,
        part=first,
    )


def _with(record: Record, built: _Built) -> Record:
    return msgspec.structs.replace(record, segments=built.stored, entries=built.root.entries, size=built.root.size)


@contextmanager
def _session(repository: Repository) -> Iterator[Callable[[], None]]:
    """A session mark, so that no prune removes what the share is about to need; and nothing condemned is built upon."""
    _require_reader(repository)
    with repository.session("share") as session:
        repository.condemned()
        yield session.require_alive


def _require_reader(repository: Repository) -> None:
    repository.require_reader()
    if repository.keyring.role == "writer":
        raise NotPermitted("This key may not share anything.", "Use a reader's or the owner's key.")
