"""Child processes: copies of this one that answer its questions, because Python uses one core a process.

A child is forked, so it has all that was opened before, keys and mapped index among it, and nothing secret passes through
a pipe.  It answers one question after the other over a socket of its own, which also carries open descriptors.  It ends when
the socket closes, when it is told to (``stop``), and with the process that made it, however that ends.
"""

from __future__ import annotations

import gc
import os
import signal
import socket
import struct
import sys
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress

assert sys.platform == "linux"

from safehold.core import threads
from safehold.core.errors import SafeholdError
from safehold.sources.files.system import system

MOST_DESCRIPTORS = 200
"""With one question; the system takes 253."""
_HEADER = struct.Struct("<Q")
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

Answerer = Callable[[bytes, list[int]], bytes]
"""Answers a question; the descriptors that came with it are its own, to close."""


class Stopped(BaseException):
    """Raised in a child, wherever it is, when it has to end."""


def useful(waiting: int = 0) -> int:
    """How many children help: one for each core this process may use; 0 where a fork would not be safe, or be no help.

    A fork copies only the thread that calls it, so nobody else may hold a lock then: there are no other threads but
    ``waiting`` ones, of which the caller knows that they hold none.
    """
    cores = len(os.sched_getaffinity(0))
    if cores < 2 or threads.disturbing() > 1 + waiting or not threads.is_main():
        return 0
    return min(cores, 8)


class Child:
    """One child process.  ``ask`` may be called from any thread, by one at a time."""

    _socket: socket.socket

    def __init__(self, answer: Answerer, elder: Sequence[Child] = ()) -> None:
        """Fork.  ``answer`` is called in the child for each question.  ``elder``: children that were forked before."""
        ours, theirs = socket.socketpair()
        not_its_own: list[socket.socket] = [ours, *(child._socket for child in elder)]
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            parent = os.getpid()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # of other threads: see ``useful``
                self._pid = os.fork()
            if self._pid == 0:
                _live(theirs, not_its_own, answer, parent)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()
        self._socket = ours

    def ask(self, question: bytes, descriptors: Sequence[int] = ()) -> bytes:
        """The child's answer.  Raises ``SafeholdError`` if it has died."""
        try:
            _send(self._socket, question, descriptors)
            answer = _receive(self._socket)
        except OSError:
            answer = None
        if answer is None:
            raise SafeholdError("A process that was started to help was killed.", "Run it again.")
        return answer[0]

    def close(self) -> None:
        """Let the child end when it has answered, and wait for it."""
        self._socket.close()
        if self._pid:
            with suppress(ChildProcessError):
                os.waitpid(self._pid, 0)
            self._pid = 0

    def stop(self) -> None:
        """End the child now; what it is about is cleaned up as far as an error would be."""
        if self._pid:
            with suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGTERM)


def _live(channel: socket.socket, others: Sequence[socket.socket], answer: Answerer, parent: int) -> None:
    """A child's whole life.  Never returns: what the parent has to do at its end is not the child's business."""
    status = 1
    try:
        _detach(parent)
        gc.freeze()  # looking at what was there before the fork would copy it
        for other in others:
            other.close()
        while (asked := _receive(channel)) is not None:
            _send(channel, answer(*asked), ())
        status = 0
    except (Stopped, OSError):
        pass  # the parent is gone, or does not want to know
    finally:
        os._exit(status)


def _detach(parent: int) -> None:
    """Keep what interrupts the parent from interrupting the child too: the parent says when to stop."""
    for number in _SIGNALS:
        signal.signal(number, _stop if number == signal.SIGTERM else signal.SIG_IGN)
    system.end_with_parent(signal.SIGTERM)
    system.keep_memory()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    if os.getppid() != parent:
        raise Stopped


def _stop(number: int, frame: object) -> None:
    signal.signal(number, signal.SIG_IGN)  # once is enough; cleaning up is not to be cut short
    raise Stopped


def _send(channel: socket.socket, message: bytes, descriptors: Sequence[int]) -> None:
    """The length with the descriptors, then the message."""
    socket.send_fds(channel, [_HEADER.pack(len(message))], descriptors)
    channel.sendall(message)


def _receive(channel: socket.socket) -> tuple[bytes, list[int]] | None:
    """A message and its descriptors; None once the other end is closed."""
    header, descriptors, _, _ = socket.recv_fds(channel, _HEADER.size, MOST_DESCRIPTORS, socket.MSG_CMSG_CLOEXEC)
    if not header:
        return None
    message = bytearray(_HEADER.unpack(header)[0])
    view = memoryview(message)
    while view:
        count = channel.recv_into(view)
        if not count:
            return None
        view = view[count:]
    return bytes(message), list(descriptors)
