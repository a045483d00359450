"""Give up an image copy: its folder is emptied, and the original keeps nothing for it any more."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from safehold.cli.call import Call
    from safehold.cli.parsing import Parser

USAGE = "NAME [options]"
EXAMPLES = ("safehold image-copy remove shop",)
STATUSES: tuple[int, ...] = ()


def arguments(parser: Parser) -> None:
    """Declare what it takes."""
    parser.add_argument("name", metavar="NAME", help="its name, or its folder")
    parser.add_argument("--source", metavar="URL", default="", help="the original, if it is reached otherwise by now")


def run(call: Call) -> int:
    """Remove it."""
    from safehold.cli.image_copies import registry
    from safehold.ops.image_copies.lifecycle import remove

    names, name = registry(call), call.values.name
    image = names.find(name)
    remove(names, name, image, call.values.source)
    call.out.result(f"Removed the image copy {name} from {image.folder}.", {"event": "image-copy-remove", "name": name})
    return 0
