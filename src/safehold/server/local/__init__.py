"""The browsing pages on one's own machine (``safehold ui``): no account, no database, only Python's HTTP server on loopback."""
