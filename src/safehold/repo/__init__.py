"""The repository: its format, and everything that reads and writes it."""
