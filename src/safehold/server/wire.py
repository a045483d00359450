"""The connection below ASGI, where large bodies go in and out: ASGI hands them over in small pieces, and copies each.

``Protocol`` is uvicorn's own with a door in it: the application finds a ``Wire`` among the extensions of a request's scope,
and takes a body by the mebibyte, or has the system send a file without touching its bytes.  Under another server, or in a test
that calls the application itself, there is none, and ASGI's own way is taken.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager, suppress
from typing import Any

from httptools import HttpRequestParser
from starlette.requests import ClientDisconnect, Request
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from safehold.server.answers import threaded
from safehold.server.metrics import Requests
from safehold.storage.store import Buffer

_NAME = "safehold.wire"
_GOODBYE_SECONDS = 0.2
_PIECE = 1 << 20
"""Bytes that are sent before others get their turn."""


class Protocol(HttpToolsProtocol):
    """One connection."""

    _line: _Line | None = None

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        extensions: Any = {_NAME: Wire(self, self.cycle)}
        self.scope["extensions"] = extensions

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._line is not None:
            self._line.hang_up()

    def shutdown(self) -> None:
        super().shutdown()
        if self.transport.is_closing() and not self.transport.get_write_buffer_size():
            # Over TLS the other side is to say goodbye, too, which one that is idle does not do before it is used again.
            self.loop.call_later(_GOODBYE_SECONDS, self.transport.abort)

    def begin_anew(self) -> None:
        """What comes next is the head of a request: the body of the one before was taken past the parser."""
        self.parser = HttpRequestParser(self)
        with suppress(AttributeError):  # of an older httptools; as uvicorn does
            self.parser.set_dangerous_leniencies(lenient_data_after_close=True)

    @property
    def line(self) -> _Line | None:
        """The socket, if the system can send files over it; not over TLS."""
        if self._line is None and sys.platform == "linux" and self.scheme == "http" and not self.transport.is_closing():
            self._line = _Line(self.transport.get_extra_info("socket").fileno())
        return self._line


class _Body(asyncio.BufferedProtocol):
    """Stands in for a connection's protocol while a body comes, which goes straight into one buffer."""

    def __init__(self, protocol: Protocol, cycle: RequestResponseCycle, left: int, size: int) -> None:
        self._protocol = protocol
        self._cycle = cycle
        self._buffer = memoryview(bytearray(size))
        self._filled = 0
        self.left = left
        self.is_wanted = True
        """Else what comes is thrown away: the request was refused, and its answer is to reach who still sends."""

    def begin(self) -> None:
        """Take the connection over."""
        self._switch(self)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer[self._filled : self._filled + self.left]

    def buffer_updated(self, nbytes: int) -> None:
        self._filled += nbytes
        self.left -= nbytes
        if not self.left:
            self._switch(self._protocol)
        elif self._filled == len(self._buffer) and self.is_wanted:
            self._protocol.flow.pause_reading()
        elif not self.is_wanted:
            self._filled = 0
        if self.is_full:
            self._cycle.message_event.set()

    def _switch(self, to: asyncio.BaseProtocol) -> None:
        flow, transport = self._protocol.flow, self._protocol.transport
        flow.pause_reading()  # it takes effect when reading begins again
        if to is self._protocol:
            self._protocol.begin_anew()
            self._cycle.more_body = False
        transport.set_protocol(to)
        if not transport.is_closing():
            flow.resume_reading()

    @property
    def is_full(self) -> bool:
        """Whether there is something to take."""
        return not self.left or self._filled == len(self._buffer)

    def taken(self) -> memoryview:
        """What has come; good until ``go_on``."""
        return self._buffer[: self._filled]

    def go_on(self) -> None:
        """The buffer is free again."""
        self._filled = 0
        if self.left and not self._protocol.transport.is_closing():
            self._protocol.flow.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self._protocol.connection_lost(exc)

    def eof_received(self) -> None:
        self._protocol.eof_received()

    def pause_writing(self) -> None:
        self._protocol.pause_writing()

    def resume_writing(self) -> None:
        self._protocol.resume_writing()


