"""Roll an image copy forward with the changes in the original since the last time.

Interrupted, or on a full disk, it goes on with the next call.  NAME is its name, or its folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from safehold.cli.call import Call
    from safehold.cli.parsing import Parser

USAGE = "NAME [options]"
EXAMPLES = ("safehold image-copy update shop",)
STATUSES: tuple[int, ...] = ()


def arguments(parser: Parser) -> None:
    """Declare what it takes."""
    parser.add_argument("name", metavar="NAME", help="its name, or its folder")
    parser.add_argument("--source", metavar="URL", default="", help="the original, if it is reached otherwise by now")


def run(call: Call) -> int:
    """Roll it."""
    from safehold.cli.image_copies import registry, tell
    from safehold.ops.image_copies.lifecycle import update

    started = call.clock.monotonic()
    image = registry(call).find(call.values.name)
    state = update(image, call.values.source, call.clock, call.out.report)
    tell(call, "update", state, image.folder, call.clock.monotonic() - started)
    return 0
