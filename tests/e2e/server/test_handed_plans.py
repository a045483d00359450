"""Plans that an owner hands to a device: what arrives, what is refused, and what a hostile server can do."""

from __future__ import annotations

import base64
import subprocess
from pathlib import Path
from typing import Any

import pytest
from online_servers import Person, ServerInThread
from restore_orders import BASE, Household, household

from safehold.codec.plan_letter import Receiver, make_letter, open_letter
from safehold.core.errors import SafeholdError

NOW = 1_800_000_000_000_000_000


@pytest.fixture
def home(
    server: ServerInThread,
    owner: Person,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsysbinary: pytest.CaptureFixture[bytes],
) -> Household:
    made = household(owner, tmp_path, monkeypatch, capsysbinary)
    (tmp_path / "user" / "letters").mkdir()
    (tmp_path / "user" / "letters" / "one").write_text("one")
    made.laptop_key = made.writer_key  # which adds backups and reads none: plans are for such a device, too
    return made


class Office:
    """The owner's machine, with a plan for others."""

    def __init__(self, home: Household) -> None:
        self.home = home
        self.config = home.folder / "office" / "config.toml"
        self.config.parent.mkdir()
        self.config.touch()

    def do(self, *words: object, ok: bool = True) -> Any:
        program = self.home.program
        program.set(SAFEHOLD_TOKEN=self.home.owner.token("admin"))
        try:
            return program("--config", self.config, "--key-file", self.home.owner_key, *words, ok=ok)
        finally:
            program.set(SAFEHOLD_TOKEN=None)

    def hand(self, *names: str) -> None:
        self.do("plan", "hand", *names, "--to", "laptop", "--key", "a writer")

    def forge(self, plans: dict[str, str], *, slot: str = "a writer", signing: bytes = b"", made_ns: int = NOW) -> bytes:
        """What somebody puts in the place of a letter."""
        keyring = self.home.opened().keyring
        to = next(each for each in keyring.devices.values() if each.label == slot)
        receiver = Receiver(keyring.repository_id, to.slot_id, to.exchange, keyring.epoch, keyring.epoch_public)
        letter = make_letter(receiver, signing or keyring.admin_private(), plans, made_ns)
        self.put(letter)
        return letter

    def put(self, letter: bytes) -> None:
        told = {"letter": base64.b64encode(letter).decode()}
        assert self.home.owner("PUT", f"{BASE}/devices/{self.home.laptop.id}/plan", told).status == 204


@pytest.fixture
def office(home: Household) -> Office:
    made = Office(home)
    made.do("plan", "add", "office", home.folder / "user" / "letters", "--every", "6h", "--exclude", "*.tmp")
    return made


def plans(home: Household) -> dict[str, str]:
    folder = home.folder / "config" / "safehold" / "plans"
    return {path.stem: path.read_text() for path in folder.glob("*")} if folder.is_dir() else {}


def test_a_plan_is_handed_taken_run_and_taken_back(home: Household, office: Office, server: ServerInThread) -> None:
    office.hand("office")
    assert home.program("--key-file", home.writer_key, "device", "take-plans").status == 2, "nobody allowed it here"
    home.do("device", "allow-plans")
    assert home.do("device", "take-plans")[0]["plans"] == ["office"]
    (listed,) = home.do("plan", "list")[0]["plans"]  # type: ignore[misc]
    assert listed["sources"] == [str(home.folder / "user" / "letters")] and listed["repository"] == home.address  # type: ignore[index]
    assert f'key-file = "{home.writer_key}"' in plans(home)["office"]
    agent = home.program.start("agent", "run", "--once", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    out, err = agent.communicate(timeout=60)
    assert b"office: backup: 1 new" in out, err
    (shown,) = home.owner("GET", "/api/v1/fleet").json["devices"]
    assert shown["status"] == "done" and shown["every_seconds"] == 6 * 3600 and shown["plan_ns"]
    stored = b"".join(path.read_bytes() for path in server.settings.data.glob("*.sqlite*"))
    assert b"letters" not in stored and b"*.tmp" not in stored, "the server sees no name"
    office.hand()
    agent = home.program.start("agent", "run", "--once", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert agent.communicate(timeout=60)[0] == b"" and plans(home) == {}, "the agent looks by itself"


def test_the_home_folder_is_each_machines_own(home: Household, office: Office, tmp_path: Path) -> None:
    office.hand("office")
    (tmp_path / "bobs" / "letters").mkdir(parents=True)
    home.program.set(HOME=str(tmp_path / "bobs"))
    home.do("device", "allow-plans")
    home.do("device", "take-plans")
    assert f'sources = ["{tmp_path}/bobs/letters"]' in plans(home)["office"]
    home.do("device", "allow-plans", "--off")
    assert plans(home) == {}


def test_ones_own_plan_stays(home: Household, office: Office) -> None:
    home.do("plan", "add", "office", home.folder / "user")
    before = plans(home)
    office.hand("office")
    home.do("device", "allow-plans")
    ran = home.program.do("--key-file", home.writer_key, "device", "take-plans")
    assert "of your own" in ran.err and plans(home) == before
    home.do("device", "allow-plans", "--off")
    assert plans(home) == before


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('sources = ["~/letters"]\nbefore = "rm -rf ~"', "`before`"),
        ('sources = ["~/letters"]\noptions = ["--name=x"]', "`options`"),
        ('sources = ["~/letters"]\ncopy-to = ["https://evil.example"]', "`copy-to`"),
        ('sources = ["~/letters"]\nrepository = "/elsewhere"', "only this machine may say"),
        ('sources = ["~/letters"]\nkey-file = "/etc/shadow"', "only this machine may say"),
        ('sources = ["/etc"]', "none of the folders"),
        ('sources = ["~/letters/../../../etc"]', "none of the folders"),
        ('sources = ["~/out"]', "none of the folders"),
        ('sources = ["command:id"]', "none of the folders"),
        ('sources = ["postgresql:///shop"]', "none of the folders"),
        ('sources = ["letters"]', "none of the folders"),
        ('sources = ["~/letters"]\nevery = "often"', "no span"),
        ("sources = [", "not TOML"),
    ],
)
def test_what_no_plan_from_elsewhere_may_say(home: Household, office: Office, text: str, said: str) -> None:
    (home.folder / "user" / "out").symlink_to("/etc")
    home.do("device", "allow-plans")
    office.forge({"fine": 'sources = ["~/letters"]\nevery = "6h"', "wrong": text})
    ran = home.program("--key-file", home.writer_key, "device", "take-plans")
    assert ran.status and said in ran.err and ran.err.count("\n") == 1 and plans(home) == {}, "nothing of that letter is taken"


