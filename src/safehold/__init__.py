"""Safehold: backup and recovery of files, databases and whole systems."""

__version__ = "0.1.0"
