"""Going on in the background once something is ready: a mount that gives the terminal back."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

assert sys.platform != "win32"  # there is no FUSE; the command refuses before it comes here


def in_background(serve: Callable[[Callable[[], None]], int]) -> int:
    """Run ``serve(ready)`` in a process of its own; the exit status: 0 as soon as it calls ``ready``, else its own.

    To be called before threads are started and before a repository is opened (libraries of stores don't survive a fork), so
    ``serve`` opens it, and may still ask for a passphrase and print errors.  When it calls ``ready`` it loses the terminal.
    Only where there is ``fork``: not on Windows.
    """
    told, tell = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(told)
        _be_child(serve, tell)
    os.close(tell)
    with open(told, "rb") as pipe:
        if pipe.read(1):
            return 0
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _be_child(serve: Callable[[Callable[[], None]], int], tell: int) -> None:
    status = 1
    try:
        status = serve(lambda: _leave_terminal(tell))
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _leave_terminal(tell: int) -> None:
    """A session of its own, no terminal, no folder held; then tell the parent."""
    os.setsid()
    os.chdir("/")
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)
    os.close(nowhere)
    os.write(tell, b"+")
    os.close(tell)
