"""Make an account on a server of this machine, without a browser: for set-ups by hand or by a script.

The password comes from $SAFEHOLD_ACCOUNT_PASSWORD, or is asked for.  It is stretched here, and not stored.  The server may be
running meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safehold.core.errors import SafeholdError, UsageError

if TYPE_CHECKING:
    from safehold.cli.call import Call
    from safehold.cli.parsing import Parser

USAGE = "NAME [options]"
EXAMPLES = ("safehold server add-user anna --operator --data /srv/safehold",)
STATUSES: tuple[int, ...] = ()


def arguments(parser: Parser) -> None:
    """Declare what it takes."""
    add = parser.add_argument
    add("name", metavar="NAME", help="of the account: a-z, 0-9 and -")
    add("--operator", action="store_true", help="somebody who runs the server (the first account always is)")
    add("--email", metavar="ADDRESS", default="", help="where notices are sent")
    add("--settings", metavar="F", default="", help="read settings from this TOML file")
    add("--data", metavar="DIR", default="", help="the folder of the server ($SAFEHOLD_SERVER_DATA)")


def run(call: Call) -> int:
    """Make it."""
    try:
        from safehold.server import audit, running
        from safehold.server.accounts import people
        from safehold.server.database import alone
        from safehold.server.errors import Refusal
    except ImportError as error:
        raise SafeholdError(
            f"The server's libraries are not installed ({error.name}).", "pip install 'safehold[server]'"
        ) from error
    from safehold.cli.accounts import ask_password, new_login
    from safehold.cli.server_settings import settings_of

    values = call.values
    service = running.prepare(settings_of(call))
    try:
        people.check_name(values.name)
        salt, login = new_login(ask_password(call.environ, values.name, new=True))
        now = service.clock.now_ns()
        with service.database.write() as connection:
            alone(connection, "accounts")
            first = people.is_empty(connection)
            operator, quota = first or values.operator, 0 if first else service.settings.quota
            made = people.add(connection, values.name, salt, login, now, quota=quota, operator=operator, email=values.email[:254])
            audit.note(connection, now, "account.create", actor="s:command", account=made, name=values.name)
    except Refusal as error:
        raise UsageError(str(error), error.hint) from error
    finally:
        service.close()
    text = f"{values.name} has an account{' and runs the server' if operator else ''}."
    call.out.result(text, {"event": "account", "name": values.name, "operator": operator})
    return 0
