"""Following a server's binary log into the repository: finished files, and the one that grows, piece by piece.

A log file's number and an offset in it make a position (``number << 32 | offset``).  A piece begins where the one before ended,
the first of a file with its magic at offset 0; the last of a finished file ends where the next number begins.  Pieces end
between transactions.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import IO

import msgspec

from safehold.core.errors import DatabaseFailed
from safehold.core.events import Warn
from safehold.ops.databases import logs
from safehold.ops.databases.logs import Log, NewLog
from safehold.ops.databases.mariadb import state as states
from safehold.ops.databases.mariadb.state import State
from safehold.ops.databases.recording import RecordOptions
from safehold.repo.repository import Repository
from safehold.repo.snapshots import Database
from safehold.sources.mariadb import binlog, dumping
from safehold.sources.mariadb import server as servers
from safehold.sources.mariadb.connecting import Address, connect
from safehold.sources.mariadb.dumping import LogPurged, Next
from safehold.sources.mariadb.server import Binlog, Server, number_of

PIECE = 64 * 1024 * 1024
"""So much is stored in one piece, or a little more: whole transactions."""
BEGIN = len(binlog.MAGIC)
MOST_OFFSET = 1 << 32


class Polled(msgspec.Struct):
    """What one look at the server brought."""

    pieces: int = 0
    bytes: int = 0
    commits: int = 0
    end: str = ""
    """FILE:POSITION up to which the log is stored."""
    gaps: list[str] = []
    """What is missing from now on, in words."""


class Follower:
    """Follows one server.  Belongs to one thread."""

    def __init__(self, repository: Repository, where: Address, options: RecordOptions, system: str = "") -> None:
        """``system``: as of ``Server.system``."""
        self._repository = repository
        self._where = where
        self._options = options
        self._named = system

    def poll(self) -> Polled:
        """Store what is new.  Raises ``DatabaseUnreachable``, ``DatabaseFailed``, and what a store raises."""
        server, existing = self._look()
        system = server.system(self._named)
        polled = Polled()
        begin = self._begin(server, system, existing, polled)
        run = _Run(self._repository, server, self._where, self._options, system, polled)
        try:
            run.follow(begin)
        except LogPurged as error:
            if run.polled.pieces:
                raise DatabaseFailed(f"The server broke off its log: {error}.", "Run it again.") from error
            run.follow(self._after_purge(begin, existing, str(error), polled))
        return polled

    def _look(self) -> tuple[Server, list[Binlog]]:
        connection = connect(self._where)
        try:
            server = servers.ask(connection)
            servers.require_log(server, self._where.url.public)
            return server, servers.binlogs(connection)
        finally:
            connection.close()

    def _begin(self, server: Server, system: str, existing: list[Binlog], polled: Polled) -> State:
        """Where to go on: as remembered, or as the repository has it, or with the server's oldest file."""
        state = states.load(self._repository, system)
        if state is not None and state.commit and not self._repository.proves(state.commit):
            state = None
        if state is None and self._repository.seals.can_read:
            state = resume(logs.catalogue(self._repository, server.engine, system))
        if state is None:
            return State(existing[0].name)
        oldest, newest, number = existing[0].number, existing[-1].number, number_of(state.name)
        if number > newest:
            return self._restarted(state, existing, polled)
        if number < oldest:
            return self._after_purge(state, existing, f"{state.name} is gone", polled)
        return state

    def _after_purge(self, state: State, existing: list[Binlog], why: str, polled: Polled) -> State:
        oldest = existing[0]
        if number_of(state.name) >= oldest.number:
            return self._restarted(state, existing, polled)
        if state.commit:
            missing = f"{state.name}:{state.position} to {oldest.name}:{BEGIN}"
            polled.gaps.append(missing)
            self._repository.report(
                Warn(
                    code="log-gap",
                    message=f"The server purged binary logs that were not stored yet ({missing}): {why}.",
                    hint="Take a new base now: `safehold backup`.  Moments after the gap cannot be reached from older ones.",
                )
            )
        return State(oldest.name, 0, 0, state.timeline, state.commit)

    def _restarted(self, state: State, existing: list[Binlog], polled: Polled) -> State:
        polled.gaps.append(f"{state.name}:{state.position} to the new {existing[0].name}")
        self._repository.report(
            Warn(
                code="log-restarted",
                message=f"The server numbers its binary logs anew: after {state.name} they begin with {existing[0].name} again.",
                hint="Take a new base now: `safehold backup`.  RESET MASTER, or a restored server, does this.",
            )
        )
        return State(existing[0].name, 0, 0, state.timeline + 1, state.commit)


