"""Show every snapshot as read-only folders below DIR: by time, by id, by host and by tag.

It runs until DIR is unmounted (`umount DIR`, or `fusermount3 -u DIR`) or it is interrupted; with --background the terminal is
given back once the mount is there."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from safehold.core.errors import SafeholdError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from safehold.cli.call import Call
    from safehold.cli.parsing import Parser

USAGE = "DIR [options]"
EXAMPLES = ("safehold mount /mnt/snapshots", "safehold mount ~/snapshots --background")
STATUSES = (4, 13)


def arguments(parser: Parser) -> None:
    """Declare what it takes."""
    add = parser.add_argument
    add("folder", metavar="DIR", help="an empty folder; made if it is not there")
    add("-b", "--background", action="store_true", help="give the terminal back when the mount is there")
    add("--allow-other", action="store_true", help="other users may look in, too, as owners and modes allow")
    add("--nonempty", action="store_true", help="mount over a folder that holds something, which is hidden meanwhile")


def run(call: Call) -> int:
    """Serve it."""
    if sys.platform == "win32":
        raise UsageError("Windows has no FUSE, so nothing can be mounted.", "Use `safehold ls` and `safehold restore`.")
    else:  # so that a type checker passes over it there
        from safehold.views.background import in_background

        if not call.values.background:
            return _serve(call, lambda: call.out.note(f"The snapshots are below {call.values.folder}; Ctrl-C ends it."))
        return in_background(lambda ready: _guarded(call, ready))


def _serve(call: Call, mounted: Callable[[], None]) -> int:
    if sys.platform != "win32":
        from safehold.views.fuse import MountOptions, mount

        values = call.values
        options = MountOptions(allow_other=values.allow_other, nonempty=values.nonempty, mounted=mounted)
        mount(call.repository(), values.folder, options)
    return 0


def _guarded(call: Call, ready: Callable[[], None]) -> int:
    """In a process of its own, where nobody else turns errors into a sentence and a status."""
    from safehold.cli.main import fail

    try:
        return _serve(call, ready)
    except SafeholdError as error:
        return fail(error, call.values.json)
