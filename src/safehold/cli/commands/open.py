"""Open what somebody shared: a link, or a share file.  No account and no repository are needed.

A share file opens with its 12 words (asked for), its key file (--key-file) or its password.  Nothing is ever written outside
the target."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from safehold.core.errors import DamageError, SafeholdError, UsageError, WrongKey

if TYPE_CHECKING:
    from safehold.cli.call import Call
    from safehold.cli.parsing import Parser
    from safehold.codec.share_secret import ShareSecret
    from safehold.ops.open_share import Result
    from safehold.repo.shares.files import ShareFile
    from safehold.repo.shares.opening import OpenShare

USAGE = "LINK|FILE --target DIR [options]"
EXAMPLES = (
    "safehold open 'https://backup.example.org/s/0123456789abcdef0123456789abcdef#1AbCdEfGhIjKlMnOpQrStUv' --target ~/from-anna",
    "safehold open will.safehold-share --list",
)
STATUSES = (4,)


def arguments(parser: Parser) -> None:
    """Declare what it takes."""
    add = parser.add_argument
    add("share", metavar="LINK|FILE", help="the whole link, in quotes; or a share file; or what `share list --received` shows")
    add("-t", "--target", metavar="DIR", default="", help="the folder to bring it into")
    add("--path", metavar="PATH", default="", help="only this file or folder of it")
    add("--list", action="store_true", help="only show what there is")
    add(
        "--overwrite",
        choices=("always", "if-changed", "never"),
        default="never",
        help="never (the default): keep what is there; always: compare contents; if-changed: trust equal size and time",
    )
    add("--fingerprint", metavar="SHA256", default="", help="of the server's certificate, where nobody vouches for that")


def run(call: Call) -> int:
    """Open it."""
    values = call.values
    if not values.target and not values.list:
        raise UsageError("Where to is not said.", "Give --target DIR, or --list to see what there is.")
    with _opened(call) as share:
        return _list(call, share) if values.list else _bring(call, share)


@contextmanager
def _opened(call: Call) -> Iterator[OpenShare]:
    from safehold.codec.share_secret import Link, is_link

    text = call.values.share
    if is_link(text):
        from safehold.cli import sharing
        from safehold.ops.share_service import open_link
        from safehold.storage.online.api import Api

        link = sharing.given_link(call, text) or Link.parse(text)
        sharing.require_safe(link.scheme, link.host)
        api = Api(f"{link.scheme}://{link.host}", fingerprint=call.values.fingerprint)
        try:
            yield open_link(api, link, lambda: sharing.password(call))
        finally:
            api.close()
        return
    from safehold.repo.shares.files import ShareFile

    file = ShareFile(Path(text).expanduser())
    try:
        yield _open_file(call, file)
    finally:
        file.close()


def _open_file(call: Call, file: ShareFile) -> OpenShare:
    from safehold.cli import sharing
    from safehold.ops.open_share import StoreSource
    from safehold.repo.shares.keys import share_key
    from safehold.repo.shares.opening import OpenShare

    header = file.header
    secret = _secret(call, header.share) if header.lock.secret else None
    key = share_key(header.share, header.lock, secret, sharing.password(call) if header.lock.cost else "")
    share = OpenShare(key, file)
    if share.root.store and not call.values.list:
        if not call.values.repository:
            raise UsageError(
                f"What this file shares lies in {share.root.store}.",
                "If you trust whoever gave it to you, add --repo with that place.",
            )
        file.elsewhere = StoreSource(call.store(call.named(call.values.repository)))
    return share


def _secret(call: Call, share: bytes) -> ShareSecret:
    """The key of a share file: from its key file, else words from standard input."""
    from safehold.codec.share_secret import WORDS, ShareSecret, parse_key_file

    name = call.values.key_file
    if name:
        try:
            return parse_key_file(Path(name).expanduser().read_text(encoding="utf-8"), share)
        except (OSError, UnicodeDecodeError) as error:
            raise WrongKey(f"The key file {name} cannot be read: {error}.", "Check its name.") from error
    if not sys.stdin.isatty():
        return ShareSecret.from_words(sys.stdin.read())
    sys.stderr.write(f"Type the {WORDS} words (their first four letters suffice), on one line or several:\n")
    typed: list[str] = []
    while len(typed) < WORDS and (line := sys.stdin.readline()):
        typed += line.split()
    return ShareSecret.from_words(" ".join(typed))


def _list(call: Call, share: OpenShare) -> int:
    import os

    from safehold.cli.render import words
    from safehold.core.entries import KIND_NAMES
    from safehold.ops.open_share import listing

    for each in listing(share, os.fsencode(call.values.path)):
        entry = each.entry
        value: dict[str, object] = {
            "path": os.fsdecode(each.path),
            "type": KIND_NAMES[entry.kind],
            "size": entry.size,
            "mode": f"{entry.mode:04o}",
            "mtime": words.iso(entry.mtime_ns),
        }
        shown = f"{words.size(entry.size):>9}  {words.moment(entry.mtime_ns)}  {words.printable(each.path)}"
        call.out.result(shown + ("/" if entry.below is not None else ""), value)
    return 0


def _bring(call: Call, share: OpenShare) -> int:
    import os

    from safehold.ops.open_share import bring
    from safehold.sources.files.placing.terms import Options

    target = Path(call.values.target).expanduser()
    options = Options(overwrite=call.values.overwrite, numeric_owner=True)
    result = bring(share, target, options, call.out.report, os.fsencode(call.values.path))
    _show(call, share, target, result)
    if result.damaged:
        raise DamageError(f"{result.damaged:,} files are not what was shared, and were left out.", "Ask for the share again.")
    if result.counts.failed:
        raise SafeholdError(f"{result.counts.failed:,} things could not be placed; all others were.", "The warnings say why.")
    return 0


def _show(call: Call, share: OpenShare, target: Path, result: Result) -> None:
    from safehold.cli.render import words

    counts = result.counts
    value = {
        "event": "open",
        "name": share.root.name,
        "taken": words.iso(share.root.taken_ns),
        "target": str(target),
        "created": counts.created,
        "changed": counts.changed,
        "kept": counts.kept,
        "failed": counts.failed,
        "damaged": result.damaged,
        "bytes_written": counts.written,
    }
    what = words.count(counts.created + counts.changed, "entry", "entries")
    kept = f"; {counts.kept:,} were there already" if counts.kept else ""
    name = words.printable(share.root.name) or "the snapshot"
    taken = words.moment(share.root.taken_ns)
    call.out.result(f"Brought {what} of {name}, as of {taken}, into {target}: {words.size(counts.written)}{kept}.", value)
