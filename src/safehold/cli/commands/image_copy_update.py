"""Roll an image copy forward with the changes in the original since the last time.

Interrupted, or on a full disk, it goes on with the next call.  NAME is its name, or its folder.  With --backup it is then kept
in the repository, as a base that `safehold restore` knows: the original is not asked for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from safehold.cli.call import Call
    from safehold.cli.parsing import Parser

USAGE = "NAME [options]"
EXAMPLES = ("safehold image-copy update shop", "safehold image-copy update app --backup --tag nightly")
STATUSES = (3, 15)


def arguments(parser: Parser) -> None:
    """Declare what it takes."""
    parser.add_argument("name", metavar="NAME", help="its name, or its folder")
    parser.add_argument("--source", metavar="URL", default="", help="the original, if it is reached otherwise by now")
    parser.add_argument("--backup", action="store_true", help="keep it as a snapshot afterwards")
    parser.add_argument("--tag", metavar="T", action="append", default=[], help="of that snapshot; may be repeated")


def run(call: Call) -> int:
    """Roll it."""
    from safehold.cli.image_copies import given, registry, tell
    from safehold.cli.tagging import check_tags
    from safehold.core.errors import SourceIncomplete, UsageError
    from safehold.ops.databases.recording import RecordOptions
    from safehold.ops.image_copies.keeping import keep
    from safehold.ops.image_copies.lifecycle import update

    values, started = call.values, call.clock.monotonic()
    image = registry(call).find(values.name)
    check_tags(values.tag)
    if values.tag and not values.backup:
        raise UsageError("--tag is for the snapshot that --backup makes.", "Add --backup, or leave it out.")
    if values.backup:
        call.repository()  # before anything is rolled for a snapshot that cannot be made
    state = update(image, values.source, given(call))
    kept = keep(call.repository(), image, RecordOptions(tags=values.tag)) if values.backup else None
    tell(call, "update", state, image.folder, call.clock.monotonic() - started, kept.id if kept else "")
    if kept and kept.snapshot.incomplete:
        raise SourceIncomplete(
            f"{state.name} has damaged pages; the snapshot is marked incomplete.", "The warnings above say which."
        )
    return 0
