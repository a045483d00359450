"""What a run shows: results on standard output, events on standard error."""
