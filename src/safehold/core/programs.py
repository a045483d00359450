"""Programs that run beside this one, and end when what needs them fails or is interrupted, at whatever moment."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from safehold.core import interrupts


@contextmanager
def begun(
    command: Sequence[str], *, end: Callable[[subprocess.Popen[bytes]], None] = subprocess.Popen.kill, **options: Any
) -> Iterator[subprocess.Popen[bytes]]:
    """A program, which has ended afterwards.  ``end`` is called with it when the caller fails.

    ``options`` are those of ``Popen``.  Raises ``OSError`` where it cannot be run.
    """
    process = None
    try:
        with interrupts.held():
            process = subprocess.Popen(command, **options)
        yield process
    except BaseException:
        if process is not None:
            end(process)
        raise
    finally:
        if process is not None:
            with process:
                pass  # after a Ctrl-C, Popen itself waits a moment only; here it does not know of it
