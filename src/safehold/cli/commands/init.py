"""Make a repository: everything one set of keys protects, on one disk, drive or other place.

Its passphrase is asked for twice, or taken from --password-file or the environment.  With --key-file F a new key file F is made
and opens the repository instead.  Without passphrase, key file and recovery key, nobody can read the backups."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safehold.cli import credentials
from safehold.cli.distant import warn_unless_exclusive
from safehold.core.errors import RepositoryExists, UsageError

if TYPE_CHECKING:
    from safehold.cli.call import Call
    from safehold.cli.parsing import Parser
    from safehold.repo.repository import Repository
    from safehold.storage.store import Store

USAGE = "[REPO] [options]"
EXAMPLES = (
    "safehold init /mnt/backup/safehold",
    "safehold -r /mnt/backup/safehold init --key-file ~/safehold.key",
    "safehold init sftp://me@nas/backup/safehold",
    "safehold init s3://my-bucket/safehold",
)
STATUSES = (11, 15)


def arguments(parser: Parser) -> None:
    """Declare what it takes."""
    parser.add_argument("place", metavar="REPO", nargs="?", default="", help="where to make it; the same as --repo")
    parser.add_argument("--pad", action="store_true", help="pad large chunks, which hides their lengths and costs about 1.5 %%")


def run(call: Call) -> int:
    """Make it."""
    if call.values.place:
        if call.values.repository:
            raise UsageError("The repository is named twice, as REPO and by --repo.", "Leave out one of them.")
        call.values.repository = call.values.place
    store = call.store(call.place, create=True)
    _refuse_existing(store)
    made = _make(call, store)
    warn_unless_exclusive(call, store)
    value = {"event": "init", "repository": made.config.id, "location": store.location}
    call.out.result(f"Made a repository at {store.location} (id {made.config.id[:8]}).", value)
    call.out.note("Print a recovery key for the day when the passphrase is lost: `safehold key recovery`.")
    return 0


def _make(call: Call, store: Store) -> Repository:
    import os

    from safehold.codec.keyfile import KeyFile
    from safehold.repo.config import Config
    from safehold.repo.repository import create

    if call.values.recovery:
        raise UsageError(
            "A repository is not made with a recovery key.", "Make one with a passphrase, then `safehold key recovery`."
        )
    config = Config(id=os.urandom(16).hex(), pad=call.values.pad)
    new_file = call.values.key_file
    if new_file:
        credential = KeyFile.new(config.repository_id, os.urandom)
        credentials.write_key_file(new_file, credential)
    try:
        return create(
            store,
            credential if new_file else call.credential(new=True),
            call.cache,
            parameters=lambda _: config,
            clock=call.clock,
            report=call.out.report,
        )
    except BaseException:
        if new_file:
            os.unlink(os.path.expanduser(new_file))  # it would open nothing
        raise


def _refuse_existing(store: Store) -> None:
    """Before anybody is asked for a passphrase."""
    from safehold.repo.repository import exists

    if exists(store):
        hint = "Use it without `init`, or name another place."
        raise RepositoryExists(f"There already is a repository at {store.location}.", hint)
