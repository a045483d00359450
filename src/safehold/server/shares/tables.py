"""The tables of shares, of who opened them, and of requests for files; units as in ``schema``."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, ForeignKey, Index, Integer, LargeBinary, String, Table

from safehold.server.schema import ID, METADATA, owned

shares = Table(
    "shares",
    METADATA,
    Column("id", ID, primary_key=True),
    owned("repositories", "repository", index=True),
    Column("actor", String(40), nullable=False),
    Column("created_ns", BigInteger, nullable=False),
    Column("salt", LargeBinary(16), nullable=False),
    Column("needs_secret", Boolean, nullable=False),
    Column("cost", String(40), nullable=False, default=""),  # of the password: KiB, passes, lanes; empty: there is none
    Column("auth_hash", LargeBinary(32), nullable=False),
    Column("expires_ns", BigInteger, nullable=False, default=0),  # 0: never
    Column("most_opens", BigInteger, nullable=False, default=0),  # 0: no limit
    Column("opens", BigInteger, nullable=False, default=0),
    Column("opened_ns", BigInteger, nullable=False, default=0),
    Column("revoked_ns", BigInteger, nullable=False, default=0),
    Column("generation", BigInteger, nullable=False, default=-1),  # -1: nothing is published yet
)

share_objects = Table(
    "share_objects",
    METADATA,
    owned("shares", "share", primary_key=True),
    Column("generation", BigInteger, primary_key=True),
    Column("number", Integer, primary_key=True),  # 0: the manifest
    Column("key", String(200), nullable=False),
)

share_segments = Table(
    "share_segments",
    METADATA,
    owned("shares", "share", primary_key=True),
    Column("generation", BigInteger, primary_key=True),
    Column("segment", LargeBinary(16), primary_key=True),
)

given_shares = Table(
    "given_shares",
    METADATA,
    owned("shares", "share", primary_key=True),
    Column("person", ID, ForeignKey("people.id", ondelete="CASCADE"), primary_key=True, index=True),
    Column("sender", String(63), nullable=False),
    Column("sealed", LargeBinary, nullable=False),  # the link's secret, to the person's public key
    Column("given_ns", BigInteger, nullable=False),
)

share_sessions = Table(
    "share_sessions",
    METADATA,
    Column("id", String(64), primary_key=True),  # SHA-256 of what the friend was given
    owned("shares", "share", index=True),
    Column("generation", BigInteger, nullable=False),  # what was current when it was opened
    Column("created_ns", BigInteger, nullable=False),
    Column("address", String(64), nullable=False, default=""),
)

share_log = Table(
    "share_log",
    METADATA,
    Column("id", ID, primary_key=True),
    Column("share", ID, nullable=False),
    Column("time_ns", BigInteger, nullable=False),
    Column("address", String(64), nullable=False, default=""),
    Column("what", String(16), nullable=False),  # made, published, opened, refused, over, revoked, received
    Index("share_log_by_time", "share", "time_ns"),
)

requests = Table(
    "requests",
    METADATA,
    Column("id", ID, primary_key=True),
    owned("repositories", "repository", index=True),
    Column("actor", String(40), nullable=False),
    Column("created_ns", BigInteger, nullable=False),
    Column("public", LargeBinary(32), nullable=False),
    Column("note", String(200), nullable=False, default=""),
    Column("expires_ns", BigInteger, nullable=False, default=0),
    Column("most_files", BigInteger, nullable=False),
    Column("most_bytes", BigInteger, nullable=False),
    Column("files", BigInteger, nullable=False, default=0),  # those that were promised, too
    Column("bytes", BigInteger, nullable=False, default=0),
    Column("revoked_ns", BigInteger, nullable=False, default=0),
)
