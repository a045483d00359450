"""Parts of tests that are not run as root."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

ID = 4242
"""User and group."""


def as_user(function: Callable[[], object]) -> int:
    """Run something as an ordinary user in a child; its exit status, 0 if nothing was raised."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.setgroups([ID])
            os.setgid(ID)
            os.setuid(ID)
            function()
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def let_in(folder: Path) -> None:
    """Let other users pass to a test's folder."""
    for above in folder.parents:
        if Path(tempfile.gettempdir()) in above.parents:
            above.chmod(0o755)
