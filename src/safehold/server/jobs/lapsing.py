"""What is forgotten because its time is over."""

from __future__ import annotations

from sqlalchemy import delete

from safehold.core.clock import NS
from safehold.server import limits
from safehold.server.asking import IDLE_NS, LONGEST_NS
from safehold.server.devices import restoring
from safehold.server.objects import quota
from safehold.server.schema import browser_sessions, challenges, enrolments, invitations, notices, reports
from safehold.server.service import Service
from safehold.server.shares import ledger
from safehold.server.shares.ledger import SESSION_NS
from safehold.server.shares.tables import share_sessions

DAY_NS = 86400 * NS
ENROLMENT_NS = DAY_NS
"""A request for admission lapses after a quarter of an hour, and stays readable as such for a day."""
NOTICE_NS = 90 * DAY_NS
SHARE_NS = 90 * DAY_NS
"""After its end a share and who came to it can still be looked up."""
REPORT_NS = 800 * DAY_NS
"""Two years of backups can be looked back on."""
INVITATION_NS = 30 * DAY_NS
"""After it has expired."""


def forget(service: Service) -> str:
    """Remove reservations, tries, sessions, challenges, invitations, notices, restore jobs and the like that count no more."""
    now = service.clock.now_ns()
    gone = 0
    with service.database.write() as connection:
        quota.forget_lapsed(connection, now)
        limits.forget_old(connection, now)
        gone += len(ledger.forget_old(connection, now - SHARE_NS)) + restoring.forget(connection, now)
        for where in (
            enrolments.c.created_ns < now - ENROLMENT_NS,
            browser_sessions.c.used_ns < now - IDLE_NS,
            browser_sessions.c.created_ns < now - LONGEST_NS,
            challenges.c.expires_ns < now,
            share_sessions.c.created_ns < now - SESSION_NS,
            invitations.c.expires_ns < now - INVITATION_NS,
            notices.c.made_ns < now - NOTICE_NS,
            reports.c.received_ns < now - REPORT_NS,
        ):
            gone += connection.execute(delete(where.left.table).where(where)).rowcount
    return f"{gone} forgotten"
