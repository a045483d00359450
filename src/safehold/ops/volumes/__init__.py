"""Sets of volumes, with what the repository's keys open: catching up, keys, the trash, recovery."""
