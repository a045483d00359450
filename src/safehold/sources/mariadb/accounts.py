"""MySQL's accounts as SQL, written to standard output by a program of its own, as the other files of a dump are.

``mysqldump`` has no word for accounts, and a copy of the schema ``mysql`` does not go into a server of another version.  Roles
are accounts too, and come first: others name them.  What a server has already is left as it is.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import closing

from safehold.core.errors import SafeholdError
from safehold.sources.database_url import parse
from safehold.sources.mariadb.connecting import Connection, address, connect, said

_READABLE = "SET SESSION print_identified_with_as_hex = ON"
"""Hashes of passwords are bytes of any kind otherwise."""
_ACCOUNTS = """
SELECT user, host FROM mysql.user WHERE user NOT IN ('mysql.session', 'mysql.sys', 'mysql.infoschema')
ORDER BY (SELECT count(*) FROM mysql.role_edges WHERE from_user = user AND from_host = host) = 0, user, host
"""


def statements(connection: Connection) -> Iterator[str]:
    """What makes them, then what each may do."""
    with connection.cursor() as cursor:
        cursor.execute(_READABLE)
        cursor.execute(_ACCOUNTS)
        names = [f"{connection.escape(user)}@{connection.escape(host)}" for user, host in cursor.fetchall()]
        for name in names:
            cursor.execute(f"SHOW CREATE USER {name}")
            yield cursor.fetchone()[0].replace("CREATE USER", "CREATE USER IF NOT EXISTS", 1)
        for name in names:
            cursor.execute(f"SHOW GRANTS FOR {name}")
            yield from (grant for (grant,) in cursor.fetchall())


def main(text: str) -> int:
    """Write those of the server at a URL; its password is in MYSQL_PWD.  The exit status."""
    import pymysql

    try:
        with closing(connect(address(parse(text), os.environ))) as connection:
            lines = [f"{each};" for each in statements(connection)]
    except SafeholdError as error:
        print(error, file=sys.stderr)
        return 1
    except pymysql.err.MySQLError as error:
        print(f"The accounts cannot be read: {said(error)}", file=sys.stderr)
        return 1
    print("-- MySQL dump: accounts", *lines, "-- Dump completed", sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
