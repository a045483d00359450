"""What the share commands have in common: the server, passwords, how long, and which shares follow the latest backup."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from safehold.cli import credentials
from safehold.core.clock import NS
from safehold.core.errors import SafeholdError, SnapshotMissing, UsageError

if TYPE_CHECKING:
    from safehold.cli.call import Call
    from safehold.codec.share_secret import Link
    from safehold.ops.share import Made
    from safehold.ops.share_service import OnlineRegistry, ShareState
    from safehold.repo.shares.records import Record
    from safehold.repo.shares.requests import Request

PASSWORD = "SAFEHOLD_SHARE_PASSWORD"


def is_online(call: Call) -> bool:
    """Whether the repository is on a server of ours."""
    return call.place.location.startswith(("https://", "http://"))


def registry(call: Call) -> OnlineRegistry:
    """The server that opens shares.  Raises ``UsageError`` where the repository is on none."""
    from safehold.ops.share_service import OnlineRegistry

    if not is_online(call):
        raise UsageError(
            f"{call.place.location} is not on an online server, so there can be no link to it.",
            "Make a share file: `safehold share create SNAP:PATH --file NAME.safehold-share`.",
        )
    address, api = call.online()
    return OnlineRegistry(api, address.base)


def new_password(call: Call) -> str:
    """The password of a new share; empty if it has none.  Raises ``UsageError``."""
    values = call.values
    if values.share_password_file:
        return credentials.read_password_file(values.share_password_file)
    if not values.password:
        return ""
    given = call.environ.get(PASSWORD, "")
    return given or credentials.ask("the share", twice=True)


def password(call: Call) -> str:
    """The password of a share that is to be opened.  Raises ``UsageError``."""
    if call.values.password_file:
        return credentials.read_password_file(call.values.password_file)
    return call.environ.get(PASSWORD, "") or credentials.ask("this share", twice=False)


def until_ns(text: str, now_ns: int) -> int:
    """When something ends that lasts ``30d`` from now; 0 for nothing.  Raises ``UsageError``."""
    from safehold.repo.retention import parse_duration

    if not text:
        return 0
    now = datetime.fromtimestamp(now_ns // NS)
    return now_ns + int((now - parse_duration(text).before(now)).total_seconds()) * NS


def keys_of(call: Call, names: list[str]) -> dict[str, bytes]:
    """The compared public keys of people.  Raises ``UsageError``, ``StoreRefused``."""
    from safehold.cli.acquaintances import People

    if not names:
        return {}
    server, api = call.server()
    people = People(call.state, server)
    return {name: people.public(api, name) for name in names}


def give(call: Call, made: Made, keys: dict[str, bytes]) -> None:
    """Hand a share that was made to people, by their keys."""
    from safehold.cli import acquaintances
    from safehold.codec.account_key import Gift

    if not keys:
        return
    address, api = call.online()
    record = made.record
    for name, public in keys.items():
        acquaintances.give(api, address.base, record.share, name, public, Gift(record.secret, record.name))


def tell(call: Call, what: str, made: Made, file: str = "", people: list[str] | None = None) -> None:
    """A share that was made or brought up to date."""
    from safehold.cli.render import words

    record = made.record
    key_words = made.secret.words() if file and made.secret is not None else []
    value = {
        "event": what,
        "id": record.share.hex(),
        "link": made.link,
        "file": file,
        "words": key_words,
        "entries": record.entries,
        "bytes": record.size,
        "bytes_used": made.used,
        "bytes_stored": made.added,
        "expires": words.iso(record.expires_ns) if record.expires_ns else None,
        "given_to": people or [],
    }
    given = [f"Given to {', '.join(people)}, who find it by `safehold share list --received`."] if people else []
    call.out.result("\n".join([*_how(record, made, file), *given, _cost(made, file)]), value)


def _how(record: Record, made: Made, file: str) -> list[str]:
    from safehold.cli.render import words
    from safehold.codec.recovery import qr_text, words_table

    end = f", until {words.moment(record.expires_ns)}" if record.expires_ns else ""
    if not file:
        more = "  The password goes another way." if record.lock.cost else ""
        return [made.link, f"Whoever has this link can read {words.count(record.entries, 'entry', 'entries')}{end}.{more}"]
    if made.secret is None:
        return [f"{file} opens with its password."]
    key_words = made.secret.words()
    return [f"{file} opens with these words:", "", words_table(key_words), qr_text(key_words)]


def _cost(made: Made, file: str) -> str:
    from safehold.cli.render import words

    stored = f"{words.size(made.added)} {'in the file' if file else 'stored for it'}"
    return f"Shared: {words.size(made.record.size)}; {stored}, {words.size(made.used)} used where it lies."


def row(record: Record, state: ShareState | None, now_ns: int) -> list[str]:
    """A share for a table: id, what, made, ends, opened, state."""
    from safehold.cli.render import words

    ends = words.moment(record.expires_ns) if record.expires_ns else ""
    opened = str(state.opens) if state else ""
    limit = f" of {record.opens}" if record.opens else ""
    return [
        record.share.hex()[:8],
        words.printable(record.name),
        words.moment(record.made_ns),
        ends,
        opened + limit,
        condition(record, state, now_ns),
    ]


def condition(record: Record, state: ShareState | None, now_ns: int) -> str:
    """How a share is: ``open``, ``file``, ``expired``, ``used up``, ``taken back``."""
    if record.revoked or (state is not None and state.revoked_ns):
        return "taken back"
    if record.is_over(now_ns):
        return "expired"
    if state is not None and state.most_opens and state.opens >= state.most_opens:
        return "used up"
    return "open" if record.server else "file"


class Following:
    """Which repositories have shares of the latest backup: a note in the state folder, without any secret."""

    def __init__(self, state: Path, repository: bytes) -> None:
        self._path = state / "shares" / repository.hex()

    @property
    def is_noted(self) -> bool:
        """Whether this machine made such a share there."""
        return self._path.exists()

    def note(self) -> None:
        """There is one now.  Raises ``SafeholdError``."""
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._path.touch(mode=0o600)
        except OSError as error:
            raise SafeholdError(
                f"{self._path} cannot be written: {error.strerror}.", "Run `safehold share refresh` by hand."
            ) from error

    def forget(self) -> None:
        """There is none any more."""
        self._path.unlink(missing_ok=True)


class Fetched:
    """What this machine has fetched of what was sent in to a repository."""

    def __init__(self, state: Path, repository: bytes) -> None:
        self._path = state / "received" / repository.hex()

    def keys(self) -> frozenset[str]:
        """Keys of objects."""
        try:
            return frozenset(self._path.read_text("ascii").split())
        except (OSError, UnicodeDecodeError):
            return frozenset()

    def add(self, keys: list[str]) -> None:
        """Remember some more.  Raises ``SafeholdError``."""
        from safehold.cli.logins import write_private

        if keys:
            write_private(self._path, "".join(f"{key}\n" for key in sorted(self.keys().union(keys))).encode("ascii"))


def chosen_request(call: Call, text: str) -> Request:
    """The request with that id, beginning of an id (4 digits or more), or link.  Raises ``SnapshotMissing``."""
    from safehold.repo.shares import requests

    repository = call.repository()
    repository.require_reader()
    wanted = text.strip().lower().partition("#")[0].rpartition("/")[2]
    found, _ = requests.load_all(repository.seals, repository.store, repository.report)
    fitting = [each for each in found if len(wanted) >= 4 and each.request.hex().startswith(wanted)]
    if len(fitting) != 1:
        raise SnapshotMissing(f"No request, or more than one, begins with `{wanted}`.", "Its id is in its link, behind /r/.")
    return fitting[0]


def given_link(call: Call, text: str) -> Link | None:
    """The whole link of a share that was given to this account: ``text`` is the link without its end.  None for any other."""
    from safehold.cli import acquaintances
    from safehold.cli.logins import Logins, connect
    from safehold.codec.share_secret import Link, ShareSecret, without_secret
    from safehold.storage.online.address import parse

    named = without_secret(text)
    if named is None:
        return None
    scheme, host, share = named
    address = parse(f"{scheme}://{host}", repository=False)
    api = connect(address, Logins(call.state, call.environ).find(address))
    try:
        for given in acquaintances.received(api):
            if given.share == share.hex():
                gift = acquaintances.opened(acquaintances.own(call, api), given)
                return Link(scheme, host, share, ShareSecret(gift.secret))
    finally:
        api.close()
    raise UsageError("That share was not given to your account, or is over.", "Is the link whole, up to its last character?")


def require_safe(scheme: str, host: str) -> None:
    """Raise ``UsageError`` for a link that is not encrypted on its way, unless it leads to this machine."""
    if scheme == "http" and host.rpartition(":")[0] not in ("127.0.0.1", "localhost", "[::1]"):
        raise UsageError("This link is not encrypted on its way.", "It should begin with https://.")


def refresh(call: Call) -> list[Made]:
    """Bring every share up to date that follows the latest backup."""
    from safehold.ops import share

    repository = call.repository()
    server = registry(call)
    made, following = [], False
    for record in share.shares(repository):
        following = following or (record.follow is not None and not record.is_over(repository.clock.now_ns()))
        newer = share.refresh(repository, record, server)
        if newer is not None:
            made.append(newer)
    if not following:
        Following(call.state, repository.id).forget()
    return made


def refresh_after_backup(call: Call) -> None:
    """After a backup: what follows it.  Where that fails, a share shows what it did before; the backup is done all the same."""
    if call.values.dry_run or not is_online(call):
        return
    try:
        repository = call.repository()
        if repository.seals.can_read and Following(call.state, repository.id).is_noted:
            for made in refresh(call):
                call.out.note(f"The share of {made.record.name} shows this backup now.")
    except SafeholdError as error:
        call.out.note(f"What is shared of the latest backup was not brought up to date: {error}")
