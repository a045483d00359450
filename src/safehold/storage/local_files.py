"""A few files kept open for reading, because a restore reads the same pack again and again."""

from __future__ import annotations

import os
import sys
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

from safehold.storage.filesystem import open_object


class _Open:
    """A descriptor and how many are reading from it."""

    __slots__ = ("descriptor", "lock", "readers", "wanted")

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.readers = 1
        self.wanted = True
        self.lock = threading.Lock()

    def read(self, offset: int, length: int) -> bytes:
        """Up to ``length`` bytes from ``offset``, fewer only at the end of the file."""
        if sys.platform == "win32":
            with self.lock:
                os.lseek(self.descriptor, offset, os.SEEK_SET)
                return os.read(self.descriptor, length)
        return os.pread(self.descriptor, length, offset)


class OpenFiles:
    """The ``limit`` files read last.  Safe to use from several threads; a file in use is closed after its last reader."""

    def __init__(self, limit: int = 64) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._files: OrderedDict[str, _Open] = OrderedDict()

    def read(self, path: str, offset: int, length: int) -> tuple[bytes, int]:
        """Bytes ``[offset:][:length]`` of a file (a negative offset counts from its end) and the file's size."""
        with self._borrow(path) as file:
            size = os.fstat(file.descriptor).st_size
            start = max(0, size + offset) if offset < 0 else offset
            return _read_whole(file, start, max(0, min(length, size - start))), size

    def is_open(self, path: str) -> bool:
        """Whether a file can be read without opening it."""
        return path in self._files

    @contextmanager
    def lend(self, path: str) -> Iterator[int]:
        """The descriptor of a file, open inside, for reading at offsets."""
        with self._borrow(path) as file:
            yield file.descriptor

    def forget(self, path: str) -> None:
        """Let go of a file, so that its space is free once it is deleted."""
        with self._lock:
            file = self._files.pop(path, None)
            if file is not None:
                self._retire(file)

    def close(self) -> None:
        """Let go of all."""
        with self._lock:
            for file in self._files.values():
                self._retire(file)
            self._files.clear()

    @contextmanager
    def _borrow(self, path: str) -> Iterator[_Open]:
        file = self._take(path)
        try:
            yield file
        finally:
            with self._lock:
                file.readers -= 1
                if not file.wanted and file.readers == 0:
                    os.close(file.descriptor)

    def _take(self, path: str) -> _Open:
        with self._lock:
            file = self._files.get(path)
            if file is not None:
                # Deleted or replaced behind our back: look again.
                if os.fstat(file.descriptor).st_nlink > 0:
                    self._files.move_to_end(path)
                    file.readers += 1
                    return file
                self._retire(self._files.pop(path))
        return self._open(path)

    def _open(self, path: str) -> _Open:
        file = _Open(open_object(path)[0])
        with self._lock:
            other = self._files.pop(path, None)
            if other is not None:
                self._retire(other)
            self._files[path] = file
            while len(self._files) > self._limit:
                self._retire(self._files.popitem(last=False)[1])
        return file

    def _retire(self, file: _Open) -> None:
        file.wanted = False
        if file.readers == 0:
            os.close(file.descriptor)


def _read_whole(file: _Open, start: int, length: int) -> bytes:
    data = file.read(start, length)
    while len(data) < length:
        more = file.read(start + len(data), length - len(data))
        if not more:
            break
        data += more
    return data
