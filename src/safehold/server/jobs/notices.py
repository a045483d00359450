"""What people are told: written down once for each cause, shown in the browser, and mailed where mails are set up."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row, select, update

from safehold.core.clock import NS
from safehold.server.database import insert_new
from safehold.server.devices import health
from safehold.server.ids import new_id
from safehold.server.schema import accounts, devices, memberships, notices, people, repositories
from safehold.server.service import Service

BATCH = 500


def tell(connection: Connection, repository: Row[Any], cause: str, subject: str, body: str, now_ns: int) -> int:
    """Tell those who own a repository, unless they were told of this before; how many are told now."""
    told = 0
    for person in _owners(connection, repository.account):
        values = {"person": person, "repository": repository.id, "made_ns": now_ns, "subject": subject[:200], "body": body}
        told += insert_new(connection, notices, id=new_id(), cause=cause[:120], **values)
    return told


def _owners(connection: Connection, account: str) -> list[str]:
    """The person whose account it is, or who administers the organisation."""
    own = connection.execute(select(people.c.id).where(people.c.id == account)).scalars()
    may = (memberships.c.organisation == account) & memberships.c.role.in_(("owner", "admin"))
    return [*own, *connection.execute(select(memberships.c.person).where(may)).scalars()]


def path_of(connection: Connection, repository: Row[Any]) -> str:
    """ACCOUNT/NAME."""
    name = connection.execute(select(accounts.c.name).where(accounts.c.id == repository.account)).scalar_one()
    return f"{name}/{repository.name}"


def damage(connection: Connection, repository: Row[Any], key: str, found: str, now_ns: int) -> None:
    """Bytes were found lost or changed: told once a day for each repository."""
    path = path_of(connection, repository)
    body = f"An object of {path} is {found} on the server: {key}.\nThere may be more. Run `safehold check` and `safehold repair`."
    tell(connection, repository, f"damage {repository.id} {_day(now_ns)}", f"Damage in {path}", body, now_ns)


def braked(connection: Connection, repository: Row[Any], message: str, now_ns: int) -> None:
    """Somebody was stopped from deleting: told once a day for each repository."""
    path = path_of(connection, repository)
    body = f"{message}\nIf it was not you, change your password, and look at the devices and tokens of {path}."
    tell(connection, repository, f"brake {repository.id} {_day(now_ns)}", f"Deletions in {path} were stopped", body, now_ns)


def shrunk(connection: Connection, repository: Row[Any], device: str, source: str, now_ns: int) -> None:
    """The backups of a source are suddenly small."""
    path = path_of(connection, repository)
    body = (
        f"The last backup of {source or 'everything'} on {device} has less than half of what was usual before.\n"
        f"If files were lost there, older snapshots of {path} have them. Nothing is deleted till you release the brake."
    )
    tell(connection, repository, f"shrunk {device} {source} {now_ns}", f"Backups of {device} have shrunk", body, now_ns)


def _day(now_ns: int) -> int:
    return now_ns // (86400 * NS)


def overdue(service: Service) -> str:
    """Tell of devices whose backups did not come: once for each that was missed."""
    told = 0
    now = service.clock.now_ns()
    with service.database.read() as connection:
        late = health.overdue(now) & (devices.c.told_ns != devices.c.due_ns)
        rows = list(connection.execute(select(devices).where(late).order_by(devices.c.due_ns)))
    for row in rows:
        if health.told_after(row.due_ns, row.every_seconds) < now:
            told += _tell_of(service, row, now)
    return f"{told} told"


def _tell_of(service: Service, device: Row[Any], now: int) -> int:
    with service.database.write() as connection:
        same = (devices.c.id == device.id) & (devices.c.due_ns == device.due_ns) & (devices.c.told_ns != device.due_ns)
        if not connection.execute(update(devices).where(same).values(told_ns=device.due_ns)).rowcount:
            return 0  # a backup came just now, or another server has told
        repository = connection.execute(select(repositories).where(repositories.c.id == device.repository)).one()
        hours = (now - (device.done_ns or device.created_ns)) // NS // 3600
        path = path_of(connection, repository)
        since = f"for {hours // 24} days" if hours >= 48 else f"for {hours} hours"
        body = f"{device.name} has not backed up to {path} {since}. Is it on, and connected?"
        return tell(connection, repository, f"overdue {device.id} {device.due_ns}", f"{device.name} has no new backup", body, now)
