"""How alembic reaches the database: over the connection that it is handed."""

from __future__ import annotations

from alembic import context

from safehold.server.schema import METADATA
from safehold.server.shares import tables  # noqa: F401 - which are of METADATA, too

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=METADATA, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
