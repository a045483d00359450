"""Backups: from a source into a snapshot."""
