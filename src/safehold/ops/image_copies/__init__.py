"""Image copies: a database on another disk, ready to open, rolled forward by what changes.  ``docs/image-copies.md``."""
