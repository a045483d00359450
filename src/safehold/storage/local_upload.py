"""An object of a local store that is being written: a file in ``tmp/``, locked as long as this process lives."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from contextlib import suppress

from safehold.core.errors import StoreError
from safehold.storage import filesystem as fs
from safehold.storage.keys import check_key
from safehold.storage.oserrors import explained
from safehold.storage.store import Buffer

_BUFFER = 1 << 20
"""Bytes gathered from small writes before they go to the system."""
_WRITEBACK = 8 << 20
"""Bytes after which the system is asked to begin writing them out (``docs/storage.md`` has the measurement)."""


class LocalUpload:
    """``path`` is the new file, ``publish(path, key)`` gives it its name.

    Raises ``OSError`` if the file can't be made; ``FileNotFoundError`` also if somebody's sweep took it before it was locked.
    """

    def __init__(self, path: str, location: str, publish: Callable[[str, str], None]) -> None:
        self._path = path
        self._location = location
        self._publish = publish
        self._descriptor = fs.open_new(path)
        self._ended = False
        self._pending = bytearray()
        self._written = 0
        self._started = 0
        if not fs.hold(self._descriptor) or not fs.has_name(self._descriptor):
            self._close()
            raise FileNotFoundError(errno.ENOENT, "swept away", path)

    def is_locked(self) -> bool:
        """Whether others see that it is in use, so that a file that nobody uses is known for one.  Raises ``OSError``."""
        return fs.is_held(self._path)

    def began_ns(self) -> int:
        """When it was last written to, nanoseconds, by the filesystem's clock.  Raises ``OSError``."""
        return os.fstat(self._descriptor).st_mtime_ns

    def write(self, data: Buffer) -> None:
        self._require_open()
        view = memoryview(data).cast("B")
        try:
            if len(self._pending) + len(view) < _BUFFER:
                self._pending += view
            else:
                self._flush_pending()
                self._write(view)
        except OSError as error:
            self.abort()
            raise explained(error, "A new object", self._location) from error

    def commit(self, key: str) -> None:
        self._require_open()
        try:
            check_key(key)
            self._flush_pending()
            fs.flush_file(self._descriptor)
            if fs.WINDOWS:
                # An open file can't be renamed there.
                self._close()
            self._publish(self._path, key)
        except OSError as error:
            raise explained(error, key, self._location) from error
        finally:
            self.abort()

    def abort(self) -> None:
        if self._ended:
            return
        self._ended = True
        if fs.WINDOWS:
            self._close()
        # After a commit the name is gone already.  Any other failure leaves the file to the sweep.
        with suppress(OSError):
            os.unlink(self._path)
        with suppress(OSError):
            self._close()

    def _flush_pending(self) -> None:
        if self._pending:
            self._write(memoryview(self._pending))
            self._pending = bytearray()

    def _write(self, data: memoryview) -> None:
        """Write it in steps, so that the drive is never idle and never far behind."""
        for start in range(0, len(data), _WRITEBACK):
            step = data[start : start + _WRITEBACK]
            fs.write_all(self._descriptor, step)
            self._written += len(step)
            if self._written - self._started >= _WRITEBACK:
                fs.start_writeback(self._descriptor, self._started, self._written - self._started)
                self._started = self._written

    def _require_open(self) -> None:
        if self._ended:
            raise StoreError("This upload has ended already.")

    def _close(self) -> None:
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            os.close(descriptor)
