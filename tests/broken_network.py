"""A network that fails when a test wants it to: a TCP proxy on loopback."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress
from types import TracebackType


class Proxy:
    """Hands bytes on to ``port``.  ``cut_after``: the connection that has got so many bytes from the server is cut, once.

    ``down``: while it is set, connections are cut and new ones refused.  ``swallow``: of the connection over which this text
    goes to the server the answer is thrown away and the connection cut, once.
    """

    def __init__(self, port: int) -> None:
        self._to = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.cut_after = 0
        self.swallow = b""
        self.cuts = 0
        self._down = False
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._stopping = False
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stopping = True
        self.down = True
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(10)

    @property
    def down(self) -> bool:
        return self._down

    @down.setter
    def down(self, value: bool) -> None:
        self._down = value
        if value:
            with self._lock:
                sockets = list(self._open)
            for each in sockets:
                with suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while not self._stopping:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self._down:
                client.close()
                continue
            server = socket.create_connection(("127.0.0.1", self._to))
            state = {"swallow": False}
            with self._lock:
                self._open |= {client, server}
            ends = threading.Barrier(2)
            for source, target, back in ((client, server, False), (server, client, True)):
                thread = threading.Thread(target=self._pump, args=(source, target, back, state, ends), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _pump(
        self, source: socket.socket, target: socket.socket, back: bool, state: dict[str, bool], ends: threading.Barrier
    ) -> None:
        count = 0
        with suppress(OSError):
            while data := source.recv(65536):
                if not back and self.swallow and self.swallow in data:
                    self.swallow, state["swallow"] = b"", True
                if back and state["swallow"]:
                    time.sleep(0.1)  # the whole answer
                    self.cuts += 1
                    break
                count += len(data)
                if back and self.cut_after and count >= self.cut_after:
                    target.sendall(data[: len(data) // 2])
                    self.cut_after = 0
                    self.cuts += 1
                    break
                target.sendall(data)
        for each in (source, target):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        with suppress(threading.BrokenBarrierError):
            ends.wait(10)
        with self._lock:
            self._open.discard(source)
        source.close()
