"""PostgreSQL in the repository: bases, the log, recovery to a moment."""
