"""The first tables."""

from __future__ import annotations

from alembic import op

from safehold.server.schema import METADATA

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make all.  Until the first release this is what ``schema`` says; after it the tables are written out here."""
    METADATA.create_all(op.get_bind())
