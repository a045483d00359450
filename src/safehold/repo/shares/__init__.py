"""Shares: a part of a backup, given to somebody by a key of its own.  ``docs/sharing.md``."""
