"""A raw block device: a floppy in its drive.  It has a fixed size, a medium that may be absent or changed, and bad sectors.

Works on files, too, which then are of the device's size.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from pathlib import Path

from safehold.core.errors import StoreError, StoreFull, StoreUnreachable
from safehold.storage import filesystem as fs
from safehold.storage.oserrors import explained

SECTOR = 512
"""Bytes: what is looked at one by one where a larger write or read fails."""
_BLKFLSBUF = 0x1261
"""``ioctl`` of Linux (linux/fs.h): forget what was read of a device."""
_FLAGS = getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
_ABSENT = {errno.ENXIO, getattr(errno, "ENOMEDIUM", errno.ENXIO), errno.ENODEV, errno.ENOENT}
_PROTECTED = {errno.EROFS, errno.EACCES, errno.EPERM}


class RawMedium:
    """The medium in a device; ``capacity``: bytes that are used at most, 0: all."""

    def __init__(self, path: Path, *, write: bool = False, capacity: int = 0) -> None:
        self.path = path
        self._written = False
        try:
            self._descriptor = os.open(path, (os.O_RDWR if write else os.O_RDONLY) | _FLAGS)
        except OSError as error:
            raise self._failed(error, 0) from error
        try:
            self._size = os.lseek(self._descriptor, 0, os.SEEK_END)
            self._is_device = stat.S_ISBLK(os.fstat(self._descriptor).st_mode)
        except OSError as error:
            self.close()
            raise self._failed(error, 0) from error
        if capacity and self._size < capacity:
            size = self._size
            self.close()
            raise StoreFull(
                f"What is in {path} holds {size:,} bytes, not the {capacity:,} that are needed.",
                "Insert a larger medium, or make a set with a smaller --capacity.",
            )
        self._size = min(self._size, capacity) if capacity else self._size

    @property
    def location(self) -> str:
        return str(self.path)

    @property
    def used(self) -> int:
        return self._size

    def read(self, offset: int, buffer: memoryview) -> None:
        """What cannot be read is zeros, sector by sector.  Raises ``StoreUnreachable`` when the medium is taken out."""
        try:
            got = self._read(offset, buffer)
        except OSError as error:
            if error.errno in _ABSENT:
                raise self._failed(error, offset) from error
            for at in range(0, len(buffer), SECTOR):
                part = buffer[at : at + SECTOR]
                try:
                    done = self._read(offset + at, part)
                except OSError:
                    done = 0
                part[done:] = bytes(len(part) - done)
            return
        buffer[got:] = bytes(len(buffer) - got)

    def write(self, offset: int, data: bytes | bytearray | memoryview) -> None:
        view = memoryview(data)
        if offset + len(view) > self._size:
            raise StoreFull(f"{self.path} holds {self._size:,} bytes.", "Insert another medium.")
        self._written = True
        while view:
            try:
                os.lseek(self._descriptor, offset, os.SEEK_SET)
                done = os.write(self._descriptor, view)
            except OSError as error:
                raise self._failed(error, offset) from error
            offset, view = offset + done, view[done:]

    def flush(self) -> None:
        """Raises ``StoreError``: the system tells of a bad sector only now, and not which."""
        try:
            fs.flush_file(self._descriptor)
        except OSError as error:
            raise self._failed(error, -1) from error

    def forget(self) -> None:
        """Let the next reads come from the medium, not from the system's memory."""
        if self._written:
            self.flush()
        if sys.platform == "linux":
            import fcntl

            try:
                if self._is_device:
                    fcntl.ioctl(self._descriptor, _BLKFLSBUF, 0)
                os.posix_fadvise(self._descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            except OSError as error:
                raise self._failed(error, -1) from error

    def cut(self, size: int) -> None:
        """A device keeps its size: what lies behind is overwritten later."""

    def close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def _read(self, offset: int, buffer: memoryview) -> int:
        os.lseek(self._descriptor, offset, os.SEEK_SET)
        got = 0
        while got < len(buffer):
            data = os.read(self._descriptor, len(buffer) - got)
            if not data:
                break
            buffer[got : got + len(data)] = data
            got += len(data)
        return got

    def _failed(self, error: OSError, offset: int) -> StoreError:
        """``offset``: where it happened, -1: the system did not say."""
        if error.errno in _ABSENT:
            return StoreUnreachable(f"There is no medium in {self.path}.", "Insert one, and run it again.")
        if error.errno in _PROTECTED:
            return StoreError(
                f"{self.path} cannot be written: {error.strerror}.",
                "Is the medium write-protected (a floppy's slide)?  May this user write to the drive?",
            )
        if error.errno == errno.EIO:
            where = f"sector {offset // SECTOR} of " if offset >= 0 else ""
            return StoreError(f"The drive could not use {where}{self.path}: the medium is bad.", "Take another medium.")
        return explained(error, "A volume", self.location)
