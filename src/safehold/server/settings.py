"""What can be set of a server: by options, by ``SAFEHOLD_SERVER_*`` variables, or in a TOML file."""

from __future__ import annotations

from pathlib import Path

import msgspec

from safehold.core.errors import ConfigError, UsageError

DEFAULT_PORT = 8443
MIN_TRASH_DAYS = 14
"""Days that what was deleted can be brought back, at least."""


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One server's."""

    data: Path
    """The folder of everything that is its own: database, objects, certificate."""
    listen: str = f"127.0.0.1:{DEFAULT_PORT}"
    """Address and port; an IPv6 address in brackets."""
    public_url: str = ""
    """How browsers and devices reach it, if not by what they asked for: behind a proxy."""
    database_url: str = ""
    """SQLAlchemy's URL; empty: SQLite in ``data``."""
    tls: bool = True
    certificate: Path | None = None
    """PEM, with its chain; none: one of its own, made in ``data``."""
    private_key: Path | None = None
    store: str = ""
    """Where the bytes lie: ``s3://BUCKET/PREFIX`` or another place of a store; empty: in ``data``."""
    trash_days: int = MIN_TRASH_DAYS
    quota: int = 0
    """Bytes of a new account; 0: no limit."""
    open_registration: bool = False
    """Whether strangers may make accounts."""
    trusted_proxies: tuple[str, ...] = ()
    """Addresses whose ``X-Forwarded-For`` is believed."""

    jobs: bool = True
    """Whether this server runs jobs; of several, at least one has to."""
    scrub_days: int = 30
    """Within so many days the bytes of every object are hashed anew."""
    direct_endpoint: str = ""
    """S3 alone: the address at which devices reach the service themselves, with packs; empty: all goes through the server."""
    lock_days: int = 0
    """S3 alone: for so many days, counted anew all the time, nobody removes what is stored, whatever keys they have."""
    mail_url: str = ""
    """How mails go out: ``smtps://USER:PASSWORD@HOST:465``, or ``smtp://HOST:587``, with STARTTLS where it is offered.
    Empty: none do."""
    mail_from: str = ""
    metrics_token: str = ""
    """Who shows it may read the metrics; without one, only who asks from this machine."""
    openid_issuer: str = ""
    """The address of an OpenID Connect provider; empty: none."""
    openid_client: str = ""
    openid_secret: str = ""
    openid_creates: bool = False
    """Whether who the provider vouches for, and who has no account yet, gets one."""

    def __post_init__(self) -> None:
        if self.trash_days < MIN_TRASH_DAYS:
            raise UsageError(
                f"The trash of a server keeps for {MIN_TRASH_DAYS} days at least, not {self.trash_days}.",
                "A shorter time would let a thief empty it before anybody looks.",
            )
        if self.scrub_days < 1:
            raise UsageError(f"A scrub of {self.scrub_days} days cannot be.", "Give the number of days, from 1 on.")
        if self.direct_endpoint and not (
            self.store.startswith("s3://") and self.direct_endpoint.startswith(("https://", "http://"))
        ):
            raise UsageError("direct_endpoint is the address of the S3 service where store is at s3://.", "Set store, too.")
        if self.lock_days < 0 or (self.lock_days and not self.store.startswith("s3://")):
            raise UsageError(
                "lock_days is for a store at s3://, whose bucket has object lock.", "Set store, too, or leave it out."
            )
        if self.mail_url and not self.mail_from:
            raise UsageError("Mails need a sender.", "Set mail_from.")

    @property
    def database(self) -> str:
        """SQLAlchemy's URL."""
        return self.database_url or f"sqlite:///{self.data / 'safehold.sqlite'}"

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens.  Raises ``UsageError``."""
        host, _, port = self.listen.rpartition(":")
        if not host or not port.isdecimal() or int(port) > 65535:
            raise UsageError(f"{self.listen!r} is no address to listen on.", "Write it as 127.0.0.1:8443 or [::]:443.")
        return host.strip("[]"), int(port)

    @property
    def origin(self) -> str:
        """Scheme, host and port as a browser says them, if set."""
        return self.public_url.rstrip("/")


def load(path: Path, **overriding: object) -> Settings:
    """Settings of a TOML file, with options laid over it.  Raises ``ConfigError``, ``UsageError``."""
    try:
        found = msgspec.toml.decode(path.read_bytes())
        return msgspec.convert({**found, **overriding}, Settings)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.", "Name the server's settings with --settings.") from error
    except msgspec.ValidationError as error:
        raise ConfigError(f"{path}: {error}.", "docs/server.md lists what can be set.") from error
    except msgspec.DecodeError as error:
        raise ConfigError(f"{path} is no TOML: {error}.", "docs/server.md has an example.") from error
