"""Taking the restores that were ordered from this machine, and running them.  ``docs/jobs.md``."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from safehold.cli.allowed_restores import Allowed, Begun, Memory
from safehold.codec.job import Header, Order, Outcome, Reader, Taker, make_report, open_job
from safehold.codec.sealing import exchange_public
from safehold.core.errors import NotPermitted, ObjectMissing, SafeholdError, StoreUnreachable, UsageError
from safehold.core.events import Warn
from safehold.core.locks import LockedElsewhere, locked
from safehold.ops.ordered_restore import UNFINISHED, chosen_folder, fill, finish, folder_name

if TYPE_CHECKING:
    from safehold.cli.call import Call
    from safehold.ops.ordered_restore import Done
    from safehold.repo.repository import Repository
    from safehold.storage.online.api import Api

MOST_TRIES = 5
"""Beginnings of a job before it is given up."""
_MOST_JOBS = 100
"""Of one answer: a server hands on 20 at most."""
TELL_SECONDS = 2.0
_CHANGED = "The server, or somebody on the way, may have changed it."
_ID = re.compile(r"[0-9a-f]{32}")


class _Job(msgspec.Struct):
    id: str
    job: bytes


class _Told(msgspec.Struct):
    restores: list[_Job]


class _Cancelled(Exception):
    """The server says that the job is over."""


class _Withdrawn(Exception):
    """Restores are not allowed any more, or by another key: what runs stops."""


def taker_of(repository: Repository, private: bytes) -> Taker:
    """This machine, as it takes jobs of a repository."""
    keyring = repository.keyring
    public = exchange_public(private)
    return Taker(repository.id, keyring.slot_id, keyring.device_private, private, public, keyring.admin_public)


def reader_of(repository: Repository) -> Reader:
    """The read key that readers are told by."""
    return Reader(repository.keyring.epoch, repository.keyring.epoch_public)


def run_waiting(call: Call) -> int:
    """Run what waits for this machine; how many jobs came to an end.  Raises ``UsageError`` where restores are not allowed."""
    address, api = call.online()
    repository = call.repository()
    memory = Memory(call.state, repository.id)
    _read(memory)  # whose folder is there, then
    repository.require_reader()
    try:
        with locked(memory.path.with_suffix(".lock")):
            allowed = _read(memory)  # as the run before this one has left it
            return _Running(call, repository, api, f"{address.base}/restores", memory, allowed).all()
    except LockedElsewhere:
        return 0  # another run of this machine is at it


def _read(memory: Memory) -> Allowed:
    allowed = memory.read()
    if allowed is None:
        raise UsageError("Restores by orders from elsewhere are not allowed on this machine.", "safehold device allow-restores")
    return allowed


class _Running:
    """One run over the jobs that wait."""

    def __init__(self, call: Call, repository: Repository, api: Api, base: str, memory: Memory, allowed: Allowed) -> None:
        self._call = call
        self._repository = repository
        self._api = api
        self._base = base
        self._memory = memory
        self._allowed = allowed
        self._taker = taker_of(repository, allowed.private)
        self._told_at = 0.0

    def all(self) -> int:
        """Tell what could not be told before, then take what waits."""
        try:
            for id, each in list(self._allowed.begun.items()):
                if each.report:
                    self._deliver(id, each)
            jobs = self._api.call("GET", self._base, _Told).restores[:_MOST_JOBS]
            return sum(self._take(job) for job in reversed(jobs))
        except _Withdrawn:
            self._call.out.note("Restores were allowed anew or no more: what ran was stopped, and stays as it is.")
            return 0

    def _take(self, job: _Job) -> bool:
        """Run one; whether it came to an end."""
        if not _ID.fullmatch(job.id):  # another spelling of an id that was run would not be known
            self._call.out.report(
                Warn(code="failed", message="A restore job was refused: it has an id that none has.", hint=_CHANGED)
            )
            return True
        known = self._allowed.begun.get(job.id)
        if known is not None and known.state:
            return False
        try:
            header, order = open_job(self._taker, bytes.fromhex(job.id), job.job, self._call.clock.now_ns())
        except SafeholdError as error:
            return self._refuse(job.id, error, known)
        begun = self._begin(job.id, header, order, known)
        return begun is not None and self._run(job.id, order, begun)

    def _refuse(self, id: str, told: SafeholdError, known: Begun | None) -> bool:
        """What is not to be run is told.  It is over only if its time is: an id cannot be spoiled by what no owner signed."""
        over = isinstance(told, NotPermitted)
        hint = told.hint if over else _CHANGED
        self._call.out.report(Warn(code=told.code, message=f"A restore job was refused: {told}", hint=hint))
        if known is not None and over:
            self._end(id, known, "failed", Outcome(str(told), told.hint, known.folder + UNFINISHED), told.code)
            return True
        with suppress(SafeholdError):
            self._tell(id, "failed", 0, told.code, self._report(id, "failed", Outcome(str(told), told.hint)))
        return True

    def _begin(self, id: str, header: Header, order: Order, known: Begun | None) -> Begun | None:
        """Write down that a job is begun, before anything is done; None where it is not to be."""
        begun = known or Begun("")
        self._allowed.begun[id] = begun
        try:
            base = chosen_folder(order, self._allowed.folders)
            if begun.tries >= MOST_TRIES:
                raise SafeholdError(
                    f"It was begun {MOST_TRIES} times, and never came to its end.", "Look into the program's log."
                )
        except SafeholdError as error:
            left = begun.folder and begun.folder + UNFINISHED
            self._end(id, begun, "failed", Outcome(str(error), error.hint, left), error.code)
            return None
        begun.folder = begun.folder or str(base / folder_name(header.id, self._call.clock.now_ns()))
        begun.tries += 1
        self._keep(id, begun)
        return begun

    def _keep(self, id: str, begun: Begun) -> None:
        """Write down how a job stands, and nothing else that another run or command may have changed.  Raises ``_Withdrawn``."""
        with self._memory.changing(self._call.clock):
            now = self._still_allowed()
            now.begun[id] = begun
            self._memory.write(now)

    def _still_allowed(self) -> Allowed:
        now = self._memory.read()
        if now is None or now.private != self._allowed.private:
            raise _Withdrawn
        return now

    def _run(self, id: str, order: Order, begun: Begun) -> bool:
        left = begun.folder + UNFINISHED
        try:
            self._progress(id, 0, at_once=True)
            done = fill(self._repository, order, Path(begun.folder), lambda percent: self._progress(id, percent))
        except _Cancelled:
            self._end(id, begun, "cancelled", Outcome(folder=left if Path(left).exists() else ""))
        except StoreUnreachable:
            raise  # the next run goes on
        except SafeholdError as error:
            self._end(id, begun, "failed", Outcome(str(error), error.hint, left if Path(left).exists() else ""), error.code)
        else:
            self._done(id, begun, done)
        return True

    def _done(self, id: str, begun: Begun, done: Done) -> None:
        wrong = done.failed + done.damaged
        message = f"{wrong:,} things were not restored; all others were." if wrong else ""
        outcome = Outcome(message, "", done.folder, done.placed, done.failed, done.damaged, done.bytes)
        self._end(id, begun, "incomplete" if wrong else "done", outcome)

    def _end(self, id: str, begun: Begun, state: str, outcome: Outcome, code: str = "") -> None:
        """Write down how a job ended, then tell."""
        begun.state = f"{state} {code}".strip()
        begun.report = self._report(id, state, outcome)
        self._keep(id, begun)
        if state in ("done", "incomplete"):
            state, outcome = self._finished(id, begun, state, outcome)
        self._deliver(id, begun)
        text = f"Restore {id[:8]}: {state}{f', into {outcome.folder}' if outcome.folder else ''}. {outcome.message}".strip()
        value = {"event": "ordered-restore", "job": id, "state": state, **msgspec.structs.asdict(outcome)}
        self._call.out.result(text, value)

    def _finished(self, id: str, begun: Begun, state: str, outcome: Outcome) -> tuple[str, Outcome]:
        """Give a folder that was filled its name; where that fails, that is what is told."""
        try:
            finish(Path(begun.folder))
        except SafeholdError as error:
            changed = {"message": f"{error} {outcome.message}".strip(), "hint": error.hint, "folder": begun.folder + UNFINISHED}
            state, outcome = "incomplete", msgspec.structs.replace(outcome, **changed)
            begun.folder, begun.state, begun.report = "", state, self._report(id, state, outcome)
            self._keep(id, begun)
        return state, outcome

    def _deliver(self, id: str, begun: Begun) -> None:
        """Tell what became of a job; what cannot be told now is told by the next run."""
        state, _, code = begun.state.partition(" ")
        if state in ("done", "incomplete") and begun.folder:
            with suppress(SafeholdError):  # a run may have been killed before it came to this
                finish(Path(begun.folder))
        try:
            self._tell(id, state, 100 if state in ("done", "incomplete") else 0, code, begun.report)
        except StoreUnreachable as error:
            self._call.out.note(f"The server was not told yet how a restore went: {error}")
            return
        except SafeholdError:
            pass  # the server knows of it no more, or has it as over
        begun.report = b""
        self._keep(id, begun)

    def _report(self, id: str, state: str, outcome: Outcome) -> bytes:
        now = self._call.clock.now_ns()
        return make_report(self._taker, bytes.fromhex(id), state, outcome, reader_of(self._repository), now)

    def _progress(self, id: str, percent: int, *, at_once: bool = False) -> None:
        """Say how far it is, every few seconds.  Raises ``_Cancelled``."""
        now = self._call.clock.monotonic()
        if now - self._told_at < TELL_SECONDS and not at_once:
            return
        self._told_at = now
        self._still_allowed()
        try:
            self._tell(id, "running", percent)
        except ObjectMissing:
            raise _Cancelled from None
        except StoreUnreachable:
            pass  # it goes on, and is told later

    def _tell(self, id: str, state: str, percent: int, code: str = "", report: bytes = b"") -> None:
        self._api.tell("POST", f"{self._base}/{id}", {"state": state, "percent": percent, "code": code, "report": report})
