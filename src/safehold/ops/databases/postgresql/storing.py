"""How the files of a data directory are kept: what changes in place by page, all else by content."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from safehold.ops.databases.assembly import PLAIN, Assembly, Attributes
from safehold.repo.paged import BLOCK
from safehold.sources.postgresql import names

LEAST = 64 * 1024
"""Smaller files are kept whole."""
_STATUS = re.compile(rb"(?:pg_xact|pg_commit_ts|pg_multixact/[a-z]+)/[0-9A-F]+")


def is_paged(path: bytes, size: int) -> bool:
    """Whether a file of that size is kept by page: relations, and what is kept of transactions."""
    return size > LEAST and (names.relation(path) is not None or _STATUS.fullmatch(path) is not None)


def store(
    assembly: Assembly, path: bytes, size: int, read: Callable[[int], bytes], page: int, attributes: Attributes = PLAIN
) -> None:
    """A file of ``size`` bytes from ``read(most)``, which gives fewer only at its end."""
    if is_paged(path, size):
        assembly.paged(path, _blocks(read, size), size, page, attributes)
    else:
        assembly.stream(path, read, attributes, text=path == b"backup_manifest")


def _blocks(read: Callable[[int], bytes], size: int) -> Iterator[bytes]:
    for at in range(0, size, BLOCK):
        yield read(min(BLOCK, size - at))
