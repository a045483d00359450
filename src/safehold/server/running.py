"""Running a server: its folder, its certificate, its process."""

from __future__ import annotations

import datetime
import ipaddress
import os
import secrets
import socket
from pathlib import Path

import uvicorn
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from sqlalchemy import select
from starlette.applications import Starlette

from safehold.core.errors import SafeholdError
from safehold.server.app import Setup, build
from safehold.server.database import Database, insert_new
from safehold.server.objects import direct
from safehold.server.schema import facts
from safehold.server.service import Service
from safehold.server.settings import Settings
from safehold.server.wire import Protocol

_VALID_DAYS = 3650
"""Of a certificate of its own: clients know it by its fingerprint, so nothing is gained by a short life."""
BACKLOG = 1024
KEEP_ALIVE_SECONDS = 75
GRACE_SECONDS = 10
"""For requests that are under way when the server is told to stop."""


def prepare(settings: Settings) -> Service:
    """Open, or make, a server's folder and database.  Raises ``SafeholdError``."""
    try:
        settings.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        (settings.data / "repositories").mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise SafeholdError(
            f"The folder {settings.data} cannot be used: {error.strerror}.", "Name another with --data."
        ) from error
    database = Database(settings.database)
    database.prepare()
    service = Service(settings, database)
    if service.locks is not None:
        service.locks.require()
    if service.direct is not None:
        direct.require(service.bucket())
    return service


def server_secret(database: Database) -> bytes:
    """32 random bytes that all servers of one database share."""
    with database.write() as connection:
        insert_new(connection, facts, name="secret", value=secrets.token_bytes(32))
        return bytes(connection.execute(select(facts.c.value).where(facts.c.name == "secret")).scalar_one())


def certificate(settings: Settings) -> tuple[Path, Path]:
    """Certificate and key: those that were named, or some of its own, made once.  Raises ``SafeholdError``."""
    if settings.certificate and settings.private_key:
        return settings.certificate, settings.private_key
    if settings.certificate or settings.private_key:
        raise SafeholdError("A certificate needs its private key, and the other way round.", "Name both, or neither.")
    cert, key = settings.data / "certificate.pem", settings.data / "private-key.pem"
    if not cert.exists() or not key.exists():
        _make_certificate(cert, key, settings.address[0])
    return cert, key


def _make_certificate(cert: Path, key: Path, host: str) -> None:
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Safehold")])
    now = datetime.datetime.now(datetime.UTC)
    names: list[x509.GeneralName] = [x509.DNSName("localhost"), x509.DNSName(socket.gethostname() or "localhost")]
    addresses = {"127.0.0.1", "::1", *([] if host in ("0.0.0.0", "::") or not _is_address(host) else [host])}
    names += [x509.IPAddress(ipaddress.ip_address(each)) for each in sorted(addresses)]
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=_VALID_DAYS))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(private, hashes.SHA256())
    )
    plain = private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    _write(key, plain)
    _write(cert, made.public_bytes(serialization.Encoding.PEM))


def _write(path: Path, content: bytes) -> None:
    temporary = path.with_suffix(".new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def fingerprint(cert: Path) -> str:
    """SHA-256 of a certificate, as browsers show it: pairs of digits with colons."""
    loaded = x509.load_pem_x509_certificate(cert.read_bytes())
    return loaded.fingerprint(hashes.SHA256()).hex(":").upper()


def listen(settings: Settings) -> socket.socket:
    """The socket that it listens on.  Raises ``SafeholdError``."""
    host, port = settings.address
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((host, port))
        made.listen(BACKLOG)
    except OSError as error:
        made.close()
        raise SafeholdError(
            f"Nothing can listen on {settings.listen}: {error.strerror}.", "Choose another with --listen."
        ) from error
    return made


def configure(app: Starlette, settings: Settings) -> uvicorn.Config:
    """How the application is served."""
    files = certificate(settings) if settings.tls else None
    return uvicorn.Config(
        app,
        http=Protocol,
        loop="auto",  # uvloop where there is one
        ws="none",
        interface="asgi3",
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=GRACE_SECONDS,
        ssl_certfile=str(files[0]) if files else None,
        ssl_keyfile=str(files[1]) if files else None,
    )


def serve(service: Service, sock: socket.socket, setup: Setup) -> None:
    """Answer requests until a signal says to stop."""
    app = build(service, server_secret(service.database), setup)
    uvicorn.Server(configure(app, service.settings)).run(sockets=[sock])
