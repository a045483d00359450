"""A snapshot as a lazy, seekable file tree; the FUSE mount."""
