"""What a walk leaves out, and what it trusts."""

from __future__ import annotations

import msgspec

from safehold.sources.files.exclude import Excluder


class WalkOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What a walk leaves out, and what it trusts."""

    excluder: Excluder
    exclude_caches: bool = False
    devices: frozenset[int] = frozenset()
    """The file systems that are entered (st_dev); empty: all."""
    skip: frozenset[tuple[int, int]] = frozenset()
    """(device, inode) of folders that are never entered: the repository, the local cache."""
    trusted: bool = False
    """Everything the memory refers to is known to be stored."""
    trusted_before: int = 0
    """What changed at or after this time (ns) may change again without showing it."""
    previous_before: int = 0
    """The same boundary of the snapshot before, for folders that only the repository remembers."""
    force: bool = False
    """Read every file, whatever is remembered."""
