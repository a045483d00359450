"""MariaDB, and MySQL, on the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safehold.core.errors import UsageError

if TYPE_CHECKING:
    from safehold.cli.call import Call
    from safehold.ops.backup.record import Result
    from safehold.ops.backup.run import BackupOptions
    from safehold.ops.databases.mariadb.backup import BaseOptions
    from safehold.sources.database_url import DatabaseUrl
    from safehold.sources.mariadb.connecting import Address

QUERY = ("socket", "host", "port", "user", "password", "defaults-file", "ssl-ca", "ssl-cert", "ssl-key")
OWN = ("parallel", "checkpoint", "system")


def address_of(call: Call, text: str) -> Address:
    """Where the server is.  Raises ``UsageError``, also for words in the URL's query that mean nothing."""
    from safehold.sources import database_url
    from safehold.sources.mariadb.connecting import address

    url = database_url.parse(text)
    unknown = [name for name in url.query if name not in (*QUERY, *OWN)]
    if unknown:
        raise UsageError(f"{unknown[0]!r} in the address means nothing.", f"There are: {', '.join((*QUERY, *OWN))}.")
    if url.database:
        raise UsageError(
            f"A base holds the whole server, not only {url.database}.",
            "Leave the name out; `safehold restore --extract` brings one database back, and --method dump backs one up.",
        )
    return address(url, call.environ)


def base_options(url: DatabaseUrl) -> BaseOptions:
    """What the URL's query says of how a base is taken."""
    from safehold.ops.databases.mariadb.backup import BaseOptions

    parallel = url.query.get("parallel", "2")
    if not parallel.isdigit() or not 1 <= int(parallel) <= 64:
        raise UsageError(f"parallel={parallel} in the address is no number from 1 to 64.", "2 is what is used without it.")
    checkpoint = url.query.get("checkpoint", "yes")
    if checkpoint not in ("yes", "no"):
        raise UsageError("checkpoint= in the address is yes or no.", "yes is what is used without it.")
    return BaseOptions(parallel=int(parallel), checkpoint=checkpoint == "yes", system=url.query.get("system", ""))


def back_up(call: Call, options: BackupOptions) -> Result:
    """Take a base."""
    from safehold.cli.databases import record_options
    from safehold.cli.sources import writable
    from safehold.ops.databases.mariadb.backup import back_up

    if call.values.method:
        raise UsageError(f"There is no method {call.values.method} for MariaDB.", "Leave it out, or write --method dump.")
    where = address_of(call, options.paths[0])
    base, record = base_options(where.url), record_options(options)
    return back_up(writable(call), where, base, record)
