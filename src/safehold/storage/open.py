"""From what a user writes for a repository's place to a store."""

from __future__ import annotations

import re
from pathlib import Path
from random import Random

from safehold.core.clock import Clock, SystemClock
from safehold.core.errors import UsageError
from safehold.storage.local import STALE_SECONDS, LocalStore
from safehold.storage.options import DEFAULT, StoreOptions
from safehold.storage.store import Store

_SCHEME = re.compile(r"([a-z][a-z0-9+.-]+):(.*)", re.DOTALL | re.IGNORECASE)
_BUCKETS = ("s3", "gs", "az")
_SSH = ("sftp", "ssh")
_LATER = {"http": "online servers", "https": "online servers"}


def is_distant(location: str) -> bool:
    """Whether a place is on another machine."""
    match = _SCHEME.fullmatch(location)
    return match is not None and match[1].lower() in (*_BUCKETS, *_SSH)


def open_store(location: str, create: bool = False, options: StoreOptions = DEFAULT) -> Store:
    """The store at ``location``: a path (``~`` is the home folder; a name with a colon may be written ``./a:b``), or
    ``s3://``, ``gs://``, ``az://``, ``sftp://``; or ``volumes:NAME[@VIEW]``, of the sets that ``options.state`` knows.

    Raises ``UsageError`` for a place of a kind that is not known, ``StoreUnreachable`` for a folder that is not there.
    """
    if not location:
        raise UsageError("The place of a repository is empty.", "Give a folder, such as /mnt/backup/safehold.")
    match = _SCHEME.fullmatch(location)
    kind = match[1].lower() if match else ""
    if match and kind in _BUCKETS:
        from safehold.storage.cloud.object_store import ObjectStore

        return ObjectStore(f"{kind}:{match[2]}", options)
    if match and kind in _SSH:
        from safehold.storage.sftp.sftp_store import SftpStore

        return SftpStore(f"sftp:{match[2]}", create, options)
    if match and kind == "volumes":
        from safehold.storage.volumes.opening import open_view

        return open_view(match[2], options.state)
    if match and kind in _LATER:
        raise UsageError(
            f"This version of Safehold can't yet reach {_LATER[kind]} ({match[1]}:...).",
            "Use a folder, s3://, gs://, az:// or sftp://.",
        )
    if match and match[2].startswith("//"):
        raise UsageError(f"{match[1]}: is no kind of place that Safehold knows.", "Use a folder, s3://, gs://, az:// or sftp://.")
    return LocalStore(Path(location).expanduser(), create, sweeps_after=STALE_SECONDS)


def patient(store: Store, options: StoreOptions, clock: Clock, random: Random | None = None) -> Store:
    """A store on another machine, made fit for use: it keeps to the limits of its options, and what may go well the next time is
    tried again."""
    from safehold.storage.wrappers.retry import FIRST_CONTACT, Patience, RetryStore
    from safehold.storage.wrappers.throttle import ThrottledStore

    if options.limit_upload or options.limit_download:
        store = ThrottledStore(store, clock, options.limit_upload, options.limit_download)
    random = random or Random()  # noqa: S311 (it only spreads the waits)
    return RetryStore(store, clock, random, Patience(), FIRST_CONTACT)


def open_patiently(location: str, create: bool = False, options: StoreOptions = DEFAULT, clock: Clock | None = None) -> Store:
    """The same as ``open_store``; a store on another machine is made fit for use."""
    store = open_store(location, create, options)
    return patient(store, options, clock or SystemClock()) if is_distant(location) else store
