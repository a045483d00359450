"""PostgreSQL in the repository: bases, and their restore.  ``docs/postgresql.md``."""
