"""The spool that a command means, and the uploader of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from safehold.cli.archive_push import parse_size, spool_folder
from safehold.core.errors import SafeholdError
from safehold.sources.postgresql.spool import LIMIT, LOCK, SEGMENTS, Spool

if TYPE_CHECKING:
    from safehold.cli.call import Call
    from safehold.core.events import Warn
    from safehold.ops.databases.postgresql.uploading import Uploader


def spool_of(call: Call) -> Spool:
    """The spool: by the option, the environment, the configuration, or this user's."""
    settings = {"spool": call.settings.spool, "spool-limit": call.settings.spool_limit}
    limit = getattr(call.values, "spool_limit", "") or settings["spool-limit"]
    return Spool(spool_folder(call.values.spool, call.environ, settings), parse_size(limit) if limit else LIMIT)


def spool_here(call: Call) -> Spool | None:
    """The spool of this machine, where there is one."""
    settings = {"spool": call.settings.spool}
    folder = spool_folder(getattr(call.values, "spool", ""), call.environ, settings)
    return Spool(folder) if os.path.isdir(os.path.join(folder, SEGMENTS)) else None


def spool_value(call: Call) -> dict[str, object] | None:
    """The spool of this machine for JSON, where there is one."""
    from safehold.cli.render import words
    from safehold.ops.databases.postgresql.status import waiting

    spool = spool_here(call)
    if spool is None:
        return None
    found = waiting(spool)
    state = found.state
    return {
        "folder": found.folder,
        "system": found.system,
        "files": found.files,
        "bytes": found.bytes,
        "oldest": words.iso(found.oldest_ns) if found.oldest_ns else None,
        "last_commit": words.iso(state.committed_ns) if state.committed_ns else None,
        "error": state.error or found.refused or None,
        "gap": state.gap or None,
    }


def warn_of_spool(call: Call, system: str) -> list[Warn]:
    """Report what is wrong with this machine's spool of a cluster, which needs no key that can read."""
    from safehold.ops.databases.postgresql.status import spool_warnings, waiting

    spool = spool_here(call)
    if spool is None or spool.system()[0] != system:
        return []
    found = spool_warnings(waiting(spool), call.clock.now_ns())
    for each in found:
        call.out.report(each)
    return found


@contextmanager
def only_uploader(spool: Spool) -> Iterator[None]:
    """Hold the lock of the spool's uploader.  Raises ``SafeholdError`` if another has it, or the spool takes no file."""
    from safehold.storage.filesystem import hold

    try:
        os.makedirs(spool.segments, mode=0o700, exist_ok=True)
        descriptor = os.open(spool.path(LOCK), os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise SafeholdError(
            f"The spool {spool.folder} cannot be written: {error.strerror}.", "Name another with --spool, or mend that disk."
        ) from error
    try:
        if not hold(descriptor):
            pid = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() if hasattr(os, "pread") else "?"
            raise SafeholdError(
                f"An uploader of the spool {spool.folder} is at work already (process {pid}).", "It takes everything along."
            )
        os.truncate(spool.path(LOCK), 0)
        with suppress(OSError):  # its disk may be full: that is when it has to be emptied
            os.write(descriptor, f"{os.getpid()}\n".encode())
        yield
    finally:
        os.close(descriptor)


def uploader(call: Call, spool: Spool, **options: float | str) -> Uploader:
    """The uploader of a spool, into the repository of this call."""
    from safehold.ops.databases.postgresql.uploading import Uploader, UploadOptions

    chosen = UploadOptions(**options)  # type: ignore[arg-type]
    return Uploader(spool, call.repository, chosen, call.clock, call.out.report)