def resume(catalogue: logs.Catalogue) -> State | None:
    """Where following goes on, as the repository has it; None: nothing is stored."""
    found = catalogue.logs
    if not found:
        return None
    last = max(found, key=lambda stored: (stored.log.timeline, stored.log.end))
    log = last.log
    if log.facts.get("finished"):
        return State(_renumbered(log.facts["file"], log.end >> 32), 0, 0, log.timeline, last.snapshot)
    return State(log.facts["file"], log.end & (MOST_OFFSET - 1), int(log.facts["created"]), log.timeline, last.snapshot)


def _renumbered(name: str, number: int) -> str:
    base, _, digits = name.rpartition(".")
    return f"{base}.{number:0{len(digits)}}"


class _Piece:
    """A stretch of a file, in a temporary file until it is stored."""

    def __init__(self, number: int, start: int, spool: IO[bytes]) -> None:
        self.number = number
        self.start = start
        self.size = 0
        self.sealed = 0
        """Bytes up to the last transaction's end."""
        self.first_ns = self.last_ns = 0
        self.gtid = ""
        self.transactions = 0
        self.finished = False
        self.spool = spool

    def write(self, data: bytes) -> None:
        self.spool.write(data)
        self.size += len(data)

    def count(self, done: binlog.Transaction) -> None:
        self.transactions += 1
        self.first_ns = min(self.first_ns or done.time_ns, done.time_ns)
        self.last_ns = max(self.last_ns, done.time_ns)
        self.gtid = done.gtid or self.gtid


