"""The pages as the real server gives them, with its policy, its session and its objects."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from online_servers import Person, ServerInThread, device, text
from web_browser import NAMES, Browser, running, sha256
from web_repository import PASSPHRASE, Made, make

from safehold.cli.logins import Login, Logins
from safehold.codec.keyfile import KeyFile
from safehold.codec.passphrase import Passphrase
from safehold.codec.recovery import RecoveryKey
from safehold.core.clock import SystemClock
from safehold.repo.keys.admin import add_slot, list_slots
from safehold.repo.repository import open_repository
from safehold.storage.local import LocalStore

EVIL = "<img src=x onerror=window.hurt=1>"
HARMFUL = "laptop <svg onload=window.hurt=1>"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make(tmp_path_factory.mktemp("web"))


@pytest.fixture(scope="module")
def anna(made: Made, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Person]:
    """The owner of a server, with the repository as ``anna/home``."""
    server = ServerInThread(tmp_path_factory.mktemp("server"))
    person = server.owner()
    base = person.repository()
    order = ["config", "config-copy", "keys", "packs", "index", "snapshots"]
    for top in order:
        paths = (
            [made.folder / top]
            if top.startswith("config")
            else sorted(path for path in (made.folder / top).rglob("*") if path.is_file())
        )
        for path in paths:
            answer = person("PUT", f"{base}/objects/{path.relative_to(made.folder).as_posix()}", data=path.read_bytes())
            assert answer.status == 201, answer.data
    yield person
    person.close()
    server.stop()


@pytest.fixture(scope="module", params=NAMES)
def browser(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with running(request.param, tmp_path_factory.mktemp(request.param)) as started:
        yield started


def unlock(browser: Browser) -> None:
    browser.tell("type", selector="#secret", text=PASSPHRASE)
    browser.tell("click", selector=".unlock-form .primary")


def log_in(browser: Browser, anna: Person) -> None:
    """Without the page for it, which other tests use."""
    order = {"name": "anna", "login": text(anna.login), "code": anna.recovery.pop()}  # type: ignore[attr-defined]
    headers = {"X-Safehold": "1", "Content-Type": "application/json"}
    options = {"method": "POST", "headers": headers, "body": json.dumps(order)}
    assert browser.tell("run", script=f"fetch('/api/v1/login', {json.dumps(options)}).then((answer) => answer.status)") == 200


class Laptop:
    """A device with a reader's key, whose owner lets restores be ordered from it."""

    def __init__(self, anna: Person, made: Made, folder: Path, name: str) -> None:
        store = LocalStore(made.folder, create=False)
        opened = open_repository(store, Passphrase(PASSPHRASE), folder / "cache")
        self.key = KeyFile.new(opened.id, os.urandom)
        slot = f"keys/{add_slot(store, opened.keyring, 'reader', self.key, name, clock=SystemClock()).hex()}.slot"
        assert anna("PUT", f"/api/v1/repositories/anna/home/objects/{slot}", data=store.get(slot)).status == 201
        store.close()
        (folder / "laptop.key").write_text(self.key.text())
        (folder / "user").mkdir()
        admitted = device(anna, name, scope="read+write")
        token = admitted.headers["Authorization"].removeprefix("Bearer ")
        self.place = f"{anna.url}/anna/home"
        Logins(folder / "state", {}).remember(self.place, Login(token=token, device=admitted.id))
        self.environ = {**os.environ, "HOME": str(folder / "user"), "XDG_CONFIG_HOME": str(folder / "config")}
        self.environ |= {f"SAFEHOLD_{name}_DIR": str(folder / name.lower()) for name in ("STATE", "CACHE")}
        self.folder = folder
        self._leave = partial(anna, "DELETE", f"/api/v1/repositories/anna/home/devices/{admitted.id}")
        self.do("allow-restores")

    def leave(self) -> None:
        """Another browser's device is the only one there is, again."""
        assert self._leave().status < 300

    def do(self, *words: str) -> None:
        """A command of the device."""
        done = self._ran(*words)
        assert done.returncode == 0, done.stderr

    def refused(self, *words: str) -> bytes:
        """What it says of a command that does not work."""
        done = self._ran(*words)
        assert done.returncode
        return done.stderr

    def _ran(self, *words: str) -> subprocess.CompletedProcess[bytes]:
        program = [sys.executable, "-m", "safehold", "-r", self.place, "--key-file", str(self.folder / "laptop.key"), "device"]
        return subprocess.run([*program, *words], env=self.environ, check=False, capture_output=True)


