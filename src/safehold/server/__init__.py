"""The online server: a store over HTTP that never holds a key.  ``docs/server.md``."""
