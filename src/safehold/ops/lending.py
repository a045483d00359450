"""Child processes that place files of a restore.  ``docs/restore.md``, "How it is done".

Placing a small file is mostly Python and system calls, so threads take turns at it; two processes do twice as much.  The walk
makes the folders.  A child gets the open descriptor of a folder with the entries that belong in it, so it has the same
footing as the walk itself and never sees a path.  What it has to tell comes back in its answer and is told by its parent.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import NamedTuple, Protocol

import msgspec

from safehold.core.entries import Entry
from safehold.core.events import Warn
from safehold.ops.supply import Supply
from safehold.sources.files.placing import Folder, Placer
from safehold.sources.files.placing.terms import Placed, Tally

FORK_FROM = 2000
"""Files from which on children pay: two take some 30 ms to start and to end."""
MOST_LOTS = 64
"""Folders handed out at once, and so descriptors; the system takes 253."""


class Lot(NamedTuple):
    """Entries that belong in one folder."""

    folder: Folder
    entries: list[Entry]


class Told(msgspec.Struct):
    """What placing some entries has come to."""

    tally: Tally
    events: list[Warn | Placed]
    damaged: int
    files: int
    bytes: int
    left: list[tuple[int, Entry]] = []
    """What the child could not do for want of segments: the number of its folder, and the entry."""
    failure: tuple[str, str, str] | None = None
    """What stopped it: code, message and hint."""


class Placing(Protocol):
    """The part of a restore that places.  A child has a copy of it."""

    def place(self, folder: Folder, entries: list[Entry]) -> None:
        """Place entries that are no folders."""

    def become_child(self) -> None:
        """From now on nothing is told to anybody, but kept for ``take``."""

    def borrow(self, bodies: Mapping[bytes, bytes]) -> None:
        """From now on read no store, only these sealed segments, by id."""

    def take_left(self) -> list[Entry]:
        """What was not placed since the last time, because other segments would have been needed."""

    def take(self) -> Told:
        """What was done since the last time."""

    def merge(self, told: Told) -> None:
        """Count and tell what a child has done."""


class Borrowers(Protocol):
    """Who places files for this process.  ``place`` may be called from ``count`` threads."""

    count: int

    def place(self, lots: list[Lot]) -> list[Lot]:
        """Have these placed; what is left for this process.  Raises what stopped it."""

    def stop(self) -> None:
        """End it all now."""

    def close(self) -> None:
        """Wait for the end."""


if sys.platform == "linux":
    import mmap
    import os
    import queue

    from safehold.core.errors import SafeholdError, by_code
    from safehold.ops.children import Child, useful

    class _Lent(msgspec.Struct, array_like=True):
        """A lot on its way to a child; the folder's descriptor goes with it."""

        path: bytes
        fresh: bool
        default_acl: bool
        owners: dict[int, str]
        groups: dict[int, str]
        entries: list[Entry]

    class _Question(msgspec.Struct, array_like=True):
        """What a child is to place.  Its descriptors are the folders', then that of the segments, if there are any."""

        lots: list[_Lent]
        segments: list[tuple[bytes, int]] | None
        """Id and length of each, in order; None if the child may ask the store."""

    class Children:
        """The child processes of one restore."""

        def __init__(self, placing: Placing, placer: Placer, count: int, supply: Supply | None) -> None:
            self.count = count
            self._supply = supply
            self._placing = placing
            self._placer = placer
            self._children: list[Child] = []
            answer = _Answering(placing, placer)
            for _ in range(count):
                self._children.append(Child(answer, self._children))
            self._idle: queue.SimpleQueue[Child] = queue.SimpleQueue()
            for child in self._children:
                self._idle.put(child)

        def place(self, lots: list[Lot]) -> list[Lot]:
            kept = [Lot(lot.folder, [entry for entry in lot.entries if _linked(entry)]) for lot in lots]
            lots = [Lot(lot.folder, [e for e in lot.entries if not _linked(e)]) for lot in lots]
            bodies: dict[bytes, bytes] | None = None
            if self._supply is not None:
                supplied = self._supply.gather(lots)
                lots, bodies = [Lot(*lot) for lot in supplied.lots if lot[1]], supplied.bodies
                kept += [Lot(*lot) for lot in supplied.kept]
            child = self._idle.get()
            try:
                kept += self._ask(child, lots, bodies)
            finally:
                self._idle.put(child)
            return [lot for lot in kept if lot.entries]

        def stop(self) -> None:
            for child in self._children:
                child.stop()

        def close(self) -> None:
            for child in self._children:
                child.close()

        def _ask(self, child: Child, lots: list[Lot], bodies: dict[bytes, bytes] | None) -> list[Lot]:
            lent: list[_Lent] = []
            descriptors: list[int] = []
            unreached: list[Lot] = []
            held: list[Folder] = []
            try:
                for folder, entries in lots:
                    try:
                        descriptors.append(self._placer.acquire(folder))
                    except OSError:
                        unreached.append(Lot(folder, entries))  # placing here tells of each entry why
                        continue
                    held.append(folder)
                    lent.append(_lent(folder, entries))
                question = _Question(lent, None if bodies is None else [(name, len(body)) for name, body in bodies.items()])
                answer = _ask_with(child, question, descriptors, bodies)
            finally:
                for folder in held:
                    self._placer.release(folder)
            told = _answers.decode(answer)
            self._placing.merge(told)
            if told.failure is not None:
                code, message, hint = told.failure
                raise by_code(code)(message, hint)
            return unreached + [Lot(held[number], [entry]) for number, entry in told.left]

    class _Answering:
        """A child's side: places what is asked of it."""

        def __init__(self, placing: Placing, placer: Placer) -> None:
            self._placing = placing
            self._placer = placer
            self._begun = False

        def __call__(self, question: bytes, descriptors: list[int]) -> bytes:
            if not self._begun:
                self._placing.become_child()
                self._begun = True
            failure = None
            left = []
            try:
                asked = _questions.decode(question)
                if asked.segments is not None:
                    self._placing.borrow(_received(asked.segments, descriptors))
                for number, (lent, fd) in enumerate(zip(asked.lots, descriptors, strict=True)):
                    self._place(lent, fd)
                    left += [(number, entry) for entry in self._placing.take_left()]
            except SafeholdError as error:
                failure = (error.code, str(error), error.hint)
            except Exception as error:
                failure = ("failed", f"Something unforeseen happened ({type(error).__name__}: {error}); this is a bug.", "")
            told = self._placing.take()
            told.failure = failure
            told.left = left
            return _encoder.encode(told)

        def _place(self, lent: _Lent, fd: int) -> None:
            folder = self._placer.adopt(fd, lent.path, lent.owners, lent.groups)
            folder.fresh, folder.default_acl = lent.fresh, lent.default_acl
            self._placing.place(folder, lent.entries)
            self._placer.drop(folder)

    _encoder = msgspec.msgpack.Encoder()
    _questions = msgspec.msgpack.Decoder(_Question)
    _answers = msgspec.msgpack.Decoder(Told)

    def borrowers(placing: Placing, placer: Placer, files: int, supply: Supply | None = None) -> Borrowers | None:
        """Children for a restore of so many files; None where they would not help.

        ``supply``: what fetches for them, where they can't ask the store themselves.
        """
        count = useful() if files >= FORK_FROM else 0
        return Children(placing, placer, count, supply) if count else None

    def _ask_with(child: Child, question: _Question, folders: list[int], bodies: dict[bytes, bytes] | None) -> bytes:
        """The answer; the segments go along in memory that both see."""
        if not bodies:
            return child.ask(_encoder.encode(question), folders)
        with open(os.memfd_create("segments", os.MFD_CLOEXEC), "wb", buffering=0) as shared:
            for body in bodies.values():
                rest = memoryview(body)
                while rest:
                    rest = rest[shared.write(rest) :]
            return child.ask(_encoder.encode(question), [*folders, shared.fileno()])

    def _received(segments: list[tuple[bytes, int]], descriptors: list[int]) -> dict[bytes, bytes]:
        """What came along, by id; its descriptor is taken off the list."""
        if not segments:
            return {}
        found, at = {}, 0
        descriptor = descriptors.pop()
        with mmap.mmap(descriptor, 0, prot=mmap.PROT_READ) as shared:
            os.close(descriptor)
            for name, length in segments:
                found[name] = shared[at : at + length]
                at += length
        return found

    def _lent(folder: Folder, entries: list[Entry]) -> _Lent:
        owners, groups = dict(folder.owners), dict(folder.groups)
        return _Lent(folder.path(), folder.fresh, folder.default_acl, owners, groups, entries)

    def _linked(entry: Entry) -> bool:
        """Whether it is one name of several: only this process knows where the first one is."""
        return entry.more is not None and entry.more.link is not None

else:

    def borrowers(placing: Placing, placer: Placer, files: int, supply: Supply | None = None) -> Borrowers | None:
        """None: a fork is no safe thing there, or there is no such thing."""
        return None
