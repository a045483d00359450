"""A repository's store on another machine, from the configuration and the options of one call."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from safehold.core.errors import UsageError

if TYPE_CHECKING:
    from safehold.cli.call import Call
    from safehold.cli.settings import Named
    from safehold.storage.options import StoreOptions
    from safehold.storage.store import Store

CACHED = ("snapshots/",)
"""What is kept of a distant store: small objects that every look needs.  The index has a cache of its own."""
CACHE_BYTES = 64 << 20


def options(call: Call, place: Named) -> StoreOptions:
    """What was said of the store.  Raises ``UsageError``."""
    from safehold.storage.options import StoreOptions

    return StoreOptions(
        endpoint=place.endpoint,
        region=place.region,
        connections=place.connections,
        limit_upload=_rate("--limit-upload", call.values.limit_upload or place.limit_upload),
        limit_download=_rate("--limit-download", call.values.limit_download or place.limit_download),
        state=call.cache / "stores",
        ask=_ask if sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty() else None,
        environ=call.environ,
    )


def open_distant(call: Call, place: Named, *, create: bool) -> Store:
    """The store, retried and throttled."""
    from safehold.storage.open import open_patiently

    return open_patiently(place.location, create, options(call, place), call.clock)


def cached(call: Call, store: Store) -> Store:
    """The store with a local cache in front."""
    import hashlib

    from safehold.storage.wrappers.cache import CachedStore

    name = hashlib.sha256(store.location.encode()).hexdigest()[:32]
    return CachedStore(store, call.cache / "objects" / name, CACHED, CACHE_BYTES, call.clock)


def warn_unless_exclusive(call: Call, store: Store) -> None:
    """Say plainly if a store that was written to does not refuse to replace an object."""
    from safehold.core.events import Warn

    if not store.capabilities.exclusive:
        call.out.report(
            Warn(
                code="store-replaces",
                message=f"The store {store.location} replaces an object when it is told to: it is not append-only.",
                hint="Backups are right there, but who has its credentials can destroy them; docs/stores.md tells of safer ones.",
            )
        )


def _rate(name: str, text: str) -> float:
    from safehold.cli.archive_push import parse_size

    if not text:
        return 0
    try:
        return float(parse_size(text))
    except UsageError as error:
        raise UsageError(f"{name} {text} is no rate.", "Write bytes a second as 500K or 2M.") from error


def _ask(question: str) -> str:
    import getpass

    return getpass.getpass(question)
