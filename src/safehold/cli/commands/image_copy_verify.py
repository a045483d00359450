"""Check an image copy: every page; with --deep every index against its table, on a clone that is then removed."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from safehold.cli.call import Call
    from safehold.cli.parsing import Parser

USAGE = "NAME [options]"
EXAMPLES = ("safehold image-copy verify shop", "safehold image-copy verify shop --deep")
STATUSES = (4,)


def arguments(parser: Parser) -> None:
    """Declare what it takes."""
    parser.add_argument("name", metavar="NAME", help="its name, or its folder")
    parser.add_argument("--deep", action="store_true", help="check every index against its table; needs room for a clone")


def run(call: Call) -> int:
    """Check it."""
    from safehold.cli.image_copies import registry
    from safehold.ops.image_copies.lifecycle import verify

    name = call.values.name
    verify(registry(call).find(name), deep=call.values.deep)
    call.out.result(f"{name} is whole.", {"event": "image-copy-verify", "name": name, "deep": call.values.deep})
    return 0
