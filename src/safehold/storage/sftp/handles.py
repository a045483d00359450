"""Open files on an SFTP server: writing one with several requests under way, and keeping those that are read from."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import asyncssh

from safehold.storage.sftp.connection import Connection, Session

OPEN_FILES = 32
PIECES = 4
"""Pieces of a file that are written at once, each in requests of as much as the server takes (OpenSSH: 255 KiB)."""


async def write_all(file: asyncssh.SFTPClientFile, pieces: AsyncIterator[bytes]) -> None:
    """Write these one after the other into the file; all are written when this returns."""
    position = 0
    waiting: set[asyncio.Task[int]] = set()
    try:
        async for piece in pieces:
            if len(waiting) >= PIECES:
                done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                for each in done:
                    each.result()
            waiting.add(asyncio.ensure_future(_write(file, piece, position)))
            position += len(piece)
        for each in waiting:
            await each
    finally:
        for each in waiting:
            each.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


async def _write(file: asyncssh.SFTPClientFile, piece: bytes, position: int) -> int:
    return int(await file.write(piece, position))


class Handle:
    """An object that is open for reading."""

    def __init__(self, session: Session, file: asyncssh.SFTPClientFile, size: int) -> None:
        self.session = session
        self.file = file
        self.size = size
        self.users = 0
        self.kept = True

    async def let_go(self) -> None:
        """Close it when nobody reads from it any more."""
        if not self.users and not self.kept:
            with suppress(asyncssh.Error, OSError, ValueError):
                await self.file.close()


class OpenFiles:
    """Objects that stay open for reading ranges, those used last.  All methods belong to the event loop."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, Handle] = OrderedDict()

    @asynccontextmanager
    async def use(
        self, key: str, connection: Connection, open_: Callable[[], Awaitable[Handle]]
    ) -> AsyncIterator[tuple[asyncssh.SFTPClientFile, int]]:
        """An open object and its size in bytes; ``open_`` is asked for it where none is kept."""
        handle = self._kept.get(key)
        if handle is None or not connection.is_open(handle.session):
            handle = await open_()
            await self.forget(key)  # of a connection that is gone, or opened by somebody else meanwhile
            self._kept[key] = handle
        self._kept.move_to_end(key)
        handle.users += 1
        try:
            yield handle.file, handle.size
        finally:
            handle.users -= 1
            await handle.let_go()
            while len(self._kept) > OPEN_FILES:
                await self.forget(next(iter(self._kept)))

    async def forget(self, key: str) -> None:
        """Let go of an object."""
        handle = self._kept.pop(key, None)
        if handle is not None:
            handle.kept = False
            await handle.let_go()
