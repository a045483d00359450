"""Reaching a server: who, where, and with which password, which never comes to stand on a command line."""

from __future__ import annotations

import configparser
import os
import socket
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from safehold.core.errors import DatabaseUnreachable, UsageError
from safehold.sources.database_url import DatabaseUrl

Connection = Any
"""A connection of PyMySQL, which has no types."""
GROUPS = ("client", "client-server", "client-mariadb")
"""Of option files, those that hold for every client; later ones win."""
PROGRAMS = ("client", "mariadb-backup", "xtrabackup")
"""Groups that our programs read."""
CONNECT_SECONDS = 10
USUAL_SOCKETS = ("/tmp/mysql.sock", "/var/lib/mysql/mysql.sock", "/run/mysqld/mysqld.sock")
"""Where a server of this machine listens (as compiled, Red Hat, Debian); the last one that is there is meant."""
_NAMES = ("user", "password", "socket", "host", "port", "ssl-ca", "ssl-cert", "ssl-key")


class Address(msgspec.Struct, frozen=True):
    """Where a server is reached, and by whom: option -> value, as option files have them."""

    options: dict[str, str]
    url: DatabaseUrl

    def __repr__(self) -> str:
        return f"<{self.url.public}>"


def address(url: DatabaseUrl, environ: Mapping[str, str]) -> Address:
    """What the URL says; what it leaves open comes from the option file it names or ``~/.my.cnf``, and from MYSQL_PWD.

    Where none of them says where the server is, it is this machine's, by its socket, as the engine's own programs take it.
    """
    named = url.query.get("defaults-file", "")
    found = _read_options(Path(named).expanduser(), required=True) if named else {}
    if not named:
        found = _read_options(Path("~/.my.cnf").expanduser(), required=False)
    if "MYSQL_PWD" in environ:
        found["password"] = environ["MYSQL_PWD"]
    if url.host:
        for other in ("host", "port", "socket"):
            found.pop(other, None)
        found["socket" if url.host.startswith("/") else "host"] = url.host
    given = {"user": url.user, "password": url.password, "port": str(url.port or "")}
    given |= {name: url.query.get(name, "") for name in ("ssl-ca", "ssl-cert", "ssl-key")}
    found |= {name: value for name, value in given.items() if value}
    if found.keys().isdisjoint(("host", "port", "socket")):
        found |= dict([("socket", path) for path in USUAL_SOCKETS if os.path.exists(path)][-1:])
    return Address(found, url)


def _read_options(path: Path, *, required: bool) -> dict[str, str]:
    parser = configparser.RawConfigParser(allow_no_value=True, strict=False, inline_comment_prefixes=None)
    try:
        text = path.read_text()
    except OSError as error:
        if required:
            raise UsageError(f"The option file {path} cannot be read: {error.strerror}.", "Check its name.") from error
        return {}
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("!")]  # !include
    try:
        parser.read_string("\n".join(lines))
    except configparser.Error as error:
        raise UsageError(f"The option file {path} cannot be read: {error}.".replace("\n", " "), "Check what it says.") from error
    found: dict[str, str] = {}
    for group in GROUPS:
        for name, value in parser.items(group) if parser.has_section(group) else ():
            name = name.replace("_", "-")
            if name in _NAMES:
                found[name] = (value or "").strip("'\"")
    return found


@contextmanager
def option_file(where: Address) -> Iterator[str]:
    """An option file for the engine's programs, that only this user may read, while they run."""
    handle, name = tempfile.mkstemp(prefix="safehold-", suffix=".cnf")
    try:
        with os.fdopen(handle, "w") as file:
            for group in PROGRAMS:
                file.write(f"[{group}]\n")
                file.writelines(f'{key}="{_quoted(value)}"\n' for key, value in where.options.items())
        yield name
    finally:
        os.unlink(name)


def _quoted(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"')


def connect(where: Address, database: str = "") -> Connection:
    """A connection with autocommit.  Raises ``DatabaseUnreachable``."""
    import pymysql

    options = where.options
    if "socket" in options:
        probe(options["socket"], where.url.public)
    ssl = {key: options[f"ssl-{key}"] for key in ("ca", "cert", "key") if f"ssl-{key}" in options}
    try:
        if "socket" in options and not ssl:
            # PyMySQL would read this machine's certificates first, 30 ms long, to ask for TLS that verifies none of them.
            try:
                return _connected(options, database, ssl_disabled=True)
            except pymysql.err.OperationalError as error:
                if error.args[0] != pymysql.constants.ER.ACCESS_DENIED_ERROR:  # perhaps an account that REQUIREs SSL
                    raise
        return _connected(options, database, ssl=ssl or None)
    except pymysql.err.MySQLError as error:
        raise DatabaseUnreachable(
            f"The server at {where.url.public} cannot be reached: {said(error)}.",
            "Check the address, the user and the password (MYSQL_PWD, or an option file).",
        ) from error


def _connected(options: dict[str, str], database: str, **security: Any) -> Connection:
    import pymysql

    return pymysql.connect(
        user=options.get("user") or None,
        password=options.get("password", ""),
        host=options.get("host", "localhost"),
        port=int(options.get("port") or 3306),
        unix_socket=options.get("socket"),
        database=database or None,
        autocommit=True,
        connect_timeout=CONNECT_SECONDS,
        charset="utf8mb4",
        **security,
    )


def probe(path: str, public: str) -> None:
    """Raises ``DatabaseUnreachable`` unless somebody listens at a socket: PyMySQL leaves its own open when nobody does."""
    if sys.platform == "win32":
        return  # its named pipes are not spoken
    with socket.socket(socket.AF_UNIX) as tried:
        tried.settimeout(CONNECT_SECONDS)
        try:
            tried.connect(path)
        except OSError as error:
            raise DatabaseUnreachable(
                f"The server at {public} cannot be reached: {error.strerror or error}.",
                "Is it running?",
            ) from error


def said(error: Exception) -> str:
    """What a server said, without the period."""
    return str(error.args[-1] if error.args else error).rstrip(".").splitlines()[0]


def rows(connection: Connection, query: str) -> list[tuple[Any, ...]]:
    """The answer to a query.  Raises ``DatabaseUnreachable``."""
    import pymysql

    try:
        with connection.cursor() as cursor:
            cursor.execute(query)
            return list(cursor.fetchall())
    except pymysql.err.MySQLError as error:
        raise DatabaseUnreachable(
            f"The server refused {query.split(' from ', maxsplit=1)[0]!r}: {said(error)}.", GRANTS
        ) from error


def quoted(name: object) -> str:
    """A name as SQL has it."""
    return "`" + str(name).replace("`", "``") + "`"


GRANTS = "docs/mariadb.md says which privileges the user needs."
