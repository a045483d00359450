"""Making accounts, and finding them."""

from __future__ import annotations

import hashlib
import re
from typing import Any

from sqlalchemy import Connection, Row, delete, func, insert, select, update

from safehold.server.accounts import passwords
from safehold.server.errors import Exists, NotFound, Refusal
from safehold.server.ids import new_id
from safehold.server.schema import accounts, browser_sessions, grants, memberships, people, recovery_codes, repositories, tokens

NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_RESERVED = {"api", "s", "r", "static", "login", "setup", "enrol", "metrics", "health", "settings", "web", "ui"}
"""Names that are the beginnings of the server's own addresses."""


def check_name(name: str) -> None:
    """Raise ``Refusal`` unless this may name an account or a repository."""
    if not NAME.fullmatch(name) or name in _RESERVED:
        raise Refusal(
            f"{name[:80]!r} cannot be a name here.",
            "Names have a-z, 0-9 and -, begin and end with a letter or digit, and at most 63.",
        )


def is_empty(connection: Connection) -> bool:
    """Whether nobody has an account yet."""
    return connection.execute(select(func.count()).select_from(people)).scalar_one() == 0


def is_free(connection: Connection, name: str) -> bool:
    """Whether an account could have that name."""
    taken = connection.execute(select(accounts.c.id).where(accounts.c.name == name)).first() is not None
    return not taken and bool(NAME.fullmatch(name)) and name not in _RESERVED


def add(
    connection: Connection,
    name: str,
    salt: bytes,
    login_key: bytes,
    now_ns: int,
    *,
    quota: int = 0,
    operator: bool = False,
    email: str = "",
) -> str:
    """Make a person's account; its id.  Raises ``Exists``, ``Refusal``."""
    check_name(name)
    if len(salt) != passwords.SALT_SIZE or len(login_key) != passwords.LOGIN_KEY_SIZE:
        raise Refusal("The salt or the login key has a wrong length.", "docs/server.md says how they are made.")
    made = _account(connection, name, "person", quota, now_ns)
    values = {"id": made, "email": email, "salt": salt, "login_hash": passwords.stored(login_key), "is_operator": operator}
    connection.execute(insert(people).values(**values))
    return made


def add_organisation(connection: Connection, name: str, owner: str, quota: int, now_ns: int) -> str:
    """Make an organisation; its id.  Raises ``Exists``, ``Refusal``."""
    check_name(name)
    made = _account(connection, name, "organisation", quota, now_ns)
    connection.execute(insert(memberships).values(organisation=made, person=owner, role="owner"))
    return made


def _account(connection: Connection, name: str, kind: str, quota: int, now_ns: int) -> str:
    if connection.execute(select(accounts.c.id).where(accounts.c.name == name)).first() is not None:
        raise Exists(f"There is an account {name} already.", "Choose another name.")
    made = new_id()
    connection.execute(insert(accounts).values(id=made, name=name, kind=kind, quota=quota, created_ns=now_ns))
    return made


def find(connection: Connection, name: str) -> Row[Any] | None:
    """A person by name, with the account's columns."""
    query = select(people, accounts.c.name, accounts.c.quota, accounts.c.used).join(accounts, accounts.c.id == people.c.id)
    return connection.execute(query.where(accounts.c.name == name)).first()


def by_id(connection: Connection, person: str) -> Row[Any]:
    """A person by id.  Raises ``NotFound``."""
    query = select(people, accounts.c.name, accounts.c.quota, accounts.c.used).join(accounts, accounts.c.id == people.c.id)
    row = connection.execute(query.where(people.c.id == person)).first()
    if row is None:
        raise NotFound("There is no such person.")
    return row


def set_password(connection: Connection, person: str, salt: bytes, login_key: bytes, keep_session: str = "") -> None:
    """Give somebody another password; all their other browser sessions end."""
    values = {"salt": salt, "login_hash": passwords.stored(login_key)}
    connection.execute(update(people).where(people.c.id == person).values(**values))
    others = (browser_sessions.c.person == person) & (browser_sessions.c.id != keep_session)
    connection.execute(delete(browser_sessions).where(others))


def set_recovery_codes(connection: Connection, person: str, codes: list[str]) -> None:
    """Replace somebody's recovery codes."""
    connection.execute(delete(recovery_codes).where(recovery_codes.c.person == person))
    rows = [{"person": person, "hash": code_hash(person, code)} for code in codes]
    connection.execute(insert(recovery_codes), rows)


def use_recovery_code(connection: Connection, person: str, code: str) -> bool:
    """Whether that is one of their codes, which is then used up."""
    mine = (recovery_codes.c.person == person) & (recovery_codes.c.hash == code_hash(person, code))
    return connection.execute(delete(recovery_codes).where(mine)).rowcount == 1


def code_hash(person: str, code: str) -> str:
    """What is stored of a code: tries are limited, and each is good once."""
    return hashlib.sha256(f"{person} {passwords.plain_code(code)}".encode()).hexdigest()


def add_repository(connection: Connection, account: str, name: str, trash_days: int, now_ns: int) -> str:
    """Make room for a repository; its id here.  Raises ``Exists``, ``Refusal``."""
    check_name(name)
    taken = select(repositories.c.id).where(repositories.c.account == account, repositories.c.name == name)
    if connection.execute(taken).first() is not None:
        raise Exists(f"There is a repository {name} already.", "Choose another name.")
    made = new_id()
    values = {"id": made, "account": account, "name": name, "trash_days": trash_days, "created_ns": now_ns}
    connection.execute(insert(repositories).values(**values))
    return made


def repositories_of(connection: Connection, person: str) -> list[Row[Any]]:
    """The repositories that somebody may do something in."""
    mine = select(memberships.c.organisation).where(memberships.c.person == person, memberships.c.role.in_(("owner", "admin")))
    granted = select(grants.c.repository).where(grants.c.person == person)
    query = select(repositories, accounts.c.name.label("account_name")).join(accounts, accounts.c.id == repositories.c.account)
    may = (repositories.c.account == person) | repositories.c.account.in_(mine) | repositories.c.id.in_(granted)
    return list(connection.execute(query.where(may).order_by(accounts.c.name, repositories.c.name)))


def withdraw_all(connection: Connection, person: str) -> None:
    """End all sessions and tokens of somebody who may not come in any more."""
    connection.execute(delete(browser_sessions).where(browser_sessions.c.person == person))
    connection.execute(update(tokens).where(tokens.c.person == person).values(revoked=True))
