"""Where sources and repository meet: backup, restore, copy."""
