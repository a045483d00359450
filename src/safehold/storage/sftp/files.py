"""What a store does on an SFTP server, as coroutines: creating, reading, listing and removing files."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import cast

import asyncssh

from safehold.core.errors import ObjectExists, ObjectMissing, StoreError
from safehold.storage.keys import RESERVED, check_key, is_part, quarantine_keys, top_of
from safehold.storage.sftp.connection import Connection, Session
from safehold.storage.sftp.failures import MISSING, explained, full
from safehold.storage.sftp.folders import Folders, folder_of
from safehold.storage.sftp.handles import Handle, OpenFiles, write_all
from safehold.storage.store import ObjectInfo

OBJECT_MODE = 0o400
UNFINISHED = ".part"
FIRST_READ = 256 << 10
"""Bytes that are asked for together with the size of an object: most small ones are then there."""
STALE_SECONDS = 86400
"""A file in ``tmp/`` to which nothing was written for so long, by the server's clock, has no live writer."""
SCANS = 16
"""Folders that are listed at once."""
LEAST_ROOM = 1 << 20
"""Bytes.  A file system with less is taken for full if it refused a write without saying why."""


class Files:
    """All methods belong to the event loop.  They raise errors of ours, but for faults of the network, which ``Connection``
    turns into ``StoreUnreachable``."""

    def __init__(self, connection: Connection, folders: Folders, location: str, name: Callable[[], str]) -> None:
        self._connection = connection
        self._folders = folders
        self._location = location
        self._name = name
        self._open = OpenFiles()
        self._swept = False
        self._links = True
        self._was_full = False
        self._background: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def session(self, key: str) -> AsyncIterator[Session]:
        """A session to work with at an object."""
        async with self._connection.session() as session:
            try:
                await self._folders.find(session)
                yield session
            except asyncssh.SFTPError as error:
                failure = explained(error, key, self._location)
                if not failure.retryable:
                    raise failure from error
                raise

    async def write(self, session: Session, pieces: AsyncIterator[bytes]) -> str:
        """A new file in ``tmp/`` with these bytes, durable; its path.  It is removed again if anything fails."""
        await self._folders.make(session, RESERVED)
        path = self._folders.path(f"{RESERVED}/{self._name()}{UNFINISHED}")
        flags = asyncssh.FXF_WRITE | asyncssh.FXF_CREAT | asyncssh.FXF_EXCL
        mode = asyncssh.SFTPAttrs(permissions=OBJECT_MODE)
        try:
            file = await session.client.open(path, flags, mode, encoding=None)
        except MISSING:
            self._folders.forget()
            await self._folders.make(session, RESERVED)
            file = await session.client.open(path, flags, mode, encoding=None)
        try:
            self._sweep_soon(session, (await file.stat()).mtime or 0)
            await write_all(file, pieces)
            with suppress(asyncssh.SFTPOpUnsupported):
                await file.fsync()
            await file.close()
        except BaseException as error:
            is_full = isinstance(error, asyncssh.SFTPFailure) and await self._is_full(session)
            await self._discard(session, file, path)
            if is_full:
                raise full("A new object", self._location) from error
            raise
        return path

    async def publish(self, session: Session, path: str, key: str) -> None:
        """Give a file of ``tmp/`` its name as an object, durably.  Raises ``ObjectExists``; the file is then gone."""
        try:
            await self._folders.flush_deletions(session, but=top_of(key))
            await self._move(session, path, key)
        finally:
            await self.remove_quietly(session, path)
        await self._folders.flush(session, folder_of(key))

    async def remove_quietly(self, session: Session, path: str) -> None:
        """Remove a file of ``tmp/``; what fails leaves it to the sweep."""
        with suppress(asyncssh.SFTPError):
            await session.client.remove(path)

    async def get(self, key: str) -> bytes:
        """The whole object."""
        async with self.session(key) as session:
            path = self._folders.path(key)
            status, file = await asyncio.gather(
                session.client.lstat(path), session.client.open(path, asyncssh.FXF_READ, encoding=None), return_exceptions=True
            )
            if isinstance(file, BaseException):
                raise status if isinstance(status, BaseException) else file
            try:
                if isinstance(status, BaseException):
                    raise status
                return await self._read_whole(file, key, self._size(status, key))
            finally:
                await file.close()

    async def get_range(self, key: str, offset: int, length: int) -> bytes:
        """As the protocol says."""
        if offset < 0:
            size = await self.size(key)
            start = max(0, size + offset)
            length, offset = min(length, size - start), start
        async with (
            self.session(key) as session,
            self._open.use(key, self._connection, lambda: self._opened(session, key)) as (file, size),
        ):
            if offset + length > size:
                raise StoreError(
                    f"{key} in the store {self._location} has {size} bytes; {length} from {offset} on were asked for."
                )
            return await self._read(file, key, offset, length)

    async def size(self, key: str) -> int:
        """Bytes of an object."""
        async with self.session(key) as session:
            return self._size(await session.client.lstat(self._folders.path(key)), key)

    async def delete(self, key: str) -> None:
        """Remove an object, if it is there."""
        await self._open.forget(key)
        async with self.session(key) as session:
            await self._folders.flush_deletions(session, but=top_of(key))
            try:
                await session.client.remove(self._folders.path(key))
            except MISSING:
                await self._folders.require_root(session)
                return
            self._folders.note_deletion(folder_of(key))

    async def quarantine(self, key: str) -> None:
        """Move an object to the first free place under ``quarantine/``."""
        await self.size(key)
        async with self.session(key) as session:
            source = self._folders.path(key)
            for place in quarantine_keys(key):
                check_key(place)
                with suppress(ObjectExists):
                    await self._move(session, source, place)
                    break
            await self._folders.flush(session, folder_of(place))
            with suppress(*MISSING):  # a rename has taken it along
                await session.client.remove(source)
            await self._folders.flush(session, folder_of(key))
        await self._open.forget(key)

    async def list(self, prefix: str) -> list[ObjectInfo]:
        """Every object below a folder (without its slash)."""
        lines: list[ObjectInfo] = []
        gate = asyncio.Semaphore(SCANS)
        async with self.session("A listing") as session:
            await self._folders.require_root(session)

        async def scan(folder: str) -> None:
            below = []
            async with gate, self.session(f"The folder {folder}") as session:
                async for line in self._folders.scan(session, folder):
                    name = _name(line)
                    key = f"{folder}/{name}" if folder else name
                    if not is_part(name) or key == RESERVED:
                        continue
                    if self._is_folder(line.attrs, key):
                        below.append(key)
                    else:
                        lines.append(ObjectInfo(key, line.attrs.size or 0, (line.attrs.mtime or 0) * 1_000_000_000))
            await asyncio.gather(*(scan(each) for each in below))

        await scan(prefix)
        return lines

    async def remove_empty(self, folder: str) -> bool:
        """Remove the empty folders below one, and it too; whether it is gone."""
        async with self.session(folder) as session:
            below = [line async for line in self._folders.scan(session, folder)]
        kept = 0
        for line in below:
            is_folder = line.attrs.type == asyncssh.FILEXFER_TYPE_DIRECTORY
            kept += not (is_folder and await self.remove_empty(f"{folder}/{_name(line)}"))
        self._folders.forget()
        if kept:
            return False
        async with self.session(folder) as session:
            with suppress(*MISSING):
                await session.client.rmdir(self._folders.path(folder))
        return True

    async def close(self) -> None:
        """Make deletions durable, close files, end the connection if there is one."""
        if self._folders.has_deletions():
            async with self.session("A deletion") as session:
                await self._folders.flush_deletions(session)
        for task in self._background:
            task.cancel()
        await self._connection.close()

    async def _move(self, session: Session, path: str, key: str) -> None:
        """Give a file one more name, or another where there are no hard links.  Raises ``ObjectExists``."""
        target = self._folders.path(key)
        await self._folders.make(session, folder_of(key))
        try:
            await self._link(session, path, target)
        except MISSING:
            self._folders.forget()
            await self._folders.make(session, folder_of(key))
            await self._link(session, path, target)
        except asyncssh.SFTPFailure as error:
            if await session.client.lexists(target):
                raise ObjectExists(f"{key} already exists in the store {self._location}.") from error
            if await self._is_full(session):
                raise full(key, self._location) from error
            raise

    async def _link(self, session: Session, path: str, target: str) -> None:
        """By a hard link; else by a rename, which SFTP 3 does not let replace anything."""
        if self._links:
            try:
                await session.client.link(path, target)
                return
            except asyncssh.SFTPOpUnsupported:
                self._links = False
            except asyncssh.SFTPFailure:
                if await session.client.lexists(target):
                    raise
                # It may be a file system without hard links.
        if await session.client.lexists(target):
            raise asyncssh.SFTPFailure("the name is taken")
        await session.client.rename(path, target)

    async def _opened(self, session: Session, key: str) -> Handle:
        """An object, open, and its size."""
        path = self._folders.path(key)
        size = self._size(await session.client.lstat(path), key)
        return Handle(session, await session.client.open(path, asyncssh.FXF_READ, encoding=None), size)

    async def _read_whole(self, file: asyncssh.SFTPClientFile, key: str, size: int) -> bytes:
        first = await self._read(file, key, 0, min(size, FIRST_READ))
        return first + await self._read(file, key, len(first), size - len(first)) if size > len(first) else first

    async def _read(self, file: asyncssh.SFTPClientFile, key: str, offset: int, length: int) -> bytes:
        data = cast(bytes, await file.read(length, offset)) if length else b""
        if len(data) != length:
            raise StoreError(f"{key} in the store {self._location} has less than {offset + length} bytes.")
        return data

    def _size(self, status: asyncssh.SFTPAttrs, key: str) -> int:
        if status.type != asyncssh.FILEXFER_TYPE_REGULAR:
            raise ObjectMissing(f"{key} is missing in the store {self._location}.")
        return int(status.size or 0)

    def _is_folder(self, attrs: asyncssh.SFTPAttrs, key: str) -> bool:
        """Whether it is a folder and not a file.  Anything else makes a listing fail, since what is behind it would be missed."""
        if attrs.type not in (asyncssh.FILEXFER_TYPE_DIRECTORY, asyncssh.FILEXFER_TYPE_REGULAR):
            raise StoreError(f"{key} in the store {self._location} is neither a file nor a folder.", "Look what put it there.")
        return attrs.type == asyncssh.FILEXFER_TYPE_DIRECTORY

    async def _is_full(self, session: Session) -> bool:
        """Whether a write was refused for want of room.  Once it was, others that failed beside it did so for the same reason,
        though what the first one had written may be removed by then."""
        try:
            room = await session.client.statvfs(self._folders.path(""))
        except asyncssh.SFTPError:
            return self._was_full
        self._was_full = self._was_full or room.bavail * room.frsize < LEAST_ROOM or (room.files > 0 and not room.favail)
        return self._was_full

    async def _discard(self, session: Session, file: asyncssh.SFTPClientFile, path: str) -> None:
        with suppress(Exception):
            await file.close()
        with suppress(Exception):
            await self.remove_quietly(session, path)

    def _sweep_soon(self, session: Session, now: int) -> None:
        """Once: have removed what dead writers left in ``tmp/``.  ``now``: the server's time, in seconds."""
        if self._swept or not now:
            return
        self._swept = True
        task = asyncio.ensure_future(self._sweep(session, now - STALE_SECONDS))
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _sweep(self, session: Session, before: int) -> None:
        with suppress(asyncssh.Error, OSError):
            async for line in self._folders.scan(session, RESERVED):
                if _name(line).endswith(UNFINISHED) and (line.attrs.mtime or before) < before:
                    await self.remove_quietly(session, self._folders.path(f"{RESERVED}/{_name(line)}"))


def _name(line: asyncssh.SFTPName) -> str:
    return line.filename if isinstance(line.filename, str) else line.filename.decode(errors="replace")