class _Run:
    """One reading of the log, to its end as of now."""

    def __init__(
        self,
        repository: Repository,
        server: Server,
        where: Address,
        options: RecordOptions,
        system: str,
        polled: Polled,
    ) -> None:
        self.polled = polled
        self._repository = repository
        self._server = server
        self._where = where
        self._options = options
        self._system = system
        self._pieces: list[tuple[_Piece, State]] = []

    def follow(self, begin: State) -> None:
        self._state = begin
        with ExitStack() as stack:
            self._stack = stack
            self._piece: _Piece | None = None
            for item in dumping.follow(self._where, begin.name, max(begin.position, BEGIN)):
                if isinstance(item, Next):
                    self._next(item)
                else:
                    self._event(item)
            self._close(finished=False)
            self._commit()

    def _next(self, item: Next) -> None:
        """The log goes on in another file, or in this one at the beginning."""
        state = self._state
        first = self._piece is None and not self._pieces
        if self._piece is not None:
            if number_of(item.name) != self._piece.number + 1:
                raise DatabaseFailed(f"The server's log goes from {state.name} to {item.name}.", "Run it again.")
            self._close(finished=True)
            state = self._state
        elif first and state.created and state.position and item.created != state.created:
            raise LogPurged(f"{item.name} is another file of that name")
        position = state.position if first and item.name == state.name else 0
        self._state = msgspec.structs.replace(state, name=item.name, position=position, created=item.created)
        self._reader = binlog.Reader(max(position, BEGIN), item.checksums)
        self._open(position)

    def _open(self, position: int) -> None:
        spool = self._stack.enter_context(tempfile.TemporaryFile(prefix="safehold-"))  # noqa: SIM115
        self._piece = _Piece(number_of(self._state.name), position, spool)
        if position == 0:
            self._piece.write(binlog.MAGIC)
            self._piece.sealed = BEGIN

    def _event(self, event: binlog.Event) -> None:
        piece, reader = self._piece, self._reader
        if piece is None:
            raise DatabaseFailed("The server sent events without saying of which log.", "Run it again.")
        done = reader.take(event)
        piece.write(event.data)
        if done is not None:
            piece.count(done)
        if reader.boundary == reader.position:
            piece.sealed = piece.size
            if piece.size >= PIECE:
                self._close(finished=False)
                self._commit()
                self._open(self._state.position)
        if reader.position >= MOST_OFFSET:
            raise DatabaseFailed(
                f"{self._state.name} is larger than 4 GiB, which its own positions cannot say.",
                "Take a new base once the server has gone on to the next log.",
            )

    def _close(self, *, finished: bool) -> None:
        """The piece ends with its last whole transaction, or with its file."""
        piece, self._piece = self._piece, None
        if piece is None:
            return
        if finished:
            piece.sealed = piece.size
        piece.finished = finished
        if not piece.sealed and not finished:
            return
        end = piece.start + piece.sealed
        self._state = msgspec.structs.replace(self._state, position=end)
        self._pieces.append((piece, self._state))

    def _commit(self) -> None:
        pieces, self._pieces = self._pieces, []
        if not pieces:
            return
        database = Database(
            engine=self._server.engine,
            system=self._system,
            name=self._where.url.public,
            version=self._server.version,
            method="binlog",
        )
        new = [_new_log(piece, state) for piece, state in pieces]
        result = logs.commit(self._repository, database, new, self._options)
        self._state = msgspec.structs.replace(self._state, commit=result.id)
        last, state = pieces[-1]
        if not self._options.dry_run:
            states.save(self._repository, self._system, _after(last, state, result.id))
        self.polled.pieces += len(pieces)
        self.polled.bytes += sum(piece.sealed for piece, _ in pieces)
        self.polled.commits += 1
        self.polled.end = f"{state.name}:{state.position}"


def _after(piece: _Piece, state: State, commit: str) -> State:
    if piece.finished:
        return State(_renumbered(state.name, piece.number + 1), 0, 0, state.timeline, commit)
    return msgspec.structs.replace(state, commit=commit)


def _new_log(piece: _Piece, state: State) -> NewLog:
    start = piece.number << 32 | piece.start
    name = state.name if piece.start == 0 else f"{state.name}+{piece.start:010}"
    facts = {"file": state.name, "created": str(state.created), "transactions": str(piece.transactions)}
    if piece.gtid:
        facts["gtid"] = piece.gtid
    if piece.finished:
        facts["finished"] = "yes"
        facts["size"] = str(state.position)
    log = Log(
        name=name,
        timeline=state.timeline,
        start=start,
        end=(piece.number + 1) << 32 if piece.finished else start + piece.sealed,
        digest=b"",
        first_ns=piece.first_ns,
        last_ns=piece.last_ns,
        facts=facts,
    )
    return NewLog(msgspec.structs.replace(log, digest=_digest(piece)), _reader(piece))


def _digest(piece: _Piece) -> bytes:
    digest = hashlib.sha256()
    for data in _blocks(piece):
        digest.update(data)
    return digest.digest()


def _blocks(piece: _Piece) -> Iterator[bytes]:
    piece.spool.seek(0)
    left = piece.sealed
    while left > 0 and (data := piece.spool.read(min(left, 1 << 20))):
        left -= len(data)
        yield data


def _reader(piece: _Piece) -> Callable[[int], bytes]:
    left = -1

    def read(most: int) -> bytes:
        nonlocal left
        if left < 0:
            piece.spool.seek(0)
            left = piece.sealed
        data = piece.spool.read(min(most, left))
        left -= len(data)
        return data

    return read
