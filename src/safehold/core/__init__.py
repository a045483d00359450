"""What every other part stands on: errors, events, the clock, ids and directory entries."""
