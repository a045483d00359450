"""A volume in one file: to be burned later, to be kept as it is, or a disc as the kernel's block device shows it."""

from __future__ import annotations

import errno
import os
import stat
import sys
import threading
from pathlib import Path

from safehold.core.errors import StoreError
from safehold.storage import filesystem as fs
from safehold.storage.oserrors import explained, unreachable

_SECTOR = 2048
"""Bytes that are tried one by one where a larger read fails."""
_STEP = 1 << 20
"""Bytes that are written by one call: for more at once Linux takes its cache in pieces of 2 MiB, which a virtual machine may have
to get from its host each time (six times the processor's time, measured on 6.18)."""
_CREATE = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
_CHANGE = os.O_RDWR | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
_READ = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)


class ImageMedium:
    """The image file ``path``; ``create``: a new one, ``write``: one that is still open to more."""

    def __init__(self, path: Path, *, write: bool = False, create: bool = False) -> None:
        self.path = path
        self._lock = threading.Lock()
        """Where there is no ``pread`` (Windows), seeking and reading go together."""
        try:
            if create:
                self._descriptor = os.open(path, _CREATE, 0o600)
                fs.flush_folder(str(path.parent))
            else:
                self._descriptor = os.open(path, _CHANGE if write else _READ)
            if stat.S_ISDIR(os.fstat(self._descriptor).st_mode):
                os.close(self._descriptor)
                raise IsADirectoryError(errno.EISDIR, "it is a folder", str(path))
            self._size = os.lseek(self._descriptor, 0, os.SEEK_END)
        except FileNotFoundError:
            raise unreachable(str(path)) from None
        except OSError as error:
            raise explained(error, "The image", str(path)) from error

    @property
    def location(self) -> str:
        return str(self.path)

    @property
    def used(self) -> int:
        return self._size

    def read(self, offset: int, buffer: memoryview) -> None:
        try:
            got = self._read(offset, buffer)
        except OSError:
            self._read_what_can_be(offset, buffer)
            return
        while 0 < got < len(buffer):
            more = self._read(offset + got, buffer[got:])
            if not more:
                break
            got += more
        if got < len(buffer):
            buffer[got:] = bytes(len(buffer) - got)

    def write(self, offset: int, data: bytes | bytearray | memoryview) -> None:
        view = memoryview(data)
        try:
            with self._lock:
                while view:
                    done = self._write(offset, view[:_STEP])
                    offset, view = offset + done, view[done:]
        except OSError as error:
            raise explained(error, "A volume", self.location) from error
        self._size = max(self._size, offset)

    def flush(self) -> None:
        try:
            fs.flush_file(self._descriptor)
        except OSError as error:
            raise explained(error, "A volume", self.location) from error

    def cut(self, size: int) -> None:
        if self._size <= size:
            return
        try:
            os.ftruncate(self._descriptor, size)
        except OSError as error:
            raise explained(error, "A volume", self.location) from error
        self._size = size

    def close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def _read(self, offset: int, buffer: memoryview) -> int:
        if sys.platform != "win32":
            return os.preadv(self._descriptor, [buffer], offset)
        with self._lock:
            os.lseek(self._descriptor, offset, os.SEEK_SET)
            data = os.read(self._descriptor, len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def _write(self, offset: int, data: memoryview) -> int:
        if sys.platform != "win32":
            return os.pwrite(self._descriptor, data, offset)
        os.lseek(self._descriptor, offset, os.SEEK_SET)
        return os.write(self._descriptor, data)

    def _read_what_can_be(self, offset: int, buffer: memoryview) -> None:
        """Sector by sector; a bad one is zeros.  A disc that is no longer there at all is said so."""
        failed = 0
        for at in range(0, len(buffer), _SECTOR):
            part = buffer[at : at + _SECTOR]
            try:
                got = self._read(offset + at, part)
            except OSError as error:
                got, failed = 0, failed + 1
                if isinstance(found := explained(error, "A volume", self.location), StoreError) and found.retryable:
                    raise found from error
            part[got:] = bytes(len(part) - got)
