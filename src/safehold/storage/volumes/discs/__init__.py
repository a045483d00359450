"""A store spread over volumes of limited size that are written once.  ``docs/volumes.md``, ``docs/format/volumes.md``."""