def restored_on_a_device(browser: Browser, laptop: Laptop, made: Made, folder: Path) -> None:
    """Ordered in the page that is open, run by the program, and seen in the page."""
    browser.tell("go", hash=f"#/files/{made.snapshots[-1][:16]}{made.source}/Documents")
    browser.tell("waitText", selector="h1", text="Documents")
    browser.tell("clickText", selector="main .button", text="Restore on a device")
    browser.tell("click", selector="#what-some")
    browser.tell("clickText", selector=".take-list label", text="shopping.txt")
    browser.tell("clickText", selector=".take-list label", text="Contract.pdf")
    shots(browser, "restore")
    browser.tell("clickText", selector="form .primary", text="Restore")
    browser.tell("waitText", selector=".toast", text="is told")
    browser.tell("waitText", selector=".badge", text="waits for the device")
    laptop.do("run-restores")
    browser.tell("waitText", selector=".badge.added", text="done")
    assert any("shopping.txt" in row or "Contract.pdf" in row for row in browser.texts("tbody tr"))
    shots(browser, "restores")
    (came,) = (folder / "user" / "Restored by Safehold").iterdir()
    assert sorted(path.name for path in came.iterdir()) == ["Contract.pdf", "shopping.txt"]
    for path in came.iterdir():
        assert path.read_bytes() == (made.source / "Documents" / path.name).read_bytes()
    handed_a_plan(browser, laptop)
    assert browser.tell("run", script="window.hurt ?? null") is None


def handed_a_plan(browser: Browser, laptop: Laptop) -> None:
    """In the page that is open; taken by the program, shown, and taken back."""
    browser.tell("go", hash="#/plans")
    browser.tell("waitText", selector="h1", text="Plans of devices")
    browser.tell("clickText", selector="summary", text="Hand out a plan")
    for at, value in ((0, "office"), (1, "/etc\n")):
        script = f"document.querySelectorAll('.hand .field')[{at}].querySelector('input, textarea').value = {json.dumps(value)}"
        browser.tell("run", script=script)
    shots(browser, "plans")
    browser.tell("clickText", selector=".hand .primary", text="Hand out")
    browser.tell("waitText", selector=".plan-list pre", text='sources = ["/etc"]\nevery')
    laptop.do("allow-plans")
    assert b"none of the folders" in laptop.refused("take-plans")
    browser.tell("clickText", selector="summary", text="Hand out a plan")
    script = "document.querySelectorAll('.hand .field')[0].querySelector('input').value = 'office'"
    browser.tell("run", script=script)
    browser.tell("clickText", selector=".hand .primary", text="Hand out")
    browser.tell("waitText", selector=".plan-list pre", text="~/Documents")
    laptop.do("take-plans")
    plan = laptop.folder / "config" / "safehold" / "plans" / "office.toml"
    assert f'sources = ["{laptop.folder}/user/Documents", "{laptop.folder}/user/Pictures"]' in plan.read_text()
    shots(browser, "plans-handed")
    browser.tell("clickText", selector=".plan-head button", text="Take back")
    browser.tell("clickText", selector="dialog .primary", text="Take back")
    browser.tell("waitText", selector="main .soft", text="No plans were handed")
    laptop.do("take-plans")
    assert not plan.exists()


def shots(browser: Browser, name: str) -> None:
    """Pictures to look at, where they are asked for; a phone shows no less."""
    folder = os.environ.get("SAFEHOLD_SHOTS", "")
    for width in (380, 1280):
        browser.tell("resize", width=width)
        assert browser.tell("run", script="document.documentElement.scrollWidth <= innerWidth"), width
        if folder:
            browser.tell("shot", path=f"{folder}/{browser.name}-{name}-{width}.png")


