"""Drives that rotate: each holds a whole repository of its own.  ``docs/volumes.md``."""
