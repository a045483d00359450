"""SQLite: bases, watching, recovery to a moment.  ``docs/sqlite.md``."""
