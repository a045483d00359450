"""An owner who orders restores, as the pages do it; and whoever else would like to."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
from cli_program import Program
from online_servers import Client, Device, Person, device, text

from safehold.cli.logins import Login, Logins
from safehold.codec.job import Header, Job, Offer, Order, Outcome, Report
from safehold.codec.keyfile import KeyFile
from safehold.codec.sealing import domain, open_sealed_to, seal_to, sign, verify
from safehold.core.clock import SystemClock
from safehold.repo.keys.keyring import Keyring
from safehold.repo.repository import Repository, open_repository
from safehold.storage.online.address import parse
from safehold.storage.online.api import Api
from safehold.storage.online.store import OnlineStore

WEEK_NS = 7 * 86400 * 10**9
PLACE = "anna/home"
BASE = f"/api/v1/repositories/{PLACE}"


class Ordered(NamedTuple):
    """A job, and what it is made of."""

    id: str
    job: bytes
    expires_ns: int

    @property
    def value(self) -> dict[str, object]:
        """As the request has it."""
        return {"id": self.id, "job": text(self.job), "expires_ns": self.expires_ns}


def read_offer(keyring: Keyring, data: bytes) -> tuple[Offer, list[str]]:
    """An offer whose device signed it, and its folders."""
    offer = msgspec.msgpack.decode(data[:-64], type=Offer)
    id = keyring.repository_id
    verify(keyring.devices[offer.slot].public, "job-offer", id, data[:-64], data[-64:])
    info = domain("job-folders", id) + offer.epoch.to_bytes(4, "big") + offer.public
    sealed = open_sealed_to(keyring.epoch_privates[offer.epoch], info, offer.sealed)
    return offer, msgspec.msgpack.decode(sealed, type=list[str])


def read_report(keyring: Keyring, slot: bytes, data: bytes) -> tuple[Report, Outcome]:
    """What a device signed of a job."""
    report = msgspec.msgpack.decode(data[:-64], type=Report)
    id = keyring.repository_id
    verify(keyring.devices[slot].public, "job-report", id, data[:-64], data[-64:])
    info = domain("job-outcome", id) + report.epoch.to_bytes(4, "big") + report.id
    sealed = open_sealed_to(keyring.epoch_privates[report.epoch], info, report.sealed)
    return report, msgspec.msgpack.decode(sealed, type=Outcome)


def make_job(
    keyring: Keyring, offer: Offer, order: Order, signing: bytes | None = None, expires_ns: int = 0, **changed: Any
) -> Ordered:
    """An order for the device of an offer; ``signing``: by another key than the owner's; ``changed``: of the header."""
    now = SystemClock().now_ns()
    header = Header(os.urandom(16), offer.slot, offer.public, now, expires_ns or now + WEEK_NS, keyring.epoch)
    header = msgspec.structs.replace(header, **changed)
    encoded, plain = msgspec.msgpack.encode(header), msgspec.msgpack.encode(order)
    id = keyring.repository_id
    sealed = seal_to(offer.public, domain("job", id) + encoded, plain)
    body = msgspec.msgpack.encode(Job(encoded, sealed, seal_to(keyring.epoch_public, domain("job-copy", id) + encoded, plain)))
    return Ordered(header.id.hex(), body + sign(signing or keyring.admin_private(), "job", id, body), header.expires_ns)


class Household:
    """A repository on a server, whose owner orders from a laptop that can read."""

    def __init__(self, owner: Person, program: Program, folder: Path) -> None:
        self.owner, self.program, self.folder = owner, program, folder
        self.owner_key, self.laptop_key, self.writer_key = (folder / f"{name}.key" for name in ("owner", "laptop", "writer"))
        self.address = f"{owner.url}/{PLACE}"
        program.set(SAFEHOLD_REPO=self.address, SAFEHOLD_TOKEN=owner.token("admin"))
        program.do("init", "--key-file", self.owner_key)
        for role, key in (("reader", self.laptop_key), ("writer", self.writer_key)):
            program.do("--key-file", self.owner_key, "key", "add", "--role", role, "--new-key-file", key, "--label", f"a {role}")
        self.laptop = device(owner, "laptop", PLACE, "read+write")
        self.become(self.laptop)

    def become(self, device: Device) -> None:
        """What the program is from now on."""
        self.program.set(SAFEHOLD_TOKEN=None)
        token = device.headers["Authorization"].removeprefix("Bearer ")
        Logins(self.state, {}).remember(self.address, Login(token=token, device=device.id))

    @property
    def state(self) -> Path:
        return self.folder / "state"

    def do(self, *words: object) -> list[dict[str, object]]:
        """A command of the laptop; what it said."""
        return self.program.do("--key-file", self.laptop_key, *words, "--json").lines

    def opened(self, key: Path | None = None) -> Repository:
        """The repository, as an owner's or another key opens it."""
        store = OnlineStore(parse(self.address, repository=True), Api(self.owner.url, self.owner.token("admin")))
        found = open_repository(store, KeyFile.parse((key or self.owner_key).read_text()), self.folder / "other-cache")
        store.close()
        return found

    def told(self, who: Client | None = None) -> dict[str, Any]:
        """What the server says of jobs."""
        found: dict[str, Any] = (who or self.owner)("GET", f"{BASE}/restores").json
        return found

    def job(self, id: str) -> dict[str, Any]:
        """What it says of one."""
        return next(each for each in self.told()["restores"] if each["id"] == id)

    def order(self, made: Ordered) -> None:
        """Hand a job over."""
        answer = self.owner("POST", f"{BASE}/devices/{self.laptop.id}/restores", made.value)
        assert answer.status == 201, answer.data


def household(owner: Person, folder: Path, monkeypatch: pytest.MonkeyPatch, capture: pytest.CaptureFixture[bytes]) -> Household:
    """One with a home, a state and a cache of its own in that folder."""
    for name in [name for name in os.environ if name.startswith("SAFEHOLD_")]:
        monkeypatch.delenv(name)
    program = Program(folder, monkeypatch, capture)
    folders = {"SAFEHOLD_STATE_DIR": "state", "SAFEHOLD_CACHE_DIR": "cache", "XDG_CONFIG_HOME": "config", "HOME": "user"}
    program.set(**{name: str(folder / below) for name, below in folders.items()})
    (folder / "user").mkdir()
    owner.repository()
    return Household(owner, program, folder)


def paths(*names: Path) -> Sequence[bytes]:
    """As orders have them."""
    return [os.fsencode(name) for name in names]
