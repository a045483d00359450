"""List the image copies: of which databases, where, and which moment they show."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from safehold.cli.call import Call
    from safehold.cli.parsing import Parser

USAGE = "[options]"
EXAMPLES = ("safehold image-copy list", "safehold image-copy list --json")
STATUSES: tuple[int, ...] = ()


def arguments(parser: Parser) -> None:
    """It takes nothing of its own."""
    del parser


def run(call: Call) -> int:
    """List them."""
    from safehold.cli.image_copies import registry, value
    from safehold.cli.render import words
    from safehold.core.errors import ImageError
    from safehold.ops.image_copies.images import Image

    rows = [["Name", "Shows", "State", "Rolls", "Folder", "Original"]]
    found: list[dict[str, object]] = []
    for name, folder in sorted(registry(call).names().items()):
        try:
            state = Image(folder).load()
        except ImageError as error:
            found.append({"name": name, "folder": str(folder), "state": "missing"})
            rows.append([name, "", "missing", "", str(folder), str(error)])
            continue
        found.append(value(state, folder))
        shows = words.moment(state.rolled_ns) if state.rolled_ns else ""
        rows.append([name, shows, state.phase, str(state.rolls), str(folder), state.source])
    if call.out.as_json:
        call.out.result("", {"image_copies": found})
    else:
        call.out.result("\n".join(words.table(rows, frozenset({3}))) if found else "There is no image copy.")
    return 0
