"""PostgreSQL itself: its files, its log, its protocol.  Knows nothing of repositories."""
