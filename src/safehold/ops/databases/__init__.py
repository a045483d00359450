"""Databases: their files, their logs, and recovery to a moment.  ``docs/databases.md``."""