@pytest.mark.parametrize("name", ["../evil", "", "latest", "a/b"])
def test_names_that_lead_elsewhere(home: Household, office: Office, name: str) -> None:
    home.do("device", "allow-plans")
    office.forge({name: 'sources = ["~/letters"]'})
    assert home.program("--key-file", home.writer_key, "device", "take-plans").status == 2 and plans(home) == {}


def test_a_hostile_server(home: Household, office: Office) -> None:
    """It can give an older letter, another device's, one signed by another member, or rubbish; none is taken."""
    home.do("device", "allow-plans")
    plan = {"one": 'sources = ["~/letters"]'}
    older = office.forge(plan, made_ns=NOW - 1)
    office.forge({"two": plan["one"]})
    home.do("device", "take-plans")
    before = plans(home)
    keyring = home.opened(home.writer_key).keyring
    whole = office.forge({"two": plan["one"]})
    office.put(older)
    assert "older" in home.program("--key-file", home.writer_key, "device", "take-plans").err
    for forged in (lambda: office.forge(plan, slot="a reader"), lambda: office.forge(plan, signing=keyring.device_private)):
        forged()
        assert home.program("--key-file", home.writer_key, "device", "take-plans").status == 4
    for letter in (
        b"",
        b"x" * 300,
        whole[:-1],
        bytes([whole[0] ^ 1]) + whole[1:],
        whole[:40] + bytes([whole[40] ^ 1]) + whole[41:],
    ):
        office.put(letter)
        assert home.program("--key-file", home.writer_key, "device", "take-plans").status == 4
    assert plans(home) == before
    office.put(whole)
    home.do("device", "take-plans")  # the same again changes nothing
    assert plans(home) == before


def test_what_cannot_be_handed(home: Household, office: Office) -> None:
    office.do("plan", "edit", "office", "--before", "mount /mnt")
    ran = office.do("plan", "hand", "office", "--to", "laptop", "--key", "a writer", ok=False)
    assert ran.status == 2 and "`before`" in ran.err
    for words, said in (
        (("hand", "nothing", "--to", "laptop"), "no plan"),
        (("hand", "--to", "nobody"), "No device"),
        (("hand", "--to", "laptop"), "No key in use"),
    ):
        ran = office.do("plan", *words, ok=False)
        assert ran.status == 2 and said in ran.err and ran.err.count("\n") == 1
    home.do("plan", "add", "mine", home.folder / "user")
    ran = home.program("--key-file", home.writer_key, "plan", "hand", "mine", "--to", "laptop", "--key", "a writer")
    assert ran.status == 13, "a device hands out no plans"


def test_a_letter_is_bound_to_repository_slot_and_time() -> None:
    from safehold.codec.sealing import exchange_public, signing_public

    id, slot, private, admin = bytes(16), b"s" * 16, b"x" * 32, b"a" * 32
    plans = {"home": 'sources = ["/x"]'}
    to = Receiver(id, slot, exchange_public(private), 1, exchange_public(b"e" * 32))
    letter = make_letter(to, admin, plans, NOW)
    assert open_letter(id, slot, private, signing_public(admin), letter) == (NOW, plans)
    for changed in ((b"1" * 16, slot, private), (id, b"t" * 16, private), (id, slot, b"y" * 32)):
        with pytest.raises(SafeholdError):
            open_letter(*changed, signing_public(admin), letter)
    for place in range(len(letter)):
        with pytest.raises(SafeholdError):
            open_letter(
                id, slot, private, signing_public(admin), letter[:place] + bytes([letter[place] ^ 1]) + letter[place + 1 :]
            )
    with pytest.raises(SafeholdError, match="too much"):
        make_letter(to, admin, {"big": "x" * 50_000}, NOW)
