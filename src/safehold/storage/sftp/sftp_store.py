"""A store in a folder that is reached by SFTP, laid out as the local one: whoever sits at that machine can use it as a folder.

How the guarantees are reached is told in ``docs/stores.md``.  In short: bytes go to ``tmp/``, are flushed
(``fsync@openssh.com``), get their name by a hard link, which never replaces anything, and the folder is flushed before anybody is
told that it is done.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar

import asyncssh

from safehold.storage.keys import check_key, check_prefix
from safehold.storage.options import DEFAULT, StoreOptions
from safehold.storage.sftp.address import parse
from safehold.storage.sftp.connection import Connection
from safehold.storage.sftp.failures import explained
from safehold.storage.sftp.files import Files
from safehold.storage.sftp.folders import Folders
from safehold.storage.sftp.loop import Loop
from safehold.storage.sftp.upload import SftpUpload
from safehold.storage.store import Buffer, Capabilities, ObjectInfo

_T = TypeVar("_T")

SESSIONS = 4
"""Sessions in the connection, each a process on the server.  OpenSSH permits 10 (MaxSessions, sshd_config(5))."""


def _random_name() -> str:
    return secrets.token_hex(12)


class SftpStore:
    """The store at ``sftp://user@host:port/path``; nobody is asked before the first use.

    ``create``: make the folder if it is not there; else its absence is ``RepositoryMissing``.  Raises ``UsageError``.
    """

    def __init__(
        self,
        location: str,
        create: bool = False,
        options: StoreOptions = DEFAULT,
        name: Callable[[], str] = _random_name,
    ) -> None:
        address = parse(location)
        self._location = address.location
        self._sessions = options.connections or SESSIONS
        self._loop = Loop()
        connection = Connection(address, self._sessions, options.ask)
        self._files = Files(connection, Folders(address, create), self._location, name)

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(uploads=min(self._sessions, SESSIONS))

    @property
    def location(self) -> str:
        return self._location

    def put(self, key: str, data: Buffer) -> None:
        check_key(key)
        upload = self.upload()
        upload.write(data)
        upload.commit(key)

    def upload(self) -> SftpUpload:
        return SftpUpload(self._loop, self._files, self._location)

    def get(self, key: str) -> bytes:
        check_key(key)
        return self._call(key, self._files.get(key))

    def get_range(self, key: str, offset: int, length: int) -> bytes:
        check_key(key)
        return self._call(key, self._files.get_range(key, offset, length))

    def size(self, key: str) -> int:
        check_key(key)
        return self._call(key, self._files.size(key))

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        check_prefix(prefix)
        return self._listed(prefix.rstrip("/"))

    def delete(self, key: str) -> None:
        check_key(key)
        self._call(key, self._files.delete(key))

    def quarantine(self, key: str) -> None:
        check_key(key)
        self._call(key, self._files.quarantine(key))

    def tidy(self, prefix: str) -> None:
        """Remove the empty folders of a prefix that only this process uses.  ``delete`` leaves them, as others may need them."""
        check_prefix(prefix)
        self._call(prefix, self._files.remove_empty(prefix.rstrip("/")))

    def close(self) -> None:
        try:
            self._call("A deletion", self._files.close())
        finally:
            self._loop.close()

    def _listed(self, folder: str) -> Iterator[ObjectInfo]:
        yield from self._call(folder or "The listing", self._files.list(folder))

    def _call(self, key: str, work: Coroutine[Any, Any, _T]) -> _T:
        try:
            return self._loop.call(work)
        except asyncssh.Error as error:
            raise explained(error, key, self._location) from error
