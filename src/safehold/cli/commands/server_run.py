"""Run an online server: repositories for your machines, shares for your friends, a page for you.  It never holds a key.

Everything is kept in one folder, with a database and a certificate of its own, unless you say otherwise.  While nobody has an
account yet, it prints a code with which the first one, the owner's, is made in the browser.  docs/server.md explains the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safehold.core.errors import SafeholdError

if TYPE_CHECKING:
    from safehold.cli.call import Call
    from safehold.cli.parsing import Parser

USAGE = "[options]"
EXAMPLES = (
    "safehold server run --data /srv/safehold --listen 0.0.0.0:8443",
    "safehold server run --settings /etc/safehold-server.toml",
)
STATUSES: tuple[int, ...] = ()


def arguments(parser: Parser) -> None:
    """Declare what it takes."""
    add = parser.add_argument
    add("--settings", metavar="F", default="", help="read settings from this TOML file; options go before it")
    add("--data", metavar="DIR", default="", help="the folder of the server ($SAFEHOLD_SERVER_DATA)")
    add("--listen", metavar="ADDRESS:PORT", default="", help="where to listen (127.0.0.1:8443)")
    add("--store", metavar="PLACE", default="", help="where the bytes lie: s3://BUCKET/PREFIX, say (in the server's folder)")
    add("--public-url", metavar="URL", default="", help="how it is reached from outside, behind a proxy")
    add("--certificate", metavar="F", default="", help="PEM file of a certificate (one of its own is made)")
    add("--private-key", metavar="F", default="", help="PEM file of the certificate's key")
    add("--no-tls", action="store_true", help="speak plain HTTP, on loopback or behind a proxy that speaks TLS")


def run(call: Call) -> int:
    """Run it."""
    try:
        from safehold.server import app, running
        from safehold.server.accounts import people
    except ImportError as error:
        raise SafeholdError(
            f"The server's libraries are not installed ({error.name}).", "pip install 'safehold[server]'"
        ) from error
    from safehold.cli.server_settings import settings_of

    settings = settings_of(call)
    service = running.prepare(settings)
    sock = running.listen(settings)
    setup = app.Setup()
    scheme = "https" if settings.tls else "http"
    host, _ = settings.address
    port = sock.getsockname()[1]
    shown = settings.origin or f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"
    fingerprint = running.fingerprint(running.certificate(settings)[0]) if settings.tls else ""
    with service.database.read() as connection:
        first = people.is_empty(connection)
    lines = [f"Safehold's server listens at {shown}"]
    lines += [f"Certificate (SHA-256): {fingerprint}"] if fingerprint else []
    lines += [f"Nobody has an account yet. Make yours there with the setup code {setup.code}"] if first else []
    value = {"event": "listening", "url": shown, "fingerprint": fingerprint, "setup_code": setup.code if first else ""}
    call.out.result("\n".join(lines), value)
    running.serve(service, sock, setup)
    return 0
