"""What an SSH server answers when it fails, as what a user should know of the store.

SFTP 3, which nearly every server speaks, says "failure" for a full disk and for a name that is taken alike; who meets that looks
again (``files.py``).
"""

from __future__ import annotations

import asyncio

import asyncssh

from safehold.core.errors import ObjectExists, ObjectMissing, SafeholdError, StoreError, StoreFull, StoreRefused, StoreUnreachable

MISSING = (asyncssh.SFTPNoSuchFile, asyncssh.SFTPNoSuchPath)
BROKEN = (
    asyncssh.ConnectionLost,
    asyncssh.DisconnectError,
    asyncssh.ChannelOpenError,
    asyncssh.SFTPConnectionLost,
    asyncssh.SFTPNoConnection,
    asyncssh.SFTPBadMessage,
    OSError,
    EOFError,
    asyncio.TimeoutError,
)
"""After one of these the connection is given up."""


def explained(error: BaseException, key: str, location: str) -> SafeholdError:
    """The error to raise for ``error``, met at the object ``key`` of a store."""
    if isinstance(error, SafeholdError):
        return error
    if isinstance(error, MISSING):
        return ObjectMissing(f"{key} is missing in the store {location}.")
    if isinstance(error, asyncssh.SFTPFileAlreadyExists):
        return ObjectExists(f"{key} already exists in the store {location}.")
    if isinstance(error, (asyncssh.SFTPNoSpaceOnFilesystem, asyncssh.SFTPQuotaExceeded)):
        return full(key, location)
    if isinstance(error, (asyncssh.SFTPPermissionDenied, asyncssh.SFTPWriteProtect)):
        return StoreRefused(f"The server does not permit it: {key} in the store {location}.", "Check who owns the folder there.")
    if isinstance(error, asyncssh.SFTPError) and not isinstance(error, BROKEN):
        reason = str(error.reason or error).rstrip(".")
        return StoreError(f"{key} in the store {location}: the server says: {reason}.", "Look into the server's log.")
    return unreachable(error, location)


def full(key: str, location: str) -> StoreFull:
    """No room there."""
    return StoreFull(f"The store {location} is full; {key} could not be stored.", "Free some space there, and run it again.")


def unreachable(error: BaseException, location: str) -> SafeholdError:
    """The server is not there, or not any more, or does not let us in."""
    if isinstance(error, (asyncssh.PermissionDenied, asyncssh.HostKeyNotVerifiable)):
        return StoreRefused(
            f"The server does not let this user in: {location}.",
            "Check the user's name and key: `ssh` with the same name has to work without a question.",
        )
    if isinstance(error, asyncssh.DisconnectError) and not isinstance(error, asyncssh.ConnectionLost):
        reason = str(error.reason).rstrip(".")
        return StoreUnreachable(f"The server of the store {location} broke off: {reason}.", "Try again later.")
    if isinstance(error, OSError) and error.strerror:
        return StoreUnreachable(f"The store {location} cannot be reached: {error.strerror}.", "Check host, port and network.")
    return StoreUnreachable(f"The connection to the store {location} broke off.", "Check the network.")
