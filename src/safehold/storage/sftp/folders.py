"""The folders of a store on an SFTP server: making them, and making durable what has changed in them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import asyncssh

from safehold.core.errors import RepositoryMissing, StoreUnreachable
from safehold.storage.keys import top_of
from safehold.storage.sftp.address import Address
from safehold.storage.sftp.connection import Session
from safehold.storage.sftp.failures import MISSING

FOLDER_MODE = 0o700


def folder_of(key: str) -> str:
    """The folder of a key, without its slash; empty for one that lies at the root."""
    return key.rpartition("/")[0]


class Folders:
    """Below the root of a store.  All methods belong to the event loop."""

    def __init__(self, address: Address, create: bool) -> None:
        """``create``: make the root, parents too, if it is not there."""
        self._address = address
        self._create = create
        self._found = False
        self._made: set[str] = set()
        self._dirty: set[str] = set()
        self._can_flush = True

    def path(self, key: str) -> str:
        """Where a key, or a folder, is on the server."""
        return f"{self._address.path}/{key}" if key else self._address.path

    async def find(self, session: Session) -> None:
        """Look for the root, once.  Raises ``RepositoryMissing`` if it is not there and is not to be made."""
        if self._found:
            return
        try:
            await session.client.stat(self.path(""))
        except MISSING:
            if not self._create:
                raise RepositoryMissing(
                    f"There is no repository at {self._address.location}.", "`safehold init` makes one; is the path right?"
                ) from None
            with suppress(asyncssh.SFTPFileAlreadyExists):
                await session.client.makedirs(self.path(""), asyncssh.SFTPAttrs(permissions=FOLDER_MODE), exist_ok=True)
        self._found = True

    async def require_root(self, session: Session) -> None:
        """Raise ``StoreUnreachable`` if the root has gone: what was asked for is then not missing, but out of reach."""
        try:
            await session.client.stat(self.path(""))
        except MISSING:
            message = f"The folder of the store {self._address.location} is not there."
            raise StoreUnreachable(message, "Is the drive mounted on the server?") from None

    async def make(self, session: Session, folder: str) -> None:
        """Make a folder below the root, and those above it, durably."""
        if not folder or folder in self._made:
            return
        await self.make(session, folder_of(folder))
        try:
            await session.client.mkdir(self.path(folder), asyncssh.SFTPAttrs(permissions=FOLDER_MODE))
        except asyncssh.SFTPError as error:
            if isinstance(error, MISSING):
                await self.require_root(session)
                raise
            if not await session.client.isdir(self.path(folder)):
                raise
        else:
            await self.flush(session, folder_of(folder))
        self._made.add(folder)

    def forget(self) -> None:
        """Somebody has removed folders."""
        self._made.clear()

    async def flush(self, session: Session, folder: str) -> None:
        """Make durable which names a folder has, where the server can do that: OpenSSH's opens a folder like a file."""
        if not self._can_flush:
            return
        try:
            handle = await session.client.open(self.path(folder), asyncssh.FXF_READ, encoding=None)
        except MISSING:
            return
        except asyncssh.SFTPError:
            self._can_flush = False
            return
        try:
            await handle.fsync()
        except (asyncssh.SFTPOpUnsupported, asyncssh.SFTPFailure):
            self._can_flush = False
        finally:
            await handle.close()

    def note_deletion(self, folder: str) -> None:
        """A name of this folder was removed, not durably yet."""
        self._dirty.add(folder)

    def has_deletions(self) -> bool:
        """Whether there is something for ``flush_deletions``."""
        return bool(self._dirty)

    async def flush_deletions(self, session: Session, but: str = "") -> None:
        """Make durable what was deleted, except below the top folder ``but``."""
        dirty = [folder for folder in self._dirty if not but or top_of(folder) != but]
        self._dirty.difference_update(dirty)
        await asyncio.gather(*(self.flush(session, folder) for folder in dirty))

    async def scan(self, session: Session, folder: str) -> AsyncIterator[asyncssh.SFTPName]:
        """What a folder has, but ``.`` and ``..``; nothing if the folder is not there."""
        try:
            async for line in session.client.scandir(self.path(folder)):
                if line.filename not in (".", ".."):
                    yield line
        except MISSING:
            if not folder:
                await self.require_root(session)
                raise
