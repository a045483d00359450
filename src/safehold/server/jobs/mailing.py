"""Sending notices by mail.  A server that dies between sending and writing that down sends once more."""

from __future__ import annotations

import smtplib
import ssl
from collections.abc import Callable
from email.message import EmailMessage
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

from sqlalchemy import Row, select, update

from safehold.core.clock import NS
from safehold.core.errors import UsageError
from safehold.server.schema import notices, people
from safehold.server.service import Service
from safehold.server.settings import Settings

SECONDS = 30
BATCH = 50
TRIES = 10
AGAIN_NS = 600 * NS
"""Between two tries; while one server tries, no other does."""


class Sender(Protocol):
    """Somebody who takes mails."""

    def send_message(self, msg: EmailMessage) -> object:
        """Take one.  Raises ``smtplib.SMTPException``, ``OSError``."""

    def quit(self) -> object:
        """End."""


def connect(settings: Settings) -> Sender:
    """The mail server that is set.  Raises ``UsageError``, ``smtplib.SMTPException``, ``OSError``."""
    url = urlsplit(settings.mail_url)
    if url.scheme not in ("smtp", "smtps") or not url.hostname:
        raise UsageError("mail_url is no address of a mail server.", "Write it as smtps://USER:PASSWORD@HOST:465.")
    context = ssl.create_default_context()
    made: smtplib.SMTP
    if url.scheme == "smtps":
        made = smtplib.SMTP_SSL(url.hostname, url.port or 465, timeout=SECONDS, context=context)
    else:
        made = smtplib.SMTP(url.hostname, url.port or 587, timeout=SECONDS)
        made.ehlo()
        if made.has_extn("starttls"):
            made.starttls(context=context)
        elif url.username:
            made.close()
            raise UsageError("The mail server offers no TLS, and a password would go over the net in clear.", "Use smtps://.")
    if url.username:
        made.login(unquote(url.username), unquote(url.password or ""))
    return made


def send(service: Service, connecting: Callable[[Settings], Sender] = connect) -> str:
    """Send what waits."""
    if not service.settings.mail_url:
        return "no mails are set up"
    rows = _claim(service)
    if not rows:
        return "0 sent"
    sender = connecting(service.settings)
    sent = 0
    try:
        for row in rows:
            sender.send_message(_mail(service.settings, row))
            with service.database.write() as connection:
                now = service.clock.now_ns()
                connection.execute(update(notices).where(notices.c.id == row.id).values(sent_ns=now))
            sent += 1
    finally:
        sender.quit()
    return f"{sent} sent"


def _claim(service: Service) -> list[Row[Any]]:
    """Notices that are to be sent, for this server alone for a while."""
    now = service.clock.now_ns()
    waiting = (notices.c.sent_ns == 0) & (notices.c.tries < TRIES) & (notices.c.tried_ns <= now - AGAIN_NS)
    query = select(notices, people.c.email).join(people, people.c.id == notices.c.person)
    with service.database.write() as connection:
        some = query.where(waiting, people.c.email != "").order_by(notices.c.made_ns).limit(BATCH)
        rows = list(connection.execute(some.with_for_update(skip_locked=True, of=notices)))
        mine = notices.c.id.in_([row.id for row in rows])
        connection.execute(update(notices).where(mine).values(tried_ns=now, tries=notices.c.tries + 1))
    return rows


def _mail(settings: Settings, row: Row[Any]) -> EmailMessage:
    made = EmailMessage()
    made["From"] = settings.mail_from
    made["To"] = row.email
    made["Subject"] = f"Safehold: {' '.join(row.subject.split())}"
    made["Message-ID"] = f"<{row.id}@safehold>"
    made["Auto-Submitted"] = "auto-generated"
    made.set_content(f"{row.body}\n\n{settings.origin}\n".rstrip() + "\n")
    return made
