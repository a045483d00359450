"""Check that a place keeps what it is given, as a repository needs: durable, atomic, never overwritten, listed in full.

It stores some objects of its own below a folder with a random name, and removes them.  A repository that is there is not touched,
and no passphrase is needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safehold.cli.distant import warn_unless_exclusive

if TYPE_CHECKING:
    from safehold.cli.call import Call
    from safehold.cli.parsing import Parser

USAGE = "[REPO] [options]"
EXAMPLES = ("safehold store validate /mnt/usb/safehold", "safehold store validate s3://my-bucket/safehold")
STATUSES = (15,)


def arguments(parser: Parser) -> None:
    """Declare what it takes."""
    parser.add_argument("place", metavar="REPO", nargs="?", default="", help="the place; the same as --repo")


def run(call: Call) -> int:
    """Check it."""
    from random import SystemRandom

    from safehold.storage.open import is_distant
    from safehold.storage.validation import validate
    from safehold.storage.wrappers.passthrough import driver_of

    place = call.named(call.values.place) if call.values.place else call.place
    store = call.store(place, create=is_distant(place.location), fresh=True)
    failed = 0
    for result in validate(store, SystemRandom(), call.clock, tidy=getattr(driver_of(store), "tidy", None)):
        failed += not result.ok
        value = {"name": result.name, "ok": result.ok, "detail": result.detail, "seconds": round(result.seconds, 3)}
        call.out.result(
            f"{'ok    ' if result.ok else 'FAILED'}  {result.name}{': ' if result.detail else ''}{result.detail}", value
        )
    warn_unless_exclusive(call, store)
    call.out.note(f"{store.location} {'fails ' + str(failed) + ' checks' if failed else 'keeps what a repository needs'}.")
    return 1 if failed else 0
