"""Errors as product text: what happened, to which thing, and what to do next.

One class per condition, each with a stable ``code`` (for scripts, in ``--json``) and an exit status (the table in
``docs/errors.md``, which a test holds against this module).  Raise them with one sentence naming the thing, and a hint
that says what to do.
"""

from __future__ import annotations

TYPE_CHECKING = False  # as typing has it, which takes longer to import than archive-push may take
if TYPE_CHECKING:
    from typing import ClassVar


class SafeholdError(Exception):
    """Base of every error that a user may see.  ``str(error)`` is one sentence; ``hint`` is the next step."""

    code: ClassVar[str] = "failed"
    status: ClassVar[int] = 1
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class UsageError(SafeholdError):
    """The command's words do not fit together, or name something that cannot be meant."""

    code = "usage"
    status = 2


class ConfigError(UsageError):
    """The configuration file is wrong; the message names file, line and key."""

    code = "config"


class SourceMissing(SafeholdError):
    """A source named on the command line is not there."""

    code = "source-missing"


class SourceIncomplete(SafeholdError):
    """A backup was finished, but something of its source could not be read."""

    code = "source-incomplete"
    status = 3


class CommandFailed(SafeholdError):
    """A ``command:`` source exited with a failure; nothing of it became a snapshot."""

    code = "command-failed"


class ImageError(SafeholdError):
    """An image copy is not there, is not whole, or was opened otherwise and can be rolled no further."""

    code = "image"


class ProgramMissing(SafeholdError):
    """A program of the database's own is needed on this machine, and is not there."""

    code = "program-missing"


class LogGap(SafeholdError):
    """A stretch of a database's log is missing; the message names the first file, and nothing is replayed over it."""

    code = "log-gap"


class DatabaseUnreachable(SafeholdError):
    """A database server does not answer, or does not let this user do what a backup needs."""

    code = "database-unreachable"


class DatabaseFailed(SafeholdError):
    """A database, or a program of its own, did not do what it was asked; nothing half done counts."""

    code = "database-failed"


class TargetError(SafeholdError):
    """The target of a restore cannot be written, or must not be."""

    code = "target"


class WrongDatabase(TargetError):
    """The target of a restore holds another database, or one that is running."""

    code = "wrong-database"


class LogConflict(SafeholdError):
    """A file of a database's log differs from one of the same name that is archived, or is of another database."""

    code = "log-conflict"


class Unhealthy(SafeholdError):
    """A database's backups need attention: the log is not archived, waits too long, or has a gap."""

    code = "unhealthy"
    status = 16


class MountError(SafeholdError):
    """A snapshot cannot be mounted: no FUSE on this machine, or the mount point is unfit."""

    code = "mount"


class SnapshotMissing(SafeholdError):
    """No snapshot, or more than one, fits what was asked for."""

    code = "snapshot-missing"


class PathMissing(SafeholdError):
    """The snapshot is there, the path in it is not."""

    code = "path-missing"


class DamageError(SafeholdError):
    """Stored data is missing, or is not what was stored."""

    code = "damaged"
    status = 4


class FormatError(DamageError):
    """Stored bytes do not follow the format (``docs/format/``)."""

    code = "format"


class LogDamaged(DamageError):
    """A file of a database's log is damaged where it waits to be uploaded."""

    code = "log-damaged"


class RepositoryMissing(SafeholdError):
    """There is no repository at that place."""

    code = "repository-missing"
    status = 10


class RepositoryExists(SafeholdError):
    """There already is a repository at that place."""

    code = "repository-exists"
    status = 11


class RepositoryTooNew(SafeholdError):
    """The repository needs a newer Safehold."""

    code = "repository-too-new"


class WrongKey(SafeholdError):
    """The passphrase, key file or recovery key opens no key slot of this repository."""

    code = "wrong-key"
    status = 12


class ShareGone(SafeholdError):
    """A share was taken back, has expired, or was opened as often as it may be."""

    code = "share-gone"


class NotPermitted(SafeholdError):
    """The key is right, and may not do that (a writer reading, a reader pruning)."""

    code = "not-permitted"
    status = 13


class RolledBack(DamageError):
    """The store shows an older state of the repository than this machine has already seen."""

    code = "rolled-back"


class DeletionRefused(SafeholdError):
    """A prune would delete more than its budget, or what it lists does not add up; nothing was deleted."""

    code = "deletion-refused"


class SessionExpired(SafeholdError):
    """A prune took this session for dead; what it builds upon may be gone, so it must not commit."""

    code = "session-expired"
    retryable = True


class StoreError(SafeholdError):
    """A store operation failed for good."""

    code = "store"


class ObjectMissing(StoreError):
    """The store has no object of that key."""

    code = "object-missing"


class ObjectExists(StoreError):
    """The store already has an object of that key, and objects are never overwritten."""

    code = "object-exists"


class StoreRefused(StoreError):
    """The store does not let this user in, or not do that; or it does not prove to be the machine that it should be."""

    code = "store-refused"
    status = 13


class StoreUnreachable(StoreError):
    """The store does not answer, or is not there (a drive that is not plugged in)."""

    code = "store-unreachable"
    status = 14
    retryable = True


class Waiting(StoreUnreachable):
    """No volume that this needs is here; it is waited for, and nothing has failed."""

    code = "waiting"


class StoreFull(StoreError):
    """The store is full, or over its quota."""

    code = "store-full"
    status = 15


class PlanBusy(SafeholdError):
    """A run of that plan goes on, or an agent runs here already."""

    code = "plan-busy"


class Interrupted(SafeholdError):
    """The user stopped it (SIGINT, SIGTERM)."""

    code = "interrupted"
    status = 130


def by_code(code: str) -> type[SafeholdError]:
    """The class of errors with that code."""
    waiting = [SafeholdError]
    while waiting:
        found = waiting.pop()
        if found.code == code:
            return found
        waiting += found.__subclasses__()
    return SafeholdError
