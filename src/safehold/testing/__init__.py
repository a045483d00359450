"""Stores that fail on purpose, and builders, for tests."""
