"""Share a file, a folder or a whole snapshot: by a link, or as a file with a key of its own.

The key is in the link, behind the #, and never reaches the server.  A password takes part in the encryption.  What is stored
for a share is a few per cent of what is shared; nothing that lies beside it can be read by who opens it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from safehold.core.errors import SafeholdError, UsageError

if TYPE_CHECKING:
    from safehold.cli.call import Call
    from safehold.cli.parsing import Parser
    from safehold.ops.share import Made

USAGE = "SNAP[:PATH] [options]"
EXAMPLES = (
    "safehold share create latest:/home/anna/Pictures --expires 30d",
    "safehold share create latest:/home/anna/Pictures --latest --password",
    "safehold share create latest:/home/anna/Pictures --with bert",
    "safehold share create latest:/home/anna/will.pdf --file will.safehold-share",
)
STATUSES = (4, 13, 15)


def arguments(parser: Parser) -> None:
    """Declare what it takes."""
    add = parser.add_argument
    add("snap", metavar="SNAP[:PATH]", help="an id (4 digits or more), `latest`, `latest:TAG`, or a time; and what of it")
    add(
        "--expires", metavar="TIME", default="", help="how long it can be opened: 12h, 30d, 2w, 6m, 1y; without it, until revoked"
    )
    add("--opens", metavar="N", type=int, default=0, help="how often it can be opened")
    add("--password", action="store_true", help="ask for a password that is needed, too ($SAFEHOLD_SHARE_PASSWORD)")
    add("--share-password-file", metavar="F", default="", help="read that password from this file")
    add("--latest", action="store_true", help="always show the latest backup; every backup made here brings it up to date")
    add(
        "--file", metavar="OUT", default="", help="make a file that needs no server, opened by 12 words, or by its password alone"
    )
    add("--key-out", metavar="F", default="", help="with --file: write the key to this file, too")
    add(
        "--with",
        metavar="NAME",
        dest="people",
        action="append",
        default=[],
        help="give it to this account on the server, too; its words were compared (`account trust`); again for more",
    )
    add("--by-store", action="store_true", help="with --file: leave the data in the repository, which the friend can reach")


def run(call: Call) -> int:
    """Share it."""
    from safehold.cli import sharing
    from safehold.ops import share
    from safehold.ops.resolve import resolve_path, split

    _check(call)
    values = call.values
    server = None if values.file else sharing.registry(call)
    keys = sharing.keys_of(call, values.people)
    repository = call.repository()
    stored, path = resolve_path(repository, values.snap)
    snap = split(values.snap, stored.snapshot.tags)[0]
    tag = snap.partition(":")[2] if snap.lower().startswith("latest:") else ""
    options = share.Options(
        name=values.snap,
        password=sharing.new_password(call),
        expires_ns=sharing.until_ns(values.expires, call.clock.now_ns()),
        opens=values.opens,
        latest=values.latest,
        tag=tag,
    )
    if server is None:
        file = Path(values.file).expanduser()
        made = share.create_file(repository, stored, path, options, file, by_store=values.by_store)
        _write_key(values.key_out, made)
    else:
        made = share.create(repository, stored, path, options, server)
        if options.latest:
            sharing.Following(call.state, repository.id).note()
        sharing.give(call, made, keys)
    sharing.tell(call, "share-create", made, values.file, values.people)
    return 0


def _check(call: Call) -> None:
    values = call.values
    if values.file and (values.opens or values.latest or (values.expires and not values.by_store)):
        raise UsageError("A file cannot expire, count who opens it, or change.", "Leave out --expires, --opens and --latest.")
    if (values.key_out or values.by_store) and not values.file:
        raise UsageError("--key-out and --by-store are for share files.", "Add --file OUT.")
    if values.file and values.people:
        raise UsageError("A file is given to nobody by the server.", "Leave out --file, or --with.")
    if values.opens < 0:
        raise UsageError("--opens is a number above 0.", "Without it there is no limit.")
    if values.latest and not values.snap.lower().startswith("latest"):
        raise UsageError("--latest is for `latest` and `latest:TAG`.", "An older snapshot does not change.")


def _write_key(name: str, made: Made) -> None:
    from safehold.codec.share_secret import key_file_text

    if not name or made.secret is None:
        return
    try:
        descriptor = os.open(Path(name).expanduser(), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(key_file_text(made.record.share, made.secret))
    except OSError as error:
        raise SafeholdError(
            f"The key file {name} cannot be written: {error.strerror}.", "The share file is made; its words open it."
        ) from error
