"""How often something may be tried, by whom: counted in the database, so that it holds over several servers and restarts."""

from __future__ import annotations

from sqlalchemy import Connection, case, delete, select, update

from safehold.core.clock import NS
from safehold.server.database import insert_new
from safehold.server.errors import TooMany
from safehold.server.schema import attempts


def count(connection: Connection, bucket: str, now_ns: int, *, most: int, seconds: int) -> None:
    """Count one try.  Raises ``TooMany`` when there were ``most`` in the last ``seconds`` already.

    Windows are fixed: the first try begins one.  To be called in a
    transaction of its own, so that a failure that follows is counted, too.
    """
    insert_new(connection, attempts, bucket=bucket, window_ns=now_ns, tries=0)
    began, ended = attempts.c.window_ns, attempts.c.window_ns <= now_ns - seconds * NS
    values = {"window_ns": case((ended, now_ns), else_=began), "tries": case((ended, 1), else_=attempts.c.tries + 1)}
    counted = update(attempts).where(attempts.c.bucket == bucket).values(**values)
    row = connection.execute(counted.returning(attempts.c.window_ns, attempts.c.tries)).first()
    if row is not None and row.tries > most:
        raise _too_many(row.window_ns + seconds * NS - now_ns)


def require(connection: Connection, bucket: str, now_ns: int, *, most: int, seconds: int) -> None:
    """Raises ``TooMany`` as ``count`` would, and counts nothing: for what only counts if it goes wrong."""
    row = connection.execute(select(attempts).where(attempts.c.bucket == bucket)).first()
    if row is not None and row.tries >= most and now_ns - row.window_ns < seconds * NS:
        raise _too_many(row.window_ns + seconds * NS - now_ns)


def _too_many(left_ns: int) -> TooMany:
    left = left_ns // NS + 1
    when = f"{-(-left // 60)} minutes" if left > 90 else f"{left} seconds"
    return TooMany(f"That was tried too often; try again in {when}.", headers={"Retry-After": str(left)})


def clear(connection: Connection, bucket: str) -> None:
    """Forget the tries: it went well."""
    connection.execute(delete(attempts).where(attempts.c.bucket == bucket))


def forget_old(connection: Connection, now_ns: int) -> None:
    """Remove what no limit asks for any more."""
    connection.execute(delete(attempts).where(attempts.c.window_ns < now_ns - 24 * 3600 * NS))
