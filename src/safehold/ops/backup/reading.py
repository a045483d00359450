"""What a child process of a backup does: it reads small files.  ``docs/backup.md``, "How it is done".

A child gets the open descriptor of a folder and the names to read in it.  It reads, cuts and names them, makes segments of what
nobody has stored or taken on yet, and answers with the files' entries and the sealed segments that are full.
"""

from __future__ import annotations

import errno
import sys

import msgspec

from safehold.codec.chunker import Chunker
from safehold.core.entries import Entry
from safehold.core.errors import SafeholdError
from safehold.core.events import Event, Warn
from safehold.ops.backup.capture import AttributesLost, Capture, Counts
from safehold.ops.backup.content import ContentWriter
from safehold.repo.maker import SegmentMaker
from safehold.repo.segments import SealedSegment
from safehold.sources.files.folders import Folder, Vanished


class Lot(msgspec.Struct, array_like=True):
    """Names in one folder, and their entries in the snapshot before."""

    path: bytes
    names: list[bytes]
    old: list[Entry | None]


class Read(msgspec.Struct, array_like=True):
    """What became of a lot."""

    entries: list[Entry]
    lost: list[tuple[bytes, int, str]]
    """Names that could not be read, or not wholly, and why: errno and text."""
    others: list[bytes]
    """Names of what is no small file any more."""


class Answer(msgspec.Struct, array_like=True):
    """What a child says."""

    reads: list[Read]
    """One for each lot."""
    counts: Counts
    bytes: int
    warnings: list[Warn]
    segments: list[SealedSegment]
    failure: tuple[str, str, str] | None
    """What stopped it: code, message and hint."""


class Reader:
    """Answers for a child.  Belongs to one thread."""

    def __init__(self, maker: SegmentMaker, chunker: Chunker) -> None:
        self._maker = maker
        self._warnings: list[Warn] = []
        self._bytes = 0
        self._capture = Capture(maker, ContentWriter(maker, chunker, self._advance), None, self._tell, trusted=False)

    def answer(self, question: bytes, descriptors: list[int]) -> bytes:
        """The answer to lots, each with its folder's descriptor; to no question at all: everything that is not sealed yet."""
        reads: list[Read] = []
        segments: list[SealedSegment] = []
        failure = None
        try:
            for lot, fd in zip(_questions.decode(question) if question else [], descriptors, strict=True):
                reads.append(self._read(lot, fd))
            segments = self._maker.take(everything=not question)
        except SafeholdError as error:
            failure = (error.code, str(error), error.hint)
        except Exception as error:
            failure = ("failed", f"Something unforeseen happened ({type(error).__name__}: {error}); this is a bug.", "")
        told = Answer(reads, self._capture.counts, self._bytes, self._warnings, segments, failure)
        encoded = _encoder.encode(told)
        self._capture.counts, self._bytes = Counts(), 0
        self._warnings.clear()
        return encoded

    def _read(self, lot: Lot, fd: int) -> Read:
        if sys.platform == "win32":
            raise NotImplementedError
        folder = Folder(fd, lot.path)
        read = Read([], [], [])
        try:
            for name, old in zip(lot.names, lot.old, strict=True):
                self._one(folder, name, old, read)
        finally:
            folder.close()
        return read

    def _one(self, folder: Folder, name: bytes, old: Entry | None, read: Read) -> None:
        try:
            st = folder.look(name)
            if self._capture.lendable(st, None, 0):
                read.entries.append(self._capture.entry(folder, name, st, old, 0))
            else:
                read.others.append(name)
        except AttributesLost as error:
            read.entries.append(error.entry)
            read.lost.append((name, error.errno or errno.EIO, error.strerror or ""))
        except (Vanished, FileNotFoundError):
            read.others.append(name)
        except OSError as error:
            read.lost.append((name, error.errno or errno.EIO, error.strerror or str(error)))

    def _advance(self, count: int) -> None:
        self._bytes += count

    def _tell(self, event: Event) -> None:
        if isinstance(event, Warn):
            self._warnings.append(event)


_encoder = msgspec.msgpack.Encoder()
_questions = msgspec.msgpack.Decoder(list[Lot])
