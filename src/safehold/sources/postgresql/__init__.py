"""PostgreSQL: its servers, their files, their log.  ``docs/postgresql.md``."""
