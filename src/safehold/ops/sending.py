"""Request links: asking for files, sending them, and fetching what came.  ``docs/sharing.md``, "Asking for files"."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

import msgspec

from safehold.codec import sealing
from safehold.codec.share_secret import ID_SIZE, RequestLink
from safehold.core.entries import FILE, Entry
from safehold.core.errors import DamageError, ObjectMissing, ShareGone, SourceMissing, WrongKey
from safehold.core.events import Progress, Reporter, Warn
from safehold.ops.open_share import own_ids
from safehold.repo.repository import Repository
from safehold.repo.shares import requests, sent
from safehold.repo.shares.requests import Request
from safehold.sources.files.placing import Placer
from safehold.sources.files.placing.terms import Options, Outcome
from safehold.storage.online.api import Api
from safehold.storage.store import ObjectInfo

MODE = 0o600


def ask(repository: Repository, api: Api, base: str, wanted: Request) -> RequestLink:
    """Open a request at a server.  ``wanted`` comes from ``new_request``."""
    repository.require_reader()
    requests.write(repository.seals, repository.store, wanted)
    value = {
        "id": wanted.request.hex(),
        "public": wanted.public,
        "note": wanted.note,
        "expires_ns": wanted.expires_ns,
        "most_files": wanted.most_files,
        "most_bytes": wanted.most_bytes,
    }
    api.tell("POST", f"{base}/requests", value)
    return link_of(wanted)


def new_request(repository: Repository, server: str, note: str, expires_ns: int, files: int, size: int) -> Request:
    """A request with a fresh key pair."""
    private = repository.seals.random(32)
    return Request(
        request=repository.seals.random(ID_SIZE),
        made_ns=repository.clock.now_ns(),
        note=note,
        public=sealing.exchange_public(private),
        private=private,
        server=server,
        expires_ns=expires_ns,
        most_files=files,
        most_bytes=size,
    )


def link_of(request: Request) -> RequestLink:
    """What is given to whoever is to send files."""
    scheme, _, host = request.server.partition("://")
    return RequestLink.to(scheme, host, request.request, request.public)


class Asked(msgspec.Struct):
    """What a server says of a request."""

    public: bytes
    left: dict[str, int]
    note: str = ""
    expires_ns: int = 0


def look(api: Api, link: RequestLink) -> Asked:
    """What is asked for.  Raises ``ShareGone``; ``WrongKey`` where the server names another key than the link does."""
    try:
        asked = api.call("GET", f"/api/v1/requests/{link.request.hex()}", Asked)
    except ObjectMissing as error:
        raise ShareGone(str(error), error.hint) from error
    if not link.fits(asked.public):
        raise WrongKey(
            "The server names another key than the link does; nothing was sent.",
            "Copy the whole link; if it is whole, do not trust this server.",
        )
    return asked


def send(api: Api, link: RequestLink, asked: Asked, path: Path, sender: str, report: Reporter) -> int:
    """Seal and send one file; the bytes that went.  Raises ``SourceMissing``, ``StoreFull``, ``StoreError``."""
    try:
        with path.open("rb") as file:
            found = os.fstat(file.fileno())
            header = sent.SentHeader(os.fsencode(path.name), found.st_size, found.st_mtime_ns, sender)
            size = sent.sealed_size(header)
            blocks = sent.seal(asked.public, link.request, header, file, os.urandom)
            headers = {"Content-Length": str(size), "Content-Type": "application/octet-stream"}
            report(Progress(phase="send", files=0, bytes=0, total_files=1, total_bytes=found.st_size, path=str(path)))
            api.send("POST", f"/api/v1/requests/{link.request.hex()}/files", blocks, headers, what=path.name)
            return size
    except ObjectMissing as error:
        raise ShareGone(str(error), error.hint) from error
    except OSError as error:
        raise SourceMissing(f"{path} cannot be read: {error.strerror}.", "Check its name.") from error


class Received(msgspec.Struct, frozen=True):
    """A file that came."""

    key: str
    name: bytes
    """As it was placed."""
    size: int
    sender: str


def receive(repository: Repository, target: Path, known: Collection[str], only: bytes | None = None) -> list[Received]:
    """Place what came, but for the objects ``known``, into a folder.

    Nothing there is replaced: a second file of one name gets a number.
    """
    repository.require_reader()
    found, came = requests.load_all(repository.seals, repository.store, repository.report)
    placed = []
    with Placer(target, Options(overwrite="never", numeric_owner=True), repository.report) as placer:
        for request in found:
            for info in came.get(request.request, []) if only in (None, request.request) else []:
                if info.key not in known:
                    got = _place(repository, placer, target, request, info)
                    placed += [got] if got else []
        placer.finish()
    return placed


def _place(repository: Repository, placer: Placer, target: Path, request: Request, info: ObjectInfo) -> Received | None:
    store = repository.store
    try:
        file = sent.SentFile(
            request.private, request.request, lambda at, n: store.get_range(info.key, at, min(n, info.size - at)), info.size
        )
        if not file.size:
            file.check_empty()
    except DamageError as error:
        repository.report(Warn(code=error.code, message=str(error), path=info.key, hint=error.hint))
        return None
    name = _free(target, file.header.name)
    uid, gid = own_ids()
    entry = Entry(name, FILE, MODE, uid, gid, file.header.mtime_ns, file.header.mtime_ns, file.size, 0)
    outcome = placer.place(placer.root, entry, file)
    return Received(info.key, name, file.size, file.header.sender) if outcome is Outcome.CREATED else None


def _free(target: Path, name: bytes) -> bytes:
    """A name that is not taken in the target.  Whether it may be a name at all is for the placer to say."""
    if b"/" in name or b"\0" in name or name in (b"", b".", b".."):
        return name
    at = name.rfind(b".")
    stem, ending = (name[:at], name[at:]) if at > 0 else (name, b"")
    number, tried = 1, name
    while os.path.lexists(target / os.fsdecode(tried)):
        number += 1
        tried = stem + b" (%d)" % number + ending
    return tried
