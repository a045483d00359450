"""Take a snapshot out of the trash.  Only the owner may, and only while no prune is running."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safehold.core.errors import SnapshotMissing

if TYPE_CHECKING:
    from safehold.cli.call import Call
    from safehold.cli.parsing import Parser
    from safehold.repo.repository import Repository

USAGE = "SNAP... [options]"
EXAMPLES = ("safehold snapshots --trash", "safehold undelete 1a2b3c4d")
STATUSES = (13,)


def arguments(parser: Parser) -> None:
    """Declare what it takes."""
    parser.add_argument("snaps", metavar="SNAP", nargs="+", help="an id of one in the trash, or its first digits")


def run(call: Call) -> int:
    """Bring them back."""
    from safehold.ops.forget import undelete

    repository = call.repository()
    for name in [_in_trash(repository, text) for text in call.values.snaps]:
        undelete(repository, name)
        if call.volumes is not None:
            call.volumes.undeleted(name)
        call.out.result(f"Snapshot {name[:8]} is back.", {"event": "undelete", "snapshot": name})
    return 0


def _in_trash(repository: Repository, text: str) -> str:
    from safehold.ops.forget import list_trash

    found = [trashed.id for trashed in list_trash(repository) if len(text) >= 4 and trashed.id.startswith(text.lower())]
    if len(found) != 1:
        what = f"{len(found)} snapshots in the trash begin" if found else "No snapshot in the trash begins"
        raise SnapshotMissing(f"{what} with `{text}`.", "`safehold snapshots --trash` lists them.")
    return found[0]
