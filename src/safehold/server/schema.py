"""The tables, but for those of shares (``shares.tables``).

Times are nanoseconds since 1970 by the server's clock, sizes bytes.  Ids have 32 hexadecimal digits.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

METADATA = MetaData()
ID = String(32)


def owned(table: str, column: str, *, primary_key: bool = False, index: bool = False) -> Column[str]:
    """A column with the id of a row of ``table``, with which this one goes."""
    to = ForeignKey(f"{table}.id", ondelete="CASCADE")
    return Column(column, ID, to, nullable=False, primary_key=primary_key, index=index)


accounts = Table(
    "accounts",
    METADATA,
    Column("id", ID, primary_key=True),
    Column("name", String(63), nullable=False, unique=True),
    Column("kind", String(16), nullable=False),  # person, organisation
    Column("quota", BigInteger, nullable=False, default=0),  # 0: no limit
    Column("used", BigInteger, nullable=False, default=0),
    Column("created_ns", BigInteger, nullable=False),
)

reservations = Table(
    "reservations",
    METADATA,
    Column("id", ID, primary_key=True),
    owned("accounts", "account", index=True),
    Column("size", BigInteger, nullable=False),
    Column("made_ns", BigInteger, nullable=False),
)

people = Table(
    "people",
    METADATA,
    Column("id", ID, ForeignKey("accounts.id", ondelete="CASCADE"), primary_key=True),
    Column("email", String(254), nullable=False, default=""),
    Column("is_operator", Boolean, nullable=False, default=False),  # of the server
    Column("disabled", Boolean, nullable=False, default=False),
    Column("salt", LargeBinary(16), nullable=False),
    Column("login_hash", String(200), nullable=False),  # Argon2id of the login key
    Column("totp_secret", String(64), nullable=False, default=""),
    Column("totp_step", BigInteger, nullable=False, default=0),  # the last one that was used
    Column("exchange_public", LargeBinary(32), nullable=False, default=b""),
    Column("exchange_sealed", LargeBinary, nullable=False, default=b""),  # by the wrap key, which the server never sees
    Column("language", String(8), nullable=False, default=""),
)

recovery_codes = Table(
    "recovery_codes",
    METADATA,
    owned("people", "person", primary_key=True),
    Column("hash", String(64), primary_key=True),
)

passkeys = Table(
    "passkeys",
    METADATA,
    Column("id", String(400), primary_key=True),  # the credential's, base64url
    owned("people", "person"),
    Column("public_key", LargeBinary, nullable=False),
    Column("sign_count", BigInteger, nullable=False, default=0),
    Column("label", String(100), nullable=False, default=""),
    Column("created_ns", BigInteger, nullable=False),
)

memberships = Table(
    "memberships",
    METADATA,
    owned("accounts", "organisation", primary_key=True),
    owned("people", "person", primary_key=True),
    Column("role", String(16), nullable=False),  # owner, admin, member
)

browser_sessions = Table(
    "browser_sessions",
    METADATA,
    Column("id", String(64), primary_key=True),  # SHA-256 of what the cookie holds
    owned("people", "person", index=True),
    Column("created_ns", BigInteger, nullable=False),
    Column("used_ns", BigInteger, nullable=False),
    Column("stepped_up_ns", BigInteger, nullable=False, default=0),
    Column("address", String(64), nullable=False, default=""),
    Column("agent", String(200), nullable=False, default=""),
)

repositories = Table(
    "repositories",
    METADATA,
    Column("id", ID, primary_key=True),
    owned("accounts", "account"),
    Column("name", String(63), nullable=False),
    Column("created_ns", BigInteger, nullable=False),
    Column("trash_days", Integer, nullable=False),
    Column("brake_released_ns", BigInteger, nullable=False, default=0),  # until then
    Column("bytes", BigInteger, nullable=False, default=0),
    Column("snapshots", BigInteger, nullable=False, default=0),
    Column("window_ns", BigInteger, nullable=False, default=0),  # when the day began in which these were deleted:
    Column("window_bytes", BigInteger, nullable=False, default=0),
    Column("window_snapshots", BigInteger, nullable=False, default=0),
    Column("number", BigInteger, nullable=False, default=0),  # of the chain's last entry
    Column("head", String(64), nullable=False, default=""),
    UniqueConstraint("account", "name"),
)

grants = Table(
    "grants",
    METADATA,
    owned("repositories", "repository", primary_key=True),
    owned("people", "person", primary_key=True),
    Column("role", String(16), nullable=False),
)

devices = Table(
    "devices",
    METADATA,
    Column("id", ID, primary_key=True),
    owned("repositories", "repository", index=True),
    Column("name", String(100), nullable=False),
    Column("exchange_public", LargeBinary(32), nullable=False, default=b""),
    Column("signing_public", LargeBinary(32), nullable=False, default=b""),
    Column("system", String(100), nullable=False, default=""),
    Column("created_ns", BigInteger, nullable=False),
    Column("seen_ns", BigInteger, nullable=False, default=0),
    Column("every_seconds", BigInteger, nullable=False, default=86400),  # how often a backup is expected
    Column("due_ns", BigInteger, nullable=False, default=0),  # the next one; 0: none is expected
    Column("told_ns", BigInteger, nullable=False, default=0),  # the due time of which it was told that it has passed
    Column("reported_ns", BigInteger, nullable=False, default=0),
    Column("done_ns", BigInteger, nullable=False, default=0),  # the last whole backup
    Column("status", String(16), nullable=False, default=""),  # of the last report
    Column("plan", Text, nullable=False, default=""),  # what the device is to do: JSON, which means nothing to the server
    Column("plan_ns", BigInteger, nullable=False, default=0),
    Column("offer", LargeBinary, nullable=False, default=b""),  # that it takes restore jobs: signed and sealed
    Column("revoked", Boolean, nullable=False, default=False),
    Index("devices_by_due", "repository", "due_ns"),
)

restores = Table(
    "restores",
    METADATA,
    Column("id", ID, primary_key=True),
    owned("repositories", "repository", index=True),
    owned("devices", "device", index=True),
    Column("actor", String(40), nullable=False),
    Column("created_ns", BigInteger, nullable=False),
    Column("expires_ns", BigInteger, nullable=False),
    Column("changed_ns", BigInteger, nullable=False),
    Column("job", LargeBinary, nullable=False),  # sealed to the device
    Column("state", String(16), nullable=False, default="waiting"),  # running, done, incomplete, failed, cancelled
    Column("percent", Integer, nullable=False, default=0),
    Column("code", String(40), nullable=False, default=""),  # of a failure
    Column("report", LargeBinary, nullable=False, default=b""),  # the device's, signed and sealed
)

tokens = Table(
    "tokens",
    METADATA,
    Column("id", ID, primary_key=True),
    Column("hash", String(64), nullable=False),  # SHA-256 of the secret
    owned("people", "person", index=True),
    Column("device", ID, ForeignKey("devices.id", ondelete="CASCADE"), nullable=True),
    Column("repository", ID, ForeignKey("repositories.id", ondelete="CASCADE"), nullable=True),  # null: all that the person may
    Column("scope", String(16), nullable=False),
    Column("label", String(100), nullable=False, default=""),
    Column("networks", Text, nullable=False, default=""),  # separated by spaces; empty: from everywhere
    Column("created_ns", BigInteger, nullable=False),
    Column("expires_ns", BigInteger, nullable=False, default=0),  # 0: never
    Column("used_ns", BigInteger, nullable=False, default=0),
    Column("address", String(64), nullable=False, default=""),
    Column("stepped_up_ns", BigInteger, nullable=False, default=0),
    Column("revoked", Boolean, nullable=False, default=False),
)

enrolments = Table(
    "enrolments",
    METADATA,
    Column("id", ID, primary_key=True),
    Column("secret_hash", String(64), nullable=False),  # of what the device polls with
    Column("name", String(100), nullable=False),
    Column("system", String(100), nullable=False, default=""),
    Column("exchange_public", LargeBinary(32), nullable=False),
    Column("signing_public", LargeBinary(32), nullable=False),
    Column("address", String(64), nullable=False),
    Column("created_ns", BigInteger, nullable=False),
    Column("state", String(16), nullable=False, default="waiting"),  # waiting, approved, refused, fetched
    Column("sealed", LargeBinary, nullable=False, default=b""),  # token and place, for the device alone
    Column("key_sealed", LargeBinary, nullable=False, default=b""),  # the repository's key file, for the device alone
)

objects = Table(
    "objects",
    METADATA,
    owned("repositories", "repository", primary_key=True),
    Column("key", String(200), primary_key=True),
    Column("size", BigInteger, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("received_ns", BigInteger, nullable=False),
    Column("actor", String(40), nullable=False),  # who put it: d:DEVICE or p:PERSON
    Column("checked_ns", BigInteger, nullable=False, default=0),  # when its bytes were hashed last
    Column("damage", String(16), nullable=False, default=""),  # lost, changed
    Column("locked_ns", BigInteger, nullable=False, default=0),  # by the bucket, until then
    Index("objects_by_check", "checked_ns"),
    Index("objects_by_lock", "locked_ns"),
    Index("objects_by_damage", "repository", "damage"),
)

segments = Table(
    "segments",
    METADATA,
    owned("repositories", "repository", primary_key=True),
    Column("segment", LargeBinary(16), primary_key=True),
    Column("pack", String(64), primary_key=True),
    Column("start", BigInteger, nullable=False),
    Column("length", BigInteger, nullable=False),
    Index("segments_by_pack", "repository", "pack"),
)

trash = Table(
    "trash",
    METADATA,
    Column("id", ID, primary_key=True),
    owned("repositories", "repository"),
    Column("key", String(200), nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("received_ns", BigInteger, nullable=False),
    Column("actor", String(40), nullable=False),
    Column("deleted_ns", BigInteger, nullable=False),
    Column("deleted_by", String(40), nullable=False),
    Index("trash_by_time", "repository", "deleted_ns"),
)

chain = Table(
    "chain",
    METADATA,
    owned("repositories", "repository", primary_key=True),
    Column("number", BigInteger, primary_key=True),
    Column("time_ns", BigInteger, nullable=False),
    Column("what", String(16), nullable=False),  # put, delete, restore, quarantine
    Column("key", String(200), nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("actor", String(40), nullable=False),
    Column("hash", String(64), nullable=False),
)

reports = Table(
    "reports",
    METADATA,
    Column("id", ID, primary_key=True),
    owned("repositories", "repository"),
    Column("device", ID, ForeignKey("devices.id", ondelete="CASCADE"), nullable=True),
    Column("received_ns", BigInteger, nullable=False),
    Column("source", String(100), nullable=False, default=""),
    Column("status", String(16), nullable=False),  # done, incomplete, failed
    Column("snapshot", String(64), nullable=False, default=""),
    Column("files", BigInteger, nullable=False, default=0),
    Column("bytes", BigInteger, nullable=False, default=0),
    Column("added", BigInteger, nullable=False, default=0),
    Column("seconds", Integer, nullable=False, default=0),
    Column("errors", BigInteger, nullable=False, default=0),
    Column("message", String(300), nullable=False, default=""),
    Index("reports_by_time", "repository", "device", "received_ns"),
)

sources = Table(
    "sources",
    METADATA,
    owned("devices", "device", primary_key=True),
    Column("source", String(100), primary_key=True),
    Column("repository", ID, ForeignKey("repositories.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("shrunk_ns", BigInteger, nullable=False, default=0),  # since when its backups are suddenly small; 0: they are not
    Column("usual_files", BigInteger, nullable=False, default=0),  # before that
    Column("usual_bytes", BigInteger, nullable=False, default=0),
)

notices = Table(
    "notices",
    METADATA,
    Column("id", ID, primary_key=True),
    Column("cause", String(120), nullable=False),  # the same is told once
    owned("people", "person", index=True),
    Column("repository", ID, ForeignKey("repositories.id", ondelete="CASCADE"), nullable=True),
    Column("made_ns", BigInteger, nullable=False),
    Column("subject", String(200), nullable=False),
    Column("body", Text, nullable=False),
    Column("sent_ns", BigInteger, nullable=False, default=0),
    Column("tried_ns", BigInteger, nullable=False, default=0),
    Column("tries", Integer, nullable=False, default=0),
    UniqueConstraint("person", "cause"),
)

jobs = Table(
    "jobs",
    METADATA,
    Column("name", String(40), primary_key=True),
    Column("holder", ID, nullable=False, default=""),
    Column("lease_ns", BigInteger, nullable=False, default=0),  # until then nobody else begins it
    Column("began_ns", BigInteger, nullable=False, default=0),
    Column("ended_ns", BigInteger, nullable=False, default=0),
    Column("result", Text, nullable=False, default=""),
    Column("error", Text, nullable=False, default=""),
)

invitations = Table(
    "invitations",
    METADATA,
    Column("id", ID, primary_key=True),
    Column("hash", String(64), nullable=False, unique=True),  # SHA-256 of the code
    owned("people", "maker"),
    Column("label", String(100), nullable=False, default=""),
    Column("quota", BigInteger, nullable=False, default=0),
    Column("created_ns", BigInteger, nullable=False),
    Column("expires_ns", BigInteger, nullable=False),
    Column("used_by", String(63), nullable=False, default=""),
)

challenges = Table(
    "challenges",
    METADATA,
    Column("id", String(64), primary_key=True),  # SHA-256 of what the browser or session holds
    Column("purpose", String(16), nullable=False),  # register, login, step-up, openid
    Column("person", String(32), nullable=False, default=""),
    Column("secret", LargeBinary, nullable=False),
    Column("expires_ns", BigInteger, nullable=False),
)

identities = Table(
    "identities",
    METADATA,
    Column("issuer", String(200), primary_key=True),
    Column("subject", String(255), primary_key=True),
    owned("people", "person", index=True),
    Column("created_ns", BigInteger, nullable=False),
)

audit = Table(
    "audit",
    METADATA,
    Column("number", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    Column("time_ns", BigInteger, nullable=False),
    Column("actor", String(40), nullable=False),
    Column("account", String(32), nullable=False, default="", index=True),
    Column("repository", String(32), nullable=False, default="", index=True),
    Column("address", String(64), nullable=False, default=""),
    Column("what", String(40), nullable=False),
    Column("detail", Text, nullable=False, default=""),
    Column("hash", String(64), nullable=False),
)

attempts = Table(
    "attempts",
    METADATA,
    Column("bucket", String(200), primary_key=True),
    Column("window_ns", BigInteger, nullable=False),
    Column("tries", Integer, nullable=False),
)

facts = Table(
    "facts",
    METADATA,
    Column("name", String(40), primary_key=True),
    Column("value", LargeBinary, nullable=False),
)
