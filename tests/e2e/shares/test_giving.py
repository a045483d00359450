"""Shares given to people with accounts, by keys that were compared by words: also against a server that swaps keys."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cli_program import Program
from online_servers import Person, ServerInThread, device
from sqlalchemy import select, update

from safehold.codec import account_key
from safehold.codec.account_key import Gift
from safehold.codec.sealing import exchange_public
from safehold.codec.share_secret import Link
from safehold.core.errors import DamageError
from safehold.server.schema import accounts
from safehold.server.schema import people as people_table
from safehold.server.shares.tables import given_shares


class Village:
    """A server, and people on it who each sit at a machine of their own."""

    def __init__(self, folder: Path, program: Program) -> None:
        self.folder = folder
        self.server = ServerInThread(folder / "srv", open_registration=True)
        self.program = program
        self.people = {"anna": self.server.owner()}
        for name in ("bert", "carol"):
            self.people[name] = Person(self.server.url, name)
            assert self.people[name].register().status == 200
        self.tokens = {name: person.token("admin") for name, person in self.people.items()}

    def sit_down(self, name: str, repository: str = "") -> Program:
        """The program, as that person runs it."""
        for what in ("STATE", "CACHE"):
            self.program.set(**{f"SAFEHOLD_{what}_DIR": str(self.folder / name / what.lower())})
        self.program.set(
            SAFEHOLD_TOKEN=self.tokens[name],
            SAFEHOLD_REPO=self.server.url + repository,
            SAFEHOLD_PASSWORD="passphrase",
            SAFEHOLD_ACCOUNT_PASSWORD="correct horse",
        )
        return self.program

    def anna(self) -> Program:
        return self.sit_down("anna", "/anna/home")

    def show_as_key_of(self, name: str, public: bytes) -> None:
        """As a hostile server does."""
        with self.server.service.database.write() as connection:
            person = select(accounts.c.id).where(accounts.c.name == name).scalar_subquery()
            connection.execute(update(people_table).where(people_table.c.id == person).values(exchange_public=public))

    def given(self) -> list[Any]:
        with self.server.service.database.read() as connection:
            return list(connection.execute(select(given_shares)))


@pytest.fixture
def village(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]) -> Iterator[Village]:
    made = Village(tmp_path, Program(tmp_path, monkeypatch, capfdbinary))
    made.program.set(SAFEHOLD_CONFIG=None, XDG_CONFIG_HOME=str(tmp_path / "config"))
    yield made
    made.server.stop()


def test_from_words_to_files_and_no_other_way(village: Village, tmp_path: Path) -> None:
    tree = tmp_path / "pictures"
    tree.mkdir()
    (tree / "child.jpg").write_bytes(b"a picture" * 1000)
    village.anna().do("init")
    village.program.do("backup", tree)
    make = ("share", "create", f"latest:{tree}", "--with", "bert", "--json")

    assert village.program(*make).status == 2  # bert has made no key
    words = village.sit_down("bert").do("account", "key", "--json").value["words"]
    assert village.program.do("account", "key", "--json").value["words"] == words
    refused = village.anna()(*make)
    assert refused.status == 2 and "never compared" in refused.err and not village.given()
    wrong = str(words).rsplit("-", 1)[0] + "-zoo"
    refused = village.program("account", "trust", "bert", wrong)
    assert refused.status == 13 and "other words" in refused.err
    assert village.program("account", "trust", "bert", "zoo").status == 2
    village.program.do("account", "trust", "bert", words)
    made = village.program.do(*make).value
    assert made["given_to"] == ["bert"]

    secret = Link.parse(str(made["link"])).secret
    (row,) = village.given()
    for file in (tmp_path / "srv").rglob("*"):  # the server cannot open it: neither the secret nor bert's key is there
        if file.is_file():
            assert secret.value not in file.read_bytes() and secret.text().encode() not in file.read_bytes()

    bert = village.sit_down("bert")
    (found,) = bert.do("share", "list", "--received", "--json").value["received"]  # type: ignore[misc]
    assert (found["from"], found["name"], found["id"]) == ("anna", f"latest:{tree}", row.share)
    assert f"latest:{tree}" in bert.do("share", "list", "--received").out
    bert.do("open", found["link"], "--target", tmp_path / "got")
    assert (tmp_path / "got" / "child.jpg").read_bytes() == b"a picture" * 1000
    bert.set(SAFEHOLD_ACCOUNT_PASSWORD="another password")
    assert bert("open", found["link"], "--list").status == 12

    carol = village.sit_down("carol")
    assert carol.do("share", "list", "--received", "--json").value["received"] == []
    assert carol("open", found["link"], "--list").status == 2

    village.anna().do("share", "revoke", made["id"])
    assert village.sit_down("bert").do("share", "list", "--received", "--json").value["received"] == []
    assert bert("open", str(made["link"]), "--list").status != 0


def test_a_server_that_swaps_keys_is_found_out(village: Village, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"private")
    village.anna().do("init")
    village.program.do("backup", tmp_path / "file")
    make = ("share", "create", f"latest:{tmp_path}/file", "--with", "bert")
    words = village.sit_down("bert").do("account", "key", "--json").value["words"]
    spy = exchange_public(bytes(range(32)))

    village.show_as_key_of("bert", spy)  # before the words are compared
    refused = village.anna()("account", "trust", "bert", words)
    assert refused.status == 13 and "put another key" in refused.err
    assert village.program(*make).status == 2

    with village.server.service.database.read() as connection:
        sealed = connection.execute(
            select(people_table.c.exchange_sealed).where(people_table.c.exchange_public == spy)
        ).scalar_one()
    assert village.sit_down("bert")("account", "key").status == 12  # bert is not shown the spy's words as his own

    assert village.people["bert"]("PUT", "/api/v1/key", {"public": "AAAA", "sealed": "AAAA"}).status == 400
    words = village.program.do("account", "key", "--new", "--json").value["words"]
    village.anna().do("account", "trust", "bert", words)
    village.show_as_key_of("bert", spy)  # after it
    refused = village.program(*make)
    assert refused.status == 13 and "another key for bert" in refused.err
    assert not village.given() and sealed


def test_keys_are_for_people_and_shares_for_who_may_share(village: Village) -> None:
    anna, bert = village.people["anna"], village.people["bert"]
    base = anna.repository()
    laptop = device(anna)
    assert laptop("GET", "/api/v1/key").status == laptop("GET", "/api/v1/received").status == 403
    assert bert("GET", "/api/v1/people/anna/key").status == 404
    assert bert("GET", f"{base}/shares/{'0' * 32}/people").status == 404
    assert anna("PUT", f"{base}/shares/{'0' * 32}/people/bert", {"sealed": "AAAA"}).status == 404
    assert anna("DELETE", f"{base}/shares/{'0' * 32}/people/bert").status == 404


def test_a_gift_opens_with_one_key_and_for_one_share() -> None:
    private, share = bytes(range(32)), bytes(16)
    gift = Gift(b"s" * 16, "latest:/pictures")
    sealed = account_key.seal_gift(exchange_public(private), share, gift)
    assert account_key.open_gift(private, share, sealed) == gift
    for other_key, other_share, other in (
        (bytes(32), share, sealed),
        (private, b"x" * 16, sealed),
        (private, share, sealed[:-1] + bytes([sealed[-1] ^ 1])),
    ):
        with pytest.raises(DamageError):
            account_key.open_gift(other_key, other_share, other)
    assert account_key.words("bert", bytes(32)) != account_key.words("anna", bytes(32))
    kept = account_key.seal_private(b"w" * 32, exchange_public(private), private, bytes)
    assert account_key.open_private(b"w" * 32, exchange_public(private), kept) == private
    with pytest.raises(DamageError):
        account_key.open_private(b"w" * 32, exchange_public(bytes(32)), kept)
