"""How a server goes, as Prometheus reads it."""

from __future__ import annotations

from collections import Counter
from typing import Any

from sqlalchemy import ColumnElement, Connection, func, select
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from safehold.core.clock import NS, Clock
from safehold.server.devices import health
from safehold.server.schema import accounts, devices, jobs, notices, objects, repositories, reservations, trash

PREFIX = "safehold_"
METHODS = ("GET", "HEAD", "PUT", "POST", "PATCH", "DELETE")


class Requests:
    """What this process was asked; counted in its event loop alone."""

    def __init__(self) -> None:
        self.answered: Counter[tuple[str, int]] = Counter()
        self.seconds = 0.0
        self.taken = 0
        self.given = 0
        self.under_way = 0

    def lines(self) -> list[str]:
        """As Prometheus reads them."""
        lines = _family("requests_total", "counter", "Requests that were answered")
        for (method, status), count in sorted(self.answered.items()):
            lines.append(f'{PREFIX}requests_total{{method="{method}",status="{status}"}} {count}')
        lines += _gauge("request_seconds_total", "Seconds that they took", round(self.seconds, 6), "counter")
        lines += _gauge("request_bytes_total", "Bytes of bodies that came in", self.taken, "counter")
        lines += _gauge("response_bytes_total", "Bytes of bodies that went out", self.given, "counter")
        return lines + _gauge("requests_under_way", "Requests that are being answered", self.under_way)


class Counting:
    """Counts requests on their way through."""

    def __init__(self, app: ASGIApp, requests: Requests, clock: Clock) -> None:
        self.app = app
        self.clock = clock
        self.requests = requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        counted = self.requests
        status = 499  # unless an answer begins

        async def counting_in() -> Message:
            message = await receive()
            counted.taken += len(message.get("body", b""))
            return message

        async def counting_out(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            counted.given += len(message.get("body", b""))
            await send(message)

        began = self.clock.monotonic()
        counted.under_way += 1
        try:
            await self.app(scope, counting_in, counting_out)
        finally:
            counted.under_way -= 1
            counted.seconds += self.clock.monotonic() - began
            method = scope["method"] if scope["method"] in METHODS else "other"
            counted.answered[method, status] += 1


def stored(connection: Connection, now_ns: int) -> list[str]:
    """What the database says, of all servers that share it."""

    def total(column: Any, *where: ColumnElement[bool]) -> int:
        return int(connection.execute(select(func.coalesce(column, 0)).where(*where)).scalar_one())

    lines = _gauge("accounts", "Accounts", total(func.count(accounts.c.id)))
    lines += _gauge("repositories", "Repositories", total(func.count(repositories.c.id)))
    lines += _gauge("stored_bytes", "Bytes that are stored", total(func.sum(repositories.c.bytes)))
    lines += _gauge("snapshots", "Snapshots that are stored", total(func.sum(repositories.c.snapshots)))
    lines += _gauge("trash_bytes", "Bytes in the trash", total(func.sum(trash.c.size)))
    lines += _gauge("reserved_bytes", "Bytes set aside for uploads", total(func.sum(reservations.c.size)))
    lines += _gauge("damaged_objects", "Objects that a scrub found lost or changed", total(func.count(), objects.c.damage > ""))
    lines += _gauge("devices", "Devices that may come in", total(func.count(devices.c.id), devices.c.revoked.is_(False)))
    lines += _gauge("devices_overdue", "Devices whose backup has not come", total(func.count(), health.overdue(now_ns)))
    lines += _gauge("notices_waiting", "Notices that were not mailed", total(func.count(), notices.c.sent_ns == 0))
    lines += _family("job_ended_seconds", "gauge", "When each job ended last, since 1970")
    rows = list(connection.execute(select(jobs).order_by(jobs.c.name)))
    lines += [f'{PREFIX}job_ended_seconds{{job="{row.name}"}} {row.ended_ns / NS:.0f}' for row in rows]
    lines += _family("job_failed", "gauge", "Whether each job failed last time")
    return lines + [f'{PREFIX}job_failed{{job="{row.name}"}} {int(bool(row.error))}' for row in rows]


def _family(name: str, kind: str, told: str) -> list[str]:
    return [f"# HELP {PREFIX}{name} {told}", f"# TYPE {PREFIX}{name} {kind}"]


def _gauge(name: str, told: str, value: float, kind: str = "gauge") -> list[str]:
    return [*_family(name, kind, told), f"{PREFIX}{name} {value}"]
