"""A base as the server sends it over the replication protocol: whole, or what has changed since the last one, laid over that."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator

import msgspec

from safehold.core.errors import DatabaseFailed
from safehold.core.events import Note, Warn
from safehold.ops.backup.patching import Patch
from safehold.ops.databases.assembly import Assembly, Attributes
from safehold.ops.databases.postgresql import storing
from safehold.ops.databases.postgresql.terms import INCREMENTAL, STREAM, BaseOptions, Taken
from safehold.repo.repository import Repository
from safehold.sources.postgresql import control, incremental, labels, manifest, tarball
from safehold.sources.postgresql.connecting import Server
from safehold.sources.postgresql.replication import Archive, End, Manifest, Replication, ServerRefused, Stream, base_command

SUMMARIES_FROM = 17
"""The first version that makes incremental bases."""
_PAGE_WARNING = re.compile(r'"([^"]+)"')
LABEL_MOST = 1 << 20
_SEE = "See the server's log."


def take(
    repository: Repository, options: BaseOptions, server: Server, assembly: Assembly, last: bytes | None
) -> tuple[Taken, bytes]:
    """Put what the server sends into the assembly; what is known of the base, and its manifest.

    ``last``: the manifest of the last base, if an incremental one may build upon that.
    Raises ``DatabaseUnreachable``, ``DatabaseFailed``.
    """
    may = server.major >= SUMMARIES_FROM and options.method != STREAM and server.settings.get("summarize_wal") == "on"
    if last is not None and may:
        try:
            return _take(repository, options, server, assembly, last)
        except ServerRefused as error:
            repository.report(Note(message=f"The server makes no incremental base ({error}); this one is whole."))
    try:
        return _take(repository, options, server, assembly, None)
    except ServerRefused as error:
        raise DatabaseFailed(
            f"PostgreSQL made no base, no snapshot was made: {error}.", f"{_SEE} The user needs REPLICATION."
        ) from error


def _take(
    repository: Repository, options: BaseOptions, server: Server, assembly: Assembly, last: bytes | None
) -> tuple[Taken, bytes]:
    with Replication(options.url) as replication:
        keeps = replication.keep_log(f"safehold_{os.getpid()}")
        if last is not None:
            replication.upload_manifest(last)
        command = base_command(server.major, incremental=last is not None, max_rate=options.max_rate)
        with replication.base(command) as stream:
            filling = _Filling(assembly, server)
            try:
                end = filling.fill(stream)
            except ServerRefused as error:
                if filling.began:
                    raise DatabaseFailed(f"PostgreSQL broke the base off, no snapshot was made: {error}.", _SEE) from error
                raise
    return filling.taken(repository, end, is_incremental=last is not None, keeps=keeps)


class _Filling:
    """A server's archives on their way into an assembly."""

    def __init__(self, assembly: Assembly, server: Server) -> None:
        self.began = False
        """Something is in the assembly already."""
        self._assembly = assembly
        self._server = server
        self._merged: dict[bytes, manifest.File] = {}
        self._tablespaces: dict[str, str] = {}
        self._label = b""
        self._manifest = b""
        self._control = b""

    def fill(self, stream: Stream) -> End:
        """Everything that comes.  Raises ``ServerRefused``, ``DatabaseFailed``."""
        items = _Items(stream)
        while True:
            item = items.head()
            self.began = True
            if isinstance(item, End):
                return item
            if isinstance(item, Manifest):
                self._manifest = b"".join(items.data())
            else:
                self._archive(item, items)

    def taken(self, repository: Repository, end: End, *, is_incremental: bool, keeps: bool) -> tuple[Taken, bytes]:
        """What is known of the base at its end, and its manifest."""
        if not self._label or not self._control:
            raise DatabaseFailed("What the server sent is no whole base; no snapshot was made.", "See the server's log.")
        if control.parse(self._control).system != self._server.system:
            raise DatabaseFailed("The server that answered is another one than before; no snapshot was made.", "Run it again.")
        for warning in end.warnings:
            found = _PAGE_WARNING.search(warning)
            repository.report(Warn(code="page-checksum", message=f"PostgreSQL says: {warning}.", path=found[1] if found else ""))
        label = labels.parse(self._label)
        taken = Taken(
            method=INCREMENTAL if is_incremental else STREAM,
            timeline=label.timeline,
            start=label.start,
            stop=end.stop,
            stop_ns=repository.clock.now_ns(),
            tablespaces=self._tablespaces,
            errors=len(end.warnings),
            facts={} if keeps else {"slot": "none"},
        )
        return taken, self._whole_manifest() if is_incremental else self._manifest

    def _archive(self, archive: Archive, items: _Items) -> None:
        prefix = b""
        if archive.oid:
            self._tablespaces[archive.oid] = archive.path
            prefix = b"pg_tblspc/%s" % archive.oid.encode()
            self._assembly.folder(prefix)
            prefix += b"/"
        pieces = items.data()
        members = tarball.Members(tarball.Feed(lambda: next(pieces, b"")))
        for member in members:
            self._member(prefix + member.name, member, members)

    def _member(self, path: bytes, member: tarball.Member, members: tarball.Members) -> None:
        attributes = Attributes(mode=member.mode, uid=member.uid, gid=member.gid, mtime_ns=member.mtime * 10**9)
        if member.kind == tarball.FOLDER:
            self._assembly.folder(path, attributes)
        elif member.kind == tarball.LINK:
            return  # of a tablespace: the restore makes it, to wherever that goes then
        elif path in (b"backup_label", control.PATH):
            self._small(path, members.read(LABEL_MOST), attributes)
        elif (whole := incremental.whole_name(path)) is not None:
            self._patch(whole, member, members, attributes)
        else:
            storing.store(self._assembly, path, member.size, members.read, self._server.page, attributes)

    def _small(self, path: bytes, data: bytes, attributes: Attributes) -> None:
        if path == control.PATH:
            self._control = data
        else:
            data = self._label = labels.without_incremental(data)
            self._merged[path] = manifest.file(path, len(data), attributes.mtime_ns, hashlib.sha256(data).hexdigest())
        self._assembly.data(path, data, attributes)

    def _patch(self, path: bytes, member: tarball.Member, members: tarball.Members, attributes: Attributes) -> None:
        page = self._server.page
        changes = incremental.read_head(members.read, page)
        size = changes.size(page)
        self._merged[path] = manifest.file(path, size, member.mtime * 10**9)
        old = self._assembly.previous(path)
        if old is not None and not changes.blocks and old.size == size:
            self._assembly.keep(path, msgspec.structs.replace(old, mtime_ns=attributes.mtime_ns, ctime_ns=0, inode=0))
        elif not size:
            self._assembly.data(path, b"", attributes)
        else:
            patch = Patch(size, changes.truncation * page, page, _read(changes, members, page))
            if not self._assembly.patched(path, patch, attributes):
                raise DatabaseFailed(
                    f"The base before does not have what {path.decode(errors='replace')} builds upon; no snapshot was made.",
                    "Take a whole one: --method stream.",
                )

    def _whole_manifest(self) -> bytes:
        """The server's manifest with the files that were put together here in place of what was sent of them."""
        sent = manifest.parse(self._manifest)
        rows = []
        for path, row in sent.by_path().items():
            whole = incremental.whole_name(path) or path
            rows.append(self._merged.get(whole, row))
        return manifest.encode(msgspec.structs.replace(sent, files=rows))


def _read(changes: incremental.Changes, members: tarball.Members, page: int) -> Iterator[tuple[int, bytes]]:
    return incremental.runs(changes, members.read, page)


class _Items:
    """What a server sends: heads, and the data that follows each."""

    def __init__(self, stream: Stream) -> None:
        self._items = iter(stream)
        self._next: Archive | Manifest | End | None = None

    def head(self) -> Archive | Manifest | End:
        """The next head, data before it skipped."""
        if self._next is None:
            for _ in self.data():
                pass
        head, self._next = self._next, None
        assert head is not None
        return head

    def data(self) -> Iterator[bytes]:
        """What follows the last head."""
        for item in self._items:
            if not isinstance(item, bytes):
                self._next = item
                return
            yield item
