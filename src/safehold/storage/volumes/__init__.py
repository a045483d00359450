"""Volume sets: stores spread over media that come and go.  ``docs/volumes.md``."""
