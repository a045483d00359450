"""Image copies: a database on another disk, ready to open, rolled forward with the changes in the original.  ``docs/image-copies.md``."""
