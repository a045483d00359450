"""How a handler finds out who asks, and reaches the database: in threads."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import Connection
from starlette.requests import Request

from safehold.server import asking
from safehold.server.answers import service_of, threaded
from safehold.server.asking import Asker

R = TypeVar("R")


async def known(request: Request) -> Asker:
    """Who asks.  Raises ``NotAuthenticated``."""

    def look() -> Asker:
        service = service_of(request)
        now = service.clock.now_ns()
        with service.database.read() as connection:
            asker = asking.identify(connection, request, service.settings, now)
        if asker.is_unnoted:
            with service.database.write() as connection:
                asking.note_use(connection, asker, now)
        return asker

    return await threaded(look)


async def reading(request: Request, function: Callable[[Connection], R]) -> R:
    """Look something up, in a thread."""

    def work() -> R:
        with service_of(request).database.read() as connection:
            return function(connection)

    return await threaded(work)


async def writing(request: Request, function: Callable[[Connection, int], R]) -> R:
    """Change something, in a thread and one transaction; ``function`` is told the time."""

    def work() -> R:
        service = service_of(request)
        with service.database.write() as connection:
            return function(connection, service.clock.now_ns())

    return await threaded(work)