def test_a_session_opens_what_is_there(browser: Browser, anna: Person, made: Made, tmp_path: Path) -> None:
    browser.tell("open", url=f"{anna.url}/anna/home")
    unlock(browser)
    browser.tell("waitText", selector=".message.problem", text="not logged in")
    log_in(browser, anna)
    unlock(browser)
    browser.tell("wait", selector=".snapshot")
    assert len(browser.texts(".snapshot")) == 6
    browser.tell("click", selector=".snapshot a")
    browser.tell("clickText", selector=".entry", text="Documents")
    browser.tell("waitText", selector="h1", text="Documents")
    browser.tell("clickText", selector=".entry", text="Contract.pdf")
    browser.tell("wait", selector="iframe.preview-pdf")
    browser.tell("clickText", selector="main .button", text="Download")
    browser.tell("waitText", selector=".job.done", text="Done and verified")
    assert sha256(browser.landed("Contract.pdf").read_bytes()) == sha256((made.source / "Documents/Contract.pdf").read_bytes())
    browser.tell("front")  # Firefox shows a PDF that was downloaded in a tab of its own, and slows down those behind it
    laptop = Laptop(anna, made, tmp_path, f"{HARMFUL} {browser.name}")
    restored_on_a_device(browser, laptop, made, tmp_path)
    heard = browser.tell("heard")
    assert heard["foreign"] == []
    assert [error for error in heard["errors"] if "401" not in error] == []  # the refusal before the login, as a console says it
    browser.tell("open", url=f"{anna.url}/anna/home/devices")
    browser.tell("waitText", selector=".badge.added", text="done")
    shots(browser, "devices")
    assert browser.tell("heard") == {"errors": [], "foreign": []}
    laptop.leave()


PRESS_REMOVE = """(name) => {
  const rows = [...document.querySelectorAll('tr')].filter((row) => row.textContent.includes(name));
  rows.map((row) => row.querySelector('button')).find(Boolean).click();
}"""


def test_keys_and_a_recovery_kit(browser: Browser, anna: Person, made: Made, tmp_path: Path) -> None:
    """A key is taken back, and a kit made whose words the program opens the repository with."""
    store = LocalStore(made.folder, create=False)
    opened = open_repository(store, Passphrase(PASSPHRASE), tmp_path / "cache")
    slot = f"keys/{add_slot(store, opened.keyring, 'reader', Passphrase('x'), EVIL, clock=SystemClock()).hex()}.slot"
    objects = "/api/v1/repositories/anna/home/objects"
    assert anna("PUT", f"{objects}/{slot}", data=store.get(slot)).status == 201
    browser.tell("open", url=f"{anna.url}/login")
    browser.tell("wait", selector="main h1")
    log_in(browser, anna)
    browser.tell("open", url=f"{anna.url}/anna/home#/keys")
    unlock(browser)
    browser.tell("waitText", selector="td, th", text=EVIL)
    browser.tell("run", script=f"({PRESS_REMOVE})({json.dumps(EVIL)})")
    browser.tell("clickText", selector="dialog button", text="Remove")
    browser.tell("waitText", selector=".toast", text="opens nothing any more")
    browser.tell("waitText", selector="tr", text="removed")
    browser.tell("clickText", selector="main form .button", text="Make a recovery kit")
    browser.tell("wait", selector=".kit svg.qr")
    words = browser.texts(".kit .words li")
    browser.tell("clickText", selector=".kit .button", text="I have it")
    browser.tell("clickText", selector="dialog button", text="Yes, I have it")
    browser.tell("waitText", selector="h1", text="Keys")
    browser.tell("waitText", selector="td, th", text="recovery kit")
    assert browser.texts(".words") == [] and browser.tell("run", script="window.hurt ?? null") is None
    assert browser.tell("heard") == {"errors": [], "foreign": []}
    out = "fetch('/api/v1/logout', { method: 'POST', headers: { 'X-Safehold': '1' } }).then((answer) => answer.status)"
    assert browser.tell("run", script=out) == 204  # whichever test comes next begins without a session
    listed = {key for key, *_ in anna("GET", f"{objects}?prefix=keys/").json["objects"]}
    for key in listed - {info.key for info in store.list("keys/")}:
        store.put(key, anna("GET", f"{objects}/{key}").data)
    again = open_repository(store, RecoveryKey.parse(" ".join(words)), tmp_path / "other")
    assert again.keyring.role == "owner"
    assert all(each.retired_ns for each in list_slots(store, again.keyring) if each.label == EVIL)
    store.close()