class _Line:
    """A second descriptor of a socket: the first may be closed, and its number be another connection's, while a thread sends."""

    def __init__(self, descriptor: int) -> None:
        self._socket = socket.socket(fileno=os.dup(descriptor))
        self.descriptor = self._socket.fileno()
        self._is_busy = False
        self._is_lost = False
        self._waiter: asyncio.Future[None] | None = None

    @contextmanager
    def busy(self) -> Iterator[None]:
        """It stays open inside."""
        self._is_busy = True
        try:
            yield
        finally:
            self._is_busy = False
            if self._is_lost:
                self._socket.close()

    def hang_up(self) -> None:
        """The connection is gone."""
        self._is_lost = True
        self._wake()
        if not self._is_busy:
            self._socket.close()

    def cork(self, is_in: bool) -> None:
        """While it is in, what is too little for a whole packet waits for more, so that the head goes with the body."""
        if sys.platform == "linux" and not self._is_lost:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, is_in)

    async def writable(self) -> None:
        """Wait until it takes more, or is gone."""
        loop = asyncio.get_running_loop()
        self._waiter = loop.create_future()
        loop.add_writer(self.descriptor, self._wake)
        try:
            await self._waiter
        finally:
            loop.remove_writer(self.descriptor)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class Wire:
    """What a request can ask of its connection."""

    def __init__(self, protocol: Protocol, cycle: RequestResponseCycle) -> None:
        self._protocol = protocol
        self._cycle = cycle

    async def body(self, length: int, size: int) -> AsyncGenerator[memoryview]:
        """The body of ``length`` bytes in parts of ``size``, each good until the next one is asked for.

        Raises ``ClientDisconnect``.
        """
        cycle = self._cycle
        self._protocol.flow.pause_reading()
        if cycle.waiting_for_100_continue and not cycle.transport.is_closing():
            cycle.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            cycle.waiting_for_100_continue = False
        came, cycle.body = memoryview(bytes(cycle.body)), bytearray()
        coming = _Body(self._protocol, cycle, length - len(came), min(size, length)) if cycle.more_body else None
        if coming is not None:
            coming.begin()
        try:
            if came:
                yield came
            while coming is not None:
                while not coming.is_full and not cycle.disconnected:
                    cycle.message_event.clear()
                    await cycle.message_event.wait()
                if cycle.disconnected:
                    raise ClientDisconnect
                yield coming.taken()
                if not coming.left:
                    return
                coming.go_on()
        finally:
            if coming is not None:
                coming.is_wanted = False
                coming.go_on()

    @property
    def can_send_files(self) -> bool:
        """Whether ``send_file`` works here."""
        return self._protocol.line is not None

    @contextmanager
    def before_file(self) -> Iterator[None]:
        """What is written inside is given to the system at once, and goes out together with the file that follows."""
        transport = self._cycle.transport
        if self._protocol.line is not None:
            self._protocol.line.cork(True)
        transport.set_write_buffer_limits(high=0)
        try:
            yield
        finally:
            transport.set_write_buffer_limits()

    async def send_file(self, descriptor: int, offset: int, length: int) -> None:
        """Send a part of a file as the body, or the next part of it.  The head is written (``before_file``).

        Raises ``OSError`` if the file is shorter; returns when the other side is gone.
        """
        line, cycle = self._protocol.line, self._cycle
        if line is None:
            return
        at, end = offset, offset + length
        with line.busy():
            if cycle.transport.get_write_buffer_size():
                await self._protocol.flow.drain()
            while at < end and not cycle.disconnected:
                try:
                    at += await _some(line.descriptor, descriptor, at, min(end - at, _PIECE))
                except BlockingIOError:
                    await line.writable()
                except ConnectionError:
                    cycle.transport.abort()
                    return
        line.cork(False)
        cycle.expected_content_length -= at - offset


async def _some(to: int, file: int, offset: int, length: int) -> int:
    if sys.platform == "win32":
        raise NotImplementedError("no line is offered there")
    if is_cached(file, offset, length):
        sent = os.sendfile(to, file, offset, length)
    else:
        sent = await threaded(os.sendfile, to, file, offset, length)
    if not sent:
        raise OSError("A stored file is shorter than it was.")
    return sent


def is_cached(file: int, offset: int, length: int) -> bool:
    """Whether a part of a file is in memory, as far as its ends show, so that it can be sent without waiting for the disk."""
    return bool(read_cached(file, offset, 1)) and bool(read_cached(file, offset + length - 1, 1))


def read_cached(file: int, offset: int, length: int) -> bytes | None:
    """A part of a file; None if not all of it is in memory, or this system cannot tell."""
    if sys.platform == "linux":
        data = bytearray(length)
        with suppress(OSError):
            if os.preadv(file, [data], offset, os.RWF_NOWAIT) == length:
                return bytes(data)
    return None


def wire_of(request: Request) -> Wire | None:
    """The connection of a request, where it has one of ours."""
    found: Wire | None = request.scope.get("extensions", {}).get(_NAME)
    return found


async def body_of(request: Request, length: int, size: int) -> AsyncGenerator[Buffer]:
    """The body of a request, announced as ``length`` bytes, in parts of about ``size``, each good until the next is asked for.

    Raises ``ClientDisconnect``.
    """
    wire = wire_of(request)
    if wire is not None and "transfer-encoding" not in request.headers:
        counted: Requests = request.app.state.requests
        async with aclosing(wire.body(length, size)) as parts:
            async for part in parts:
                counted.taken += len(part)
                yield part
        return
    gathered = bytearray()
    async for block in request.stream():
        gathered += block
        if len(gathered) >= size:
            yield gathered
            gathered = bytearray()
    yield gathered
