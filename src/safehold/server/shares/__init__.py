"""Links that open a part of a backup, and links by which somebody sends files in.  ``docs/sharing.md``."""
