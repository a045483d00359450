"""The child processes that read small files for a backup, as its walk sees them.  ``docs/backup.md``, "How it is done".

The walk decides what is read, has the memory of the last backup, and does by itself what is out of the ordinary.  What it hands
out comes back later, so a folder is finished when all its lots have.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import NamedTuple, Protocol

from safehold.codec.chunker import Chunker
from safehold.core.entries import Entry
from safehold.core.events import Reporter
from safehold.ops.backup.capture import Counts
from safehold.ops.backup.frames import Frame
from safehold.ops.backup.reading import Answer, Lot, Read, Reader
from safehold.repo.maker import SegmentMaker
from safehold.repo.writer import ChunkWriter

UNIT_FILES = 256
UNIT_BYTES = 4 * 1024 * 1024
UNIT_FOLDERS = 32
"""So much is asked of a child at once: files, bytes or folders, whichever comes first."""
FORK_FROM = 2000
"""Names below a source from which on children pay: they take some 30 ms to start and to end."""


class Done(NamedTuple):
    """A lot that was read."""

    frame: Frame
    read: Read


class Readers(Protocol):
    """Who reads files for the walk.  All methods belong to one thread, and raise what stopped a child."""

    def add(self, frame: Frame, name: bytes, size: int, old: Entry | None) -> None:
        """Have a file read, by and by.  For each lot ``frame.waiting`` is one more, till the caller takes it in."""

    def done(self, wait: bool) -> list[Done]:
        """What was read.  With ``wait`` at least one lot, which there must be."""

    def finish(self) -> None:
        """After all is done: hand everything made to the writer."""

    def close(self, stop: bool) -> None:
        """No child is left when this returns.  ``stop``: end them at once."""


if sys.platform == "linux":
    import queue

    import msgspec

    from safehold.core.errors import by_code
    from safehold.core.pools import Pool
    from safehold.ops.children import Child, useful

    class _Children:
        """See ``Readers``."""

        def __init__(
            self, writer: ChunkWriter, chunker: Callable[[], Chunker], count: int, take: Callable[[Answer], None]
        ) -> None:
            self._writer = writer
            self._take = take
            self._unit: list[tuple[Frame, Lot]] = []
            self._descriptors: list[int] = []
            self._files = self._bytes = self._running = 0
            self._most = 2 * count + 1
            self._done: queue.SimpleQueue[tuple[list[Frame], Answer] | BaseException] = queue.SimpleQueue()
            self._idle: queue.SimpleQueue[Child] = queue.SimpleQueue()
            self._children: list[Child] = []
            claims = writer.share()
            for _ in range(count):
                reader = Reader(SegmentMaker(writer.sealer, writer.index, claims), chunker())
                self._children.append(Child(reader.answer, self._children))
                self._idle.put(self._children[-1])
            self._pool = Pool(count, "ask")

        def add(self, frame: Frame, name: bytes, size: int, old: Entry | None) -> None:
            if not self._unit or self._unit[-1][0] is not frame:
                self._unit.append((frame, Lot(frame.path, [], [])))
                self._descriptors.append(os.dup(frame.folder.fd))  # the walk may close the folder meanwhile
                frame.waiting += 1
            lot = self._unit[-1][1]
            lot.names.append(name)
            lot.old.append(old)
            self._files += 1
            self._bytes += size
            if self._files >= UNIT_FILES or self._bytes >= UNIT_BYTES:
                self._submit()

        def done(self, wait: bool) -> list[Done]:
            if len(self._unit) >= UNIT_FOLDERS or (wait and not self._running):
                self._submit()
            found: list[Done] = []
            while self._running and ((wait and not found) or self._running >= self._most or not self._done.empty()):
                found += self._next()
            return found

        def finish(self) -> None:
            for child in self._children:
                self._taken(_answers.decode(child.ask(b"")))
            self.close(False)

        def close(self, stop: bool) -> None:
            if stop:
                for child in self._children:
                    child.stop()
            self._pool.shutdown(wait=True, cancel_futures=True)
            for child in self._children:
                child.close()
            for fd in self._descriptors:
                os.close(fd)
            self._children, self._descriptors = [], []

        def _submit(self) -> None:
            unit, self._unit = self._unit, []
            self._files = self._bytes = 0
            descriptors, self._descriptors = self._descriptors, []
            self._running += 1
            self._pool.submit(self._ask, unit, descriptors)

        def _ask(self, unit: list[tuple[Frame, Lot]], descriptors: list[int]) -> None:
            child = self._idle.get()
            try:
                answer = _answers.decode(child.ask(_encoder.encode([lot for _, lot in unit]), descriptors))
                for segment in answer.segments:
                    self._writer.take(segment)
                answer.segments.clear()
                self._done.put(([frame for frame, _ in unit], answer))
            except BaseException as error:  # carried over to the walking thread
                self._done.put(error)
            finally:
                self._idle.put(child)
                for fd in descriptors:
                    os.close(fd)

        def _next(self) -> list[Done]:
            found = self._done.get()
            self._running -= 1
            if isinstance(found, BaseException):
                raise found
            frames, answer = found
            self._taken(answer)
            return [Done(frame, read) for frame, read in zip(frames, answer.reads, strict=True)]

        def _taken(self, answer: Answer) -> None:
            if answer.failure is not None:
                code, message, hint = answer.failure
                raise by_code(code)(message, hint)
            for segment in answer.segments:
                self._writer.take(segment)
            self._take(answer)

    _encoder = msgspec.msgpack.Encoder()
    _answers = msgspec.msgpack.Decoder(Answer)

    def make(
        writer: ChunkWriter, chunker: Callable[[], Chunker], paths: Sequence[bytes], take: Callable[[Answer], None]
    ) -> Readers | None:
        """Readers for these sources; None where they would not help.  ``take`` is told of each answer.

        The thread that renews the session's mark may run: it only waits.  No other may.
        """
        count = useful(waiting=1)
        if not count or not _many(paths):
            return None
        writer.index.load()  # a child could not: it has no way to the store
        return _Children(writer, chunker, count, take)

else:

    def make(
        writer: ChunkWriter, chunker: Callable[[], Chunker], paths: Sequence[bytes], take: Callable[[Answer], None]
    ) -> Readers | None:
        """None: a fork is no safe thing there, or there is no such thing."""
        return None


def taker(counts: Counts, advance: Callable[[int], None], report: Reporter) -> Callable[[Answer], None]:
    """What counts and tells answers in this process."""

    def take(answer: Answer) -> None:
        counts.add(answer.counts)
        advance(answer.bytes)
        for warning in answer.warnings:
            report(warning)

    return take


def _many(paths: Sequence[bytes]) -> bool:
    """Whether there is much below these paths.  Looks at no more than it takes to know."""
    found = 0
    waiting = list(paths)
    while waiting and found < FORK_FROM:
        with suppress(OSError), os.scandir(waiting.pop(0)) as names:
            for item in names:
                found += 1
                if item.is_dir(follow_symlinks=False):
                    waiting.append(os.fsencode(item.path))
    return found >= FORK_FROM
