"""An object that is being written on an SFTP server: its bytes are sent while it still grows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import Future
from contextlib import suppress
from typing import TypeVar

import asyncssh

from safehold.core.errors import StoreError
from safehold.storage.keys import check_key
from safehold.storage.sftp.connection import Session
from safehold.storage.sftp.failures import explained
from safehold.storage.sftp.files import Files
from safehold.storage.sftp.loop import Loop
from safehold.storage.store import Buffer

_T = TypeVar("_T")

SEND_FROM = 1 << 20
"""Bytes gathered before they are handed to the event loop, and before anything is sent at all."""


class SftpUpload:
    """Belongs to one thread at a time.  ``write`` never waits for the network; who writes bounds how much is under way."""

    def __init__(self, loop: Loop, files: Files, location: str) -> None:
        self._loop = loop
        self._files = files
        self._location = location
        self._gathered = bytearray()
        self._queue: asyncio.Queue[bytes | str | None] | None = None
        self._sending: Future[None] | None = None
        self._ended = False

    def write(self, data: Buffer) -> None:
        self._require_open()
        if self._sending is not None and self._sending.done():
            self._wait()
        view = memoryview(data).cast("B")
        if len(self._gathered) + len(view) < SEND_FROM:
            self._gathered += view
            return
        self._flush()
        for start in range(0, len(view), SEND_FROM):
            self._hand_over(bytes(view[start : start + SEND_FROM]))

    def commit(self, key: str) -> None:
        self._require_open()
        try:
            check_key(key)
            self._flush()
            self._hand_over(key)
            self._wait()
        except BaseException:
            self.abort()
            raise
        self._ended = True

    def abort(self) -> None:
        if self._ended:
            return
        self._ended = True
        if self._sending is not None:
            self._hand_over(None)
            with suppress(Exception):
                self._sending.result()

    def _flush(self) -> None:
        if self._gathered:
            self._hand_over(bytes(self._gathered))
            self._gathered.clear()

    def _hand_over(self, item: bytes | str | None) -> None:
        if self._queue is None:
            self._queue = asyncio.Queue()
            self._sending = self._loop.start(self._send(self._queue))
        self._loop.loop.call_soon_threadsafe(self._queue.put_nowait, item)

    def _wait(self) -> None:
        assert self._sending is not None
        try:
            self._sending.result()
        except asyncssh.Error as error:
            self._ended = True
            raise explained(error, "A new object", self._location) from error
        except Exception:
            self._ended = True
            raise

    async def _send(self, queue: asyncio.Queue[bytes | str | None]) -> None:
        """Write what comes; a name publishes it, None throws it away."""
        pieces = _Pieces(queue)
        async with self._files.session("A new object") as session:
            path = await self._files.write(session, pieces.read())
            await self._end(session, path, pieces.key)

    async def _end(self, session: Session, path: str, key: str | None) -> None:
        if key is None:
            await self._files.remove_quietly(session, path)
        else:
            await self._files.publish(session, path, key)

    def _require_open(self) -> None:
        if self._ended:
            raise StoreError("This upload has ended already.")


class _Pieces:
    """Bytes up to a key or None."""

    def __init__(self, queue: asyncio.Queue[bytes | str | None]) -> None:
        self._queue = queue
        self.key: str | None = None

    async def read(self) -> AsyncIterator[bytes]:
        while isinstance(item := await self._queue.get(), bytes):
            yield item
        self.key = item
