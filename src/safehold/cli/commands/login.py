"""Let this machine use a repository on an online server.

Without more words the machine asks to be admitted: it shows six words, and whoever runs the repository types them in, in the
browser or with `safehold device approve`.  With --account you log in as yourself, with your password."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safehold.core.errors import SafeholdError, UsageError

if TYPE_CHECKING:
    from safehold.cli.call import Call
    from safehold.cli.logins import Logins
    from safehold.cli.parsing import Parser
    from safehold.storage.online.address import Address

USAGE = "URL [options]"
EXAMPLES = (
    "safehold login https://backup.example.org",
    "safehold login https://backup.example.org --account anna",
    "safehold login https://127.0.0.1:8443 --fingerprint 5F:0A:... --setup 1a2b-3c4d-5e6f-7a8b --account anna",
)
STATUSES = (13, 14)
POLL_SECONDS = 2.0


def arguments(parser: Parser) -> None:
    """Declare what it takes."""
    add = parser.add_argument
    add("place", metavar="URL", help="the server, or a repository on it")
    add("--account", metavar="NAME", default="", help="log in as this person, with the password ($SAFEHOLD_ACCOUNT_PASSWORD)")
    add("--code", metavar="DIGITS", default="", help="with --account: the code of your authenticator")
    add("--setup", metavar="CODE", default="", help="with --account: make the first account of a new server")
    add("--scope", metavar="ROLES", default="admin", help="with --account: what the token may do (admin)")
    add("--token-file", metavar="F", default="", help="use the token in this file")
    add("--fingerprint", metavar="SHA256", default="", help="trust the server by its certificate's fingerprint")
    add("--name", metavar="NAME", default="", help="what to call this device (this machine's name)")
    add("--trust-now", action="store_true", help="take what the server shows now as its true history")


def run(call: Call) -> int:
    """Log in."""
    from safehold.cli.logins import Logins
    from safehold.storage.online.address import parse
    from safehold.storage.online.api import plain_fingerprint

    values = call.values
    if bool(values.setup) and not values.account:
        raise UsageError("--setup makes an account; give its name with --account.", "For example: --account anna")
    address = parse(values.place, repository=False)
    fingerprint = plain_fingerprint(values.fingerprint) if values.fingerprint else ""
    logins = Logins(call.state, call.environ)
    if values.trust_now:
        return _trust(call, logins, address)
    if values.token_file:
        from safehold.cli.credentials import read_password_file

        return _keep(call, logins, address, read_password_file(values.token_file).strip(), fingerprint)
    if values.account:
        return _as_person(call, logins, address, fingerprint)
    return _ask_for_admission(call, logins, address, fingerprint)


def _as_person(call: Call, logins: Logins, address: Address, fingerprint: str) -> int:
    from safehold.cli.accounts import Session, ask_password
    from safehold.cli.logins import Login, connect

    values = call.values
    api = connect(address, Login(token="", fingerprint=fingerprint))
    session = Session(api)
    password = ask_password(call.environ, values.account, new=bool(values.setup))
    if values.setup:
        session.register(values.account, password, values.setup)
    else:
        session.log_in(values.account, password, call.environ, values.code)
    repository = f"{address.account}/{address.name}" if address.name else ""
    token = session.make_token(values.scope, _device_name(call), repository)
    session.end()
    return _keep(call, logins, address, token, fingerprint)


def _ask_for_admission(call: Call, logins: Logins, address: Address, fingerprint: str) -> int:
    from safehold.cli.enrolment import Enrolment
    from safehold.cli.logins import Login, connect

    enrolment = Enrolment.ask(connect(address, Login(token="", fingerprint=fingerprint)), _device_name(call))
    link = f"{address.server}/enrol#{enrolment.words}"
    call.out.result(
        f"Six words of this device: {enrolment.words}\n"
        f"Whoever runs the repository approves it: {link}\n"
        f"or, on a device that is trusted already: safehold device approve {enrolment.words}",
        {"event": "enrolment", "words": enrolment.words, "url": link, "id": enrolment.id},
    )
    while (given := enrolment.poll()) is None:
        call.clock.sleep(POLL_SECONDS)
    place = parse_place(address, given.repository)
    logins.remember(place.text, Login(token=given.token, fingerprint=fingerprint, device=given.device))
    key_file = ""
    if given.key:
        path = call.state / "keys" / f"{given.device}.key"
        from safehold.cli.logins import write_private

        write_private(path, given.key)
        key_file = str(path)
    enrolment.fetched()
    hint = f" with --key-file {key_file}" if key_file else ""
    text = f"This device is admitted. Back up to {place.text}{hint}."
    call.out.result(text, {"event": "login", "location": place.text, "device": given.device, "key_file": key_file})
    return 0


def parse_place(address: Address, repository: str) -> Address:
    """The repository that a device was admitted to.  Raises ``SafeholdError``."""
    account, _, name = repository.partition("/")
    if address.name and (address.account, address.name) != (account, name):
        raise SafeholdError(f"This device was admitted to {repository}, not to {address.account}/{address.name}.", "Ask again.")
    return address._replace(account=account, name=name)


def _keep(call: Call, logins: Logins, address: Address, token: str, fingerprint: str) -> int:
    """Try the token, then keep it."""
    from safehold.cli.logins import Login, connect

    login = Login(token=token, fingerprint=fingerprint)
    me = connect(address, login).call("GET", "/api/v1/me", dict[str, object])
    logins.remember(address.text, login)
    call.out.result(
        f"Logged in at {address.text} as {me['name']}.", {"event": "login", "location": address.text, "name": me["name"]}
    )
    return 0


def _trust(call: Call, logins: Logins, address: Address) -> int:
    from safehold.cli.logins import connect
    from safehold.storage.online.store import OnlineStore

    if not address.name:
        raise UsageError("--trust-now is for one repository.", "Name it behind the server: URL/ACCOUNT/REPOSITORY.")
    store = OnlineStore(address, connect(address, logins.find(address)))
    told = store.about()
    logins.forget_history(told.id)
    logins.saw(told.id, told.head)
    text = f"The history of {address.text} is taken as it is now, up to entry {told.head.number}."
    call.out.result(text, {"event": "trust-now", "location": address.text, "entry": told.head.number})
    return 0


def _device_name(call: Call) -> str:
    import platform

    return str(call.values.name or platform.node() or "device")
