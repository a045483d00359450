"""The connection to an SSH server: made when it is needed, made again after it broke, with several SFTP sessions in it.

A session is one process at the other end, which does one thing after the other; so a flush that takes long keeps only those
waiting who share its session.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import asyncssh

from safehold.core.errors import SafeholdError, StoreRefused, StoreUnreachable, UsageError
from safehold.storage.sftp.address import Address
from safehold.storage.sftp.failures import BROKEN, unreachable

CONNECT_SECONDS = 15
LOGIN_SECONDS = 60
ALIVE_SECONDS = 15
ALIVE_MISSED = 4
"""After a minute without an answer the connection is given up."""
FAST_CIPHERS = "^aes128-gcm@openssh.com,aes256-gcm@openssh.com"
"""Tried first, unless the user's file names ciphers: here twice to three times as fast as the others that servers have."""


class Session:
    """An SFTP session, and how much is being done in it."""

    def __init__(self, client: asyncssh.SFTPClient) -> None:
        self.client = client
        self.load = 0


class Connection:
    """All methods belong to the event loop.  ``most``: sessions at once; ``ask``: asks a person for a passphrase."""

    def __init__(self, address: Address, most: int, ask: Callable[[str], str] | None) -> None:
        self._address = address
        self._most = most
        self._ask = ask
        self._asked: dict[str, str] = {}
        self._connection: asyncssh.SSHClientConnection | None = None
        self._sessions: list[Session] = []
        self._changing = asyncio.Lock()

    @asynccontextmanager
    async def session(self) -> AsyncIterator[Session]:
        """The session with least to do.  Raises ``StoreUnreachable``, ``StoreRefused``; after a fault of the network the
        connection is given up, and the next one who asks makes a new one."""
        session = await self._pick()
        session.load += 1
        try:
            yield session
        except BROKEN as error:
            # A refused name or a full disk is an SFTPError as well, but none of these.
            self._drop(session)
            raise unreachable(error, self._address.location) from error
        finally:
            session.load -= 1

    def is_open(self, session: Session) -> bool:
        """Whether a session still belongs to the connection of now."""
        return session in self._sessions

    async def close(self) -> None:
        """End it, politely if that is quick."""
        connection, self._connection, self._sessions = self._connection, None, []
        if connection is not None:
            connection.close()
            with suppress(asyncio.TimeoutError, *BROKEN):
                await asyncio.wait_for(connection.wait_closed(), 5)

    def _drop(self, session: Session) -> None:
        if session in self._sessions:
            connection, self._connection, self._sessions = self._connection, None, []
            if connection is not None:
                connection.abort()

    async def _pick(self) -> Session:
        async with self._changing:
            if self._connection is None or self._connection.is_closed():
                self._sessions = []
                self._connection = await self._connect()
            idlest = min(self._sessions, key=lambda each: each.load, default=None)
            if idlest is None or (idlest.load and len(self._sessions) < self._most):
                idlest = await self._begin(self._connection) or idlest
        if idlest is None:
            raise StoreUnreachable(
                f"The server of {self._address.location} has no SFTP.", "Check that its configuration has the subsystem sftp."
            )
        return idlest

    async def _begin(self, connection: asyncssh.SSHClientConnection) -> Session | None:
        """One more session; None if the server does not want to give one."""
        try:
            session = Session(await connection.start_sftp_client())
        except (asyncssh.ChannelOpenError, asyncssh.SFTPError):
            self._most = max(1, len(self._sessions))
            return None
        except BROKEN as error:
            self._connection, self._sessions = None, []
            raise unreachable(error, self._address.location) from error
        self._sessions.append(session)
        return session

    async def _connect(self) -> asyncssh.SSHClientConnection:
        refused: list[asyncssh.SSHKey] = []
        options = self._options(refused)
        try:
            return await asyncssh.connect(self._address.host, options=options)
        except (asyncssh.HostKeyNotVerifiable, asyncssh.KeyExchangeFailed) as error:
            raise self._untrusted(error, refused, options) from error
        except (asyncssh.KeyImportError, asyncssh.KeyEncryptionError) as error:
            raise self._key_refused(error) from error
        except BROKEN as error:
            raise unreachable(error, self._address.location) from error

    def _options(self, refused: list[asyncssh.SSHKey]) -> asyncssh.SSHClientConnectionOptions:
        """What the user's ssh files say, and what is the same for everybody.  ``refused`` gets the key of an unknown server."""

        class Client(asyncssh.SSHClient):
            def validate_host_public_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:
                refused.append(key)
                return False

        given: dict[str, Any] = {"config": [str(file)] if (file := _config_file()).is_file() else None}
        given |= {"host": self._address.host, "client_factory": Client, "passphrase": self._passphrase}
        if self._address.user:
            given["username"] = self._address.user
        if self._address.port:
            given["port"] = self._address.port
        if not _names_ciphers():
            given["encryption_algs"] = FAST_CIPHERS
        given |= {"connect_timeout": CONNECT_SECONDS, "login_timeout": LOGIN_SECONDS}
        given |= {"keepalive_interval": ALIVE_SECONDS, "keepalive_count_max": ALIVE_MISSED}
        try:
            options = asyncssh.SSHClientConnectionOptions(**given)
            if options.known_hosts is None:  # `UserKnownHostsFile none` means that nobody is known, not that anybody will do
                options = asyncssh.SSHClientConnectionOptions(options, known_hosts=b"#\n")
        except (asyncssh.KeyImportError, asyncssh.KeyEncryptionError) as error:
            raise self._key_refused(error) from error
        except (asyncssh.ConfigParseError, ValueError, OSError) as error:
            raise UsageError(f"The ssh configuration does not work for {self._address.location}: {error}.") from error
        return options

    def _passphrase(self, file: str) -> str | None:
        """Of a key file, asked for once; None leaves the key out."""
        if self._ask is None:
            return None
        if file not in self._asked:
            self._asked[file] = self._ask(f"Passphrase of the key {file}: ")
        return self._asked[file]

    def _key_refused(self, error: Exception) -> SafeholdError:
        return StoreRefused(
            f"The key for {self._address.location} cannot be used: {str(error).rstrip('.')}.",
            "Add it to the ssh agent (`ssh-add`), where its passphrase is asked for once.",
        )

    def _untrusted(
        self, error: Exception, refused: list[asyncssh.SSHKey], options: asyncssh.SSHClientConnectionOptions
    ) -> SafeholdError:
        """The server's key is not the one that is known, or none is known."""
        host, port = self._address.host, options.port
        where = f"-p {port} {options.host}" if port != asyncssh.DEFAULT_PORT else options.host
        if not refused:
            reason = str(getattr(error, "reason", error)).rstrip(".")
            return StoreRefused(f"The server {host} was not trusted: {reason}.", f"Compare its key with `ssh-keyscan {where}`.")
        print_ = refused[0].get_fingerprint()
        known = asyncssh.match_known_hosts(_known_hosts(options), options.host_key_alias or options.host, "", port)[0]
        if known:
            return StoreRefused(
                f"The server {host} has the key {print_}, not the one that is known; somebody may be in between.",
                f"Ask its owner whether it was set up anew; then `ssh-keygen -R` forgets the old key, and `ssh {where}` asks.",
            )
        return StoreRefused(
            f"The server {host} is not known; its key is {print_} ({refused[0].get_algorithm()}).",
            f"Compare that with what its owner says; if it is right, `ssh-keyscan {where} >> ~/.ssh/known_hosts` accepts it.",
        )


def _config_file() -> Path:
    """The user's own; what is system-wide is not read."""
    return (Path("~") / ".ssh" / "config").expanduser()


def _names_ciphers() -> bool:
    try:
        return "ciphers" in _config_file().read_text(encoding="utf-8", errors="replace").lower()
    except OSError:
        return False


def _known_hosts(options: asyncssh.SSHClientConnectionOptions) -> Any:
    """The files that were looked into."""
    if options.known_hosts:
        return options.known_hosts
    default = (Path("~") / ".ssh" / "known_hosts").expanduser()
    return str(default) if default.is_file() else b"#\n"
