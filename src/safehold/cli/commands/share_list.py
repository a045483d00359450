"""List what is shared: with links, how often each was opened, and until when it can be.

With a share's id: who opened it, and when.  With --received: what others gave to your account on a server."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from safehold.cli.call import Call
    from safehold.cli.parsing import Parser
    from safehold.ops.share_service import ShareState
    from safehold.repo.shares.records import Record

USAGE = "[SHARE] [options]"
EXAMPLES = ("safehold share list", "safehold share list --links", "safehold share list 1a2b3c4d")
STATUSES = (13,)
_WHAT = {
    "made": "made",
    "published": "brought up to date",
    "opened": "opened",
    "refused": "refused: wrong key",
    "over": "refused: used up",
    "revoked": "taken back",
}


def arguments(parser: Parser) -> None:
    """Declare what it takes."""
    parser.add_argument(
        "share", metavar="SHARE", nargs="?", default="", help="an id (4 digits or more), or a link: show who opened it"
    )
    parser.add_argument("--received", action="store_true", help="what others gave to your account (its password is asked for)")
    parser.add_argument("--links", action="store_true", help="show the links, which open the shares")


def run(call: Call) -> int:
    """List them."""
    from safehold.cli import sharing
    from safehold.ops import share

    if call.values.received:
        return _received(call)
    repository = call.repository()
    if call.values.share:
        return _log(call, share.chosen(repository, call.values.share))
    states = sharing.registry(call).states() if sharing.is_online(call) else {}
    found = share.shares(repository)
    if call.out.as_json:
        call.out.result("", {"shares": [_value(call, record, states.get(record.share)) for record in found]})
        return 0
    _show(call, found, states)
    return 0


def _show(call: Call, found: list[Record], states: dict[bytes, ShareState]) -> None:
    from safehold.cli import sharing
    from safehold.cli.render import words
    from safehold.ops import share

    if not found:
        call.out.result("Nothing is shared.")
        return
    rows = [["ID", "What", "Made", "Ends", "Opened", "State"]]
    rows += [sharing.row(record, states.get(record.share), call.clock.now_ns()) for record in found]
    lines = words.table(rows)
    for record in found if call.values.links else ():
        lines.append(f"{record.share.hex()[:8]}  {share.link_of(record) or 'no link'}")
    call.out.result("\n".join(lines))


def _value(call: Call, record: Record, state: ShareState | None) -> dict[str, object]:
    from safehold.cli import sharing
    from safehold.cli.render import words
    from safehold.ops import share

    return {
        "id": record.share.hex(),
        "name": record.name,
        "snapshot": record.snapshot,
        "link": share.link_of(record) if call.values.links else "",
        "made": words.iso(record.made_ns),
        "expires": words.iso(record.expires_ns) if record.expires_ns else None,
        "opens_limit": record.opens,
        "opens": state.opens if state else None,
        "latest": record.follow is not None,
        "password": record.lock.cost is not None,
        "entries": record.entries,
        "bytes": record.size,
        "state": sharing.condition(record, state, call.clock.now_ns()),
    }


def _received(call: Call) -> int:
    """What was given to the account, with what its givers call it, which only the account's key opens."""
    from safehold.cli import acquaintances
    from safehold.cli.render import words

    server, api = call.server()
    given = acquaintances.received(api)
    mine = acquaintances.own(call, api) if given else None
    rows, values = [["Link", "From", "What", "Given", "Ends"]], []
    for each in given:
        assert mine is not None
        name = words.printable(acquaintances.opened(mine, each).name)
        link = f"{server}/s/{each.share}"
        ends = words.moment(each.expires_ns) if each.expires_ns else ""
        rows.append([link, each.sender, name, words.moment(each.given_ns), ends])
        end = words.iso(each.expires_ns) if each.expires_ns else None
        values.append({"id": each.share, "link": link, "from": each.sender, "name": name, "expires": end})
    text = "\n".join([*words.table(rows), "Open one: safehold open LINK --target DIR"]) if given else "Nothing was given to you."
    call.out.result(text, {"received": values})
    return 0


def _log(call: Call, record: Record) -> int:
    from safehold.cli import sharing
    from safehold.cli.render import words

    found = sharing.registry(call).log(record.share)
    if call.out.as_json:
        lines = [{"time": words.iso(each.time_ns), "address": each.address, "what": each.what} for each in found]
        call.out.result("", {"id": record.share.hex(), "log": lines})
        return 0
    rows = [["Time", "Address", "What"]]
    rows += [[words.moment(each.time_ns), each.address, _WHAT.get(each.what, each.what)] for each in found]
    call.out.result("\n".join(words.table(rows)))
    return 0
