"""What a backup is told: apart from the backup itself, since databases need only this of it."""

from __future__ import annotations

import msgspec

from safehold.repo.writer import WriterOptions


class BackupOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What to back up, and how."""

    paths: list[str]
    excludes: list[str] = []
    exclude_caches: bool = False
    one_file_system: bool = False
    tags: list[str] = []
    parent: str = ""
    """The id of the snapshot to recognise unchanged files by where this machine remembers nothing; empty: the newest one of
    the same host and paths."""
    force: bool = False
    paged: bool = False
    """Store every large file by page, not only those whose names say that they change in place."""
    page_size: int = 0
    """Of paged files, in bytes: a power of two; 0: 16 KiB."""
    writer: WriterOptions = WriterOptions()
    host: str = ""
    dry_run: bool = False
    """The store is one that changes nothing; what is remembered of the paths stays as it is, too."""
