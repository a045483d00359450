"""Every object that is no pack: config, keys, session marks, condemnations, index shards, snapshots."""

from __future__ import annotations

from collections.abc import Iterator

from safehold.core.errors import (
    DamageError,
    NotPermitted,
    ObjectMissing,
    RepositoryMissing,
    RepositoryTooNew,
    StoreError,
    WrongKey,
)
from safehold.core.events import Event, Warn
from safehold.repo import condemned, config, envelopes, index, packs, seen, sessions, shards, snapshots
from safehold.repo.checking.findings import NOTE, Findings
from safehold.repo.keys.format import slot_key
from safehold.repo.keys.keyring import UnknownSigner
from safehold.repo.keys.survey import read_objects, sift
from safehold.repo.repository import Repository
from safehold.storage.store import Store

KNOWN = frozenset(
    {*config.KEYS, "keys", "packs", "index", "snapshots", "sessions", "condemned", "shares", "parity", "quarantine"}
)
"""First parts of the keys that a repository has."""


def stored(store: Store, prefix: str, code: str, findings: Findings) -> Iterator[tuple[str, bytes]]:
    """Key and bytes of each object of a kind; one that cannot be read is a finding, one gone meanwhile is not."""
    for info in sorted(store.list(prefix), key=lambda info: info.key):
        try:
            yield info.key, store.get(info.key)
        except ObjectMissing:
            continue
        except StoreError as error:
            if error.retryable:
                raise
            findings.add(code, info.key, error)


def check_config(repository: Repository, findings: Findings) -> None:
    """Both copies of the config as they are stored now, and the owner's signature on them."""
    for key in config.KEYS:
        try:
            found = config.read_one(repository.store, key)
            config.check(found.data, repository.keyring)
            if found.config != repository.config:
                findings.add("config-damaged", key, "The config is not the one this repository was opened with.")
        except RepositoryMissing:
            findings.add("config-damaged", key, "It is missing; there should be two copies of the config.")
        except (DamageError, StoreError, RepositoryTooNew) as error:
            if error.retryable:
                raise
            findings.add("config-damaged", key, error)


def check_keys(repository: Repository, findings: Findings) -> None:
    """Every key object: form, place, the owner's signature, the chain of epochs."""

    def report(event: Event) -> None:
        if isinstance(event, Warn):
            code = "key-damaged" if event.code == "key-object-ignored" else "key-history"
            findings.add(code, event.path or "keys/", event.message)

    objects = read_objects(repository.store, repository.id, report)
    survey = sift(objects, repository.id, repository.keyring.admin_public, report)
    try:
        repository.keyring.updated(survey, report)
    except (DamageError, WrongKey) as error:
        findings.add("key-history", "keys/", error)
    if repository.keyring.slot_id not in survey.slots:
        findings.add("key-missing", "keys/", "The key slot that this check was opened with is not stored, or damaged.")


def check_sessions(repository: Repository, findings: Findings) -> None:
    """Every session mark: seal, signature, and that it is the one its key says."""
    for key, data in stored(repository.store, sessions.PREFIX, "session-damaged", findings):
        try:
            mark = sessions.parse(repository.seals, data)
            if sessions.key_of(mark) != key:
                raise DamageError(f"{key} holds the mark of another session.")
        except UnknownSigner:
            check_signer(repository, _signer(key, data), findings)
        except DamageError as error:
            findings.add("session-damaged", key, error)


def check_condemned(repository: Repository, findings: Findings) -> list[condemned.Stored]:
    """Every condemnation; those that count."""
    good = []
    for key, data in stored(repository.store, condemned.PREFIX, "condemnation-damaged", findings):
        try:
            good.append(condemned.Stored(key, condemned.parse(repository.seals, key, data), 0))
        except UnknownSigner:
            check_signer(repository, _signer(key, data), findings)
        except DamageError as error:
            findings.add("condemnation-damaged", key, error)
    return good


def check_shards(repository: Repository, findings: Findings) -> list[str]:
    """Every index shard: name, seal, signature, form; the names of those that are well."""
    good = []
    for key, data in stored(repository.store, index.PREFIX, "index-damaged", findings):
        name = key.removeprefix(index.PREFIX)
        try:
            opened = envelopes.unwrap(repository.seals, "index", name, data, orphans=True)
            body = opened.body
            shards.Shard(name, body, trusted=False)
        except DamageError as error:
            findings.add("index-damaged", key, error)
            continue
        good.append(name)
        check_signer(repository, opened.header.signer, findings)
        if repository.index.doubt(name, body, opened.header.signer):
            findings.add("index-cache", key, "The copy in the local cache was damaged; it is fetched again.", NOTE)
    return good


def check_snapshots(repository: Repository, findings: Findings) -> list[snapshots.Stored]:
    """Every snapshot object: name, seal, signature; those that open."""
    good = []
    for key, data in stored(repository.store, snapshots.PREFIX, "snapshot-damaged", findings):
        name = key.removeprefix(snapshots.PREFIX)
        try:
            header, _, _ = envelopes.authenticate(repository.seals, "snapshot", name, data, orphans=True)
            check_signer(repository, header.signer, findings)
            good.append(snapshots.parse(repository.seals, name, data))
        except NotPermitted as error:
            findings.unseen(f"What snapshots hold was not checked: {error}")
        except DamageError as error:
            findings.add("snapshot-damaged", key, error)
    return good


def check_signer(repository: Repository, signer: bytes, findings: Findings) -> None:
    """One finding for each key slot that signed something and is lost."""
    if signer not in repository.keyring.devices:
        message = "What this key slot signed cannot be proven to be its own: the slot is lost or damaged, or somebody made it up."
        findings.add("signer-unknown", slot_key(signer), message)


def _signer(key: str, data: bytes) -> bytes:
    return envelopes.parse(key, envelopes.name_of(data), data)[0].signer


def check_history(repository: Repository, found: list[snapshots.Stored], removals: frozenset[str], findings: Findings) -> None:
    """That no snapshot is gone that this machine has seen, or that another one names as its device's previous."""
    names = set(snapshots.names(repository.store))
    for name in seen.vanished(repository.cache, names, removals):
        findings.add(
            "rolled-back",
            snapshots.PREFIX + name,
            f"Snapshot {name[:8]} was here before and is gone, and no owner removed it: the store lost it, or is an older one.",
        )
    for each in found:
        previous = each.snapshot.previous
        if previous and previous not in names and previous not in removals:
            findings.add(
                "rolled-back",
                snapshots.PREFIX + previous,
                f"Snapshot {each.id[:8]} was made after {previous[:8]}, which is gone, and no owner removed it.",
            )
    for name in sorted(names & removals):
        message = f"Snapshot {name[:8]} was removed by an owner and is stored again, or a prune was interrupted."
        findings.add("snapshot-returned", snapshots.PREFIX + name, message, NOTE)
    seen.remember(repository.cache, names, removals - names)


def list_packs(repository: Repository, findings: Findings) -> dict[bytes, int]:
    """Every stored pack: id -> size.  On the way, what lies in the store that is no part of a repository is noted."""
    found = {}
    for info in repository.store.list(""):
        top = info.key.split("/", 1)[0]
        pack_id = packs.id_of(info.key) if top == "packs" else b""
        if pack_id:
            found[pack_id] = info.size
        elif top not in KNOWN or pack_id is None:
            findings.add("unknown-object", info.key, "This is no part of a Safehold repository.", NOTE)
    return found
