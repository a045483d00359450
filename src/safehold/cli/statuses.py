"""Exit statuses in words: for ``--help`` and ``docs/errors.md``."""

from __future__ import annotations

MEANINGS = {
    0: "done",
    1: "failed",
    2: "wrong use",
    3: "finished, but something of the source could not be read",
    4: "verification found damage",
    10: "no repository there",
    11: "there is a repository already",
    12: "wrong passphrase or key",
    13: "the key may not do that, or the store does not let this user in",
    14: "store unreachable",
    15: "store full, or over quota",
    16: "a database's backups need attention",
    130: "interrupted",
    200: "of pg archive-get only: failed, and the server must stop",
}
COMMON = (0, 1, 2, 10, 12, 14, 130)
"""What most commands may end with."""
