"""Tokens: what devices and scripts show.  ``shp_ID_SECRET``; of the secret only its SHA-256 is stored."""

from __future__ import annotations

import ipaddress

from sqlalchemy import Connection, insert

from safehold.server.asking import TOKEN_PREFIX
from safehold.server.errors import Refusal
from safehold.server.ids import fingerprint, new_id, new_secret
from safehold.server.objects.rules import is_scope
from safehold.server.schema import tokens


def make(
    connection: Connection,
    person: str,
    scope: str,
    label: str,
    now_ns: int,
    *,
    repository: str = "",
    device: str = "",
    expires_ns: int = 0,
    networks: str = "",
) -> tuple[str, str]:
    """Make one; its id, and what its holder shows.  Raises ``Refusal``."""
    if not is_scope(scope):
        raise Refusal(f"{scope[:80]!r} is no scope.", "Scopes are list, write, read, maintain and admin, several joined by +.")
    for network in networks.split():
        try:
            ipaddress.ip_network(network, strict=False)
        except ValueError:
            raise Refusal(f"{network[:60]!r} is no network address.", "Write it as 192.0.2.0/24.") from None
    made, secret = new_id(), new_secret()
    values = {
        "id": made,
        "hash": fingerprint(secret),
        "person": person,
        "scope": scope,
        "label": label[:100],
        "networks": networks,
    }
    limits = {"repository": repository or None, "device": device or None, "expires_ns": expires_ns, "created_ns": now_ns}
    connection.execute(insert(tokens).values(**values, **limits))
    return made, f"{TOKEN_PREFIX}{made}_{secret}"
