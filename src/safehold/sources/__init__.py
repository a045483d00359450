"""Things to back up: each source captures and restores its kind."""
