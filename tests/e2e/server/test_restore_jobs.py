"""Restores that are ordered from a device: who may, what a hostile server or member can not, and what comes back."""

from __future__ import annotations

import base64
import os
import signal
from pathlib import Path

import msgspec
import pytest
from online_servers import Client, Person, ServerInThread, device, text
from restore_orders import BASE, Household, Ordered, household, make_job, paths, read_offer, read_report
from sqlalchemy import update

from safehold.cli import restore_jobs
from safehold.cli.allowed_restores import Allowed, Memory
from safehold.codec.job import Offer, Order
from safehold.core.errors import StoreUnreachable, TargetError
from safehold.ops import ordered_restore
from safehold.repo.keys.keyring import Keyring
from safehold.server.jobs import lapsing
from safehold.server.schema import restores
from safehold.storage.online.api import Api

EVIL = "<img src=x onerror=hurt>\u202e.txt"


@pytest.fixture
def home(
    server: ServerInThread,
    owner: Person,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsysbinary: pytest.CaptureFixture[bytes],
) -> Household:
    return household(owner, tmp_path, monkeypatch, capsysbinary)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    made = tmp_path / "source"
    for name, data in {
        "letters/one.txt": b"one\n",
        "letters/old/two": b"2" * 9000,
        "pictures/a.png": b"png",
        EVIL: b"evil",
    }.items():
        path = made / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    (made / "letters" / "link").symlink_to("/etc/passwd")
    return made


class Ready:
    """A household whose laptop has backed up, and allows restores."""

    def __init__(self, home: Household, source: Path, *words: object) -> None:
        self.home, self.source = home, source
        self.snapshot = str(home.do("backup", source)[0]["snapshot"])
        home.do("device", "allow-restores", *words)
        self.keyring: Keyring = home.opened().keyring
        (told,) = home.told()["offers"]
        self.letter = base64.b64decode(told["offer"])
        self.offer: Offer
        self.offer, self.folders = read_offer(self.keyring, self.letter)

    def made(self, *names: Path, into: str = "", snapshot: str = "", **more: object) -> Ordered:
        return make_job(self.keyring, self.offer, Order(snapshot or self.snapshot, list(paths(*names)), into), **more)  # type: ignore[arg-type]

    def ordered(self, *names: Path, **more: object) -> str:
        made = self.made(*names, **more)  # type: ignore[arg-type]
        self.home.order(made)
        return made.id

    def outcome(self, id: str) -> dict[str, object]:
        """What the device signed of a job, and that the server says the same."""
        told = self.home.job(id)
        report, outcome = read_report(self.keyring, self.offer.slot, base64.b64decode(told["report"]))
        assert report.id.hex() == id and report.state == told["state"]
        return {"state": report.state, "code": told["code"], **msgspec.structs.asdict(outcome)}

    @property
    def restored(self) -> list[Path]:
        return sorted(Path(self.folders[0]).iterdir())


@pytest.fixture
def ready(home: Household, source: Path) -> Ready:
    return Ready(home, source)


def content(folder: Path) -> dict[str, bytes | str]:
    """Files by their bytes, links by where they lead."""
    return {
        str(path.relative_to(folder)): os.readlink(path) if path.is_symlink() else path.read_bytes()
        for path in folder.rglob("*")
        if path.is_symlink() or path.is_file()
    }


def test_what_was_chosen_comes_back_into_a_new_folder(ready: Ready) -> None:
    home, source = ready.home, ready.source
    assert ready.folders == [str(home.folder / "user" / "Restored by Safehold")]
    everything = ready.ordered()
    some = ready.ordered(source / "letters" / "old", source / "pictures" / "a.png", source / EVIL)
    one = ready.ordered(source / "letters" / "one.txt")
    assert home.job(one)["state"] == "waiting"
    said = home.do("device", "run-restores")
    assert [each["job"] for each in said] == [everything, some, one] and {each["state"] for each in said} == {"done"}
    folders = {id: Path(str(ready.outcome(id)["folder"])) for id in (everything, some, one)}
    assert ready.restored == sorted(folders.values()), "nothing is unfinished"
    assert content(folders[everything] / source.relative_to("/")) == content(source)
    assert content(folders[some]) == {k: v for k, v in content(source).items() if k.startswith(("letters/old", "pictures", "<"))}
    assert content(folders[one]) == {"one.txt": b"one\n"}
    assert ready.outcome(some)["bytes"] == 9007 and home.job(some)["percent"] == 100
    assert all(folder.stat().st_mode & 0o077 == 0 for folder in (folders[everything], folders[some]))
    assert home.do("device", "run-restores") == []
    what = [line["what"] for line in home.owner("GET", "/api/v1/audit?repository=anna/home").json["lines"]]
    assert [what.count(f"device.{each}") for each in ("offer", "restore", "restore-begin", "restore-end")] == [1, 3, 3, 3]


def test_the_server_sees_no_name(ready: Ready, server: ServerInThread) -> None:
    ready.ordered(ready.source / "letters")
    ready.home.do("device", "run-restores")
    stored = b"".join(path.read_bytes() for path in server.settings.data.glob("*.sqlite*")) + b"".join(
        path.read_bytes() for path in server.settings.data.glob("*.db*")
    )
    assert b"device.restore" in stored
    for secret in (b"letters", b"Restored by", str(ready.source).encode()):
        assert secret not in stored


def test_a_backup_runs_what_waits_and_more_folders_may_be_allowed(home: Household, source: Path, tmp_path: Path) -> None:
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    ready = Ready(home, source, "--into", tmp_path / "first", "--into", tmp_path / "second")
    assert ready.folders == [str(tmp_path / "first"), str(tmp_path / "second")]
    there = ready.ordered(source / "pictures", into=ready.folders[1])
    elsewhere = ready.ordered(source / "pictures", into=str(tmp_path))
    home.do("backup", source)
    assert content(Path(str(ready.outcome(there)["folder"]))) == {"pictures/a.png": b"png"}
    assert ready.outcome(elsewhere)["state"] == "failed" and "does not allow" in str(ready.outcome(elsewhere)["message"])
    assert not list((tmp_path / "first").iterdir()) and len(list((tmp_path / "second").iterdir())) == 1
    moved = ready.ordered(into=ready.folders[1])
    (tmp_path / "second").rename(tmp_path / "third")
    (tmp_path / "second").symlink_to(tmp_path / "first")
    home.do("device", "run-restores")
    assert ready.outcome(moved)["code"] == "target" and not list((tmp_path / "first").iterdir())
    home.do("device", "allow-restores", "--off")
    assert home.told()["offers"] == [] and home.program("--key-file", home.laptop_key, "device", "run-restores").status == 2


def test_who_may_order_see_and_answer(server: ServerInThread, ready: Ready) -> None:
    home = ready.home
    path = f"{BASE}/devices/{home.laptop.id}/restores"
    other = device(home.owner, "other", scope="admin")
    others = {scope: Client(server.url, home.owner.token(scope, "anna/home")) for scope in ("list", "write", "read", "maintain")}
    for who in (home.laptop, other, *others.values()):
        assert who("POST", path, ready.made().value).status == 403
    assert Client(server.url)("POST", path, ready.made().value).status == 401
    id = ready.ordered()
    for scope, who in others.items():
        assert who("GET", f"{BASE}/restores").status == (200 if scope == "read" else 403)
        assert who("DELETE", f"{BASE}/restores/{id}").status == 403
    assert [each["id"] for each in home.told(home.laptop)["restores"]] == [id] and home.told(home.laptop)["offers"] == []
    assert home.told(other)["restores"] == []
    for who in (other, home.owner, others["read"]):
        assert who("POST", f"{BASE}/restores/{id}", {"state": "done"}).status == 403
        assert who("PUT", f"{BASE}/devices/{home.laptop.id}/offer", {"offer": text(b"x")}).status == 403
    assert other("DELETE", f"{BASE}/restores/{id}").status == 403
    assert home.owner("POST", f"{BASE}/devices/{other.id}/restores", ready.made().value).status == 400, "it takes none"
    made = ready.made()
    assert home.owner("POST", path, {**made.value, "id": id}).status == 409
    for wrong in ({"id": "x"}, {"expires_ns": 1}, {"expires_ns": made.expires_ns * 2}, {"job": ""}):
        assert home.owner("POST", path, {**made.value, **wrong}).status == 400, wrong
    assert home.owner("POST", path, {**made.value, "job": text(bytes(65537))}).status == 413
    for _ in range(19):
        home.order(ready.made())
    assert home.owner("POST", path, made.value).status == 429
    assert home.owner("DELETE", f"{BASE}/restores/{id}").status == 204
    assert home.owner("DELETE", f"{BASE}/restores/{id}").status == 410
    assert home.laptop("POST", f"{BASE}/restores/{id}", {"state": "running"}).status == 410
    home.order(made)
    for wrong in ({"state": "waiting"}, {"state": "running", "percent": 101}):
        assert home.laptop("POST", f"{BASE}/restores/{made.id}", wrong).status == 400


def test_only_an_owners_order_for_this_device_is_run(ready: Ready, source: Path) -> None:
    """Forged by members, altered by the server, for another device, over, and cut."""
    home, keyring, offer = ready.home, ready.keyring, ready.offer
    order = Order(ready.snapshot, [], "")
    reader, writer = (home.opened(key).keyring.device_private for key in (home.laptop_key, home.writer_key))
    good = ready.made()
    other = next(slot for slot in keyring.devices if slot != offer.slot)
    wrong = {
        "signed by a reader": make_job(keyring, offer, order, signing=reader),
        "signed by a writer": make_job(keyring, offer, order, signing=writer),
        "signed by nobody": make_job(keyring, offer, order, signing=os.urandom(32)),
        "a bit": good._replace(id=os.urandom(16).hex(), job=good.job[:-70] + bytes([good.job[-70] ^ 1]) + good.job[-69:]),
        "another id": ready.made()._replace(id=os.urandom(16).hex()),
        "another slot": make_job(keyring, offer, order, slot=other),
        "another machine with the same key": make_job(keyring, offer, order, public=os.urandom(32)),
        "over": make_job(keyring, offer, order, created_ns=1, expires_ns=2)._replace(expires_ns=good.expires_ns),
        "for ever": make_job(keyring, offer, order, created_ns=1),
        "cut": good._replace(id=os.urandom(16).hex(), job=good.job[:64]),
    }
    for made in wrong.values():
        home.order(made)
    ran = home.program.do("--key-file", home.laptop_key, "device", "run-restores", "--json")
    assert ran.err.count("was refused") == len(wrong)
    for what, made in wrong.items():
        assert home.job(made.id)["state"] == "failed", what
    assert ready.restored == []
    assert not home.opened(home.laptop_key).keyring.secrets.admin_private


def test_a_job_is_never_run_twice(server: ServerInThread, ready: Ready) -> None:
    home = ready.home
    made = ready.made(ready.source / "pictures")
    home.order(made)
    home.do("device", "run-restores")
    with (
        server.service.database.write() as connection
    ):  # a hostile server hands it on again, or under a name that was not used yet
        connection.execute(update(restores).where(restores.c.id == made.id).values(state="waiting", report=b""))
    assert home.do("device", "run-restores") == [] and len(ready.restored) == 1
    home.do("device", "allow-restores")  # also not when it is allowed anew
    with server.service.database.write() as connection:
        connection.execute(update(restores).where(restores.c.id == made.id).values(state="waiting", report=b""))
    assert home.do("device", "run-restores") == [] and len(ready.restored) == 1


def test_another_spelling_of_an_id_is_no_other_id(ready: Ready, monkeypatch: pytest.MonkeyPatch) -> None:
    made = ready.made(ready.source / "pictures")
    ready.home.order(made)
    ready.home.do("device", "run-restores")
    spellings = [made.id.upper(), f" {made.id}", f"{made.id[:8]} {made.id[8:]}", f"{made.id}\n", "", "zz"]
    again = restore_jobs._Told([restore_jobs._Job(each, made.job) for each in spellings if each != made.id])
    call = Api.call
    monkeypatch.setattr(
        Api, "call", lambda self, m, path, *more: again if path.endswith("/restores") else call(self, m, path, *more)
    )
    ran = ready.home.program.do("--key-file", ready.home.laptop_key, "device", "run-restores", "--json")
    assert ran.err.count("was refused") == len(again.restores) and len(ready.restored) == 1


@pytest.mark.parametrize("words", [("--off",), ()], ids=["off", "anew"])
def test_allowing_no_more_stops_what_runs(ready: Ready, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]) -> None:
    home, id, real = ready.home, ready.ordered(), ordered_restore.restore

    def meanwhile(*given: object, **more: object) -> object:
        if not changed:
            ran = home.program.spawn("--key-file", home.laptop_key, "device", "allow-restores", *words)
            changed.append(Memory(home.state, ready.keyring.repository_id).read())
            assert ran.status == 0, ran.err
        return real(*given, **more)  # type: ignore[arg-type]

    changed: list[Allowed | None] = []
    monkeypatch.setattr(ordered_restore, "restore", meanwhile)
    assert "was stopped" in home.program.do("--key-file", home.laptop_key, "device", "run-restores").err
    left = Memory(home.state, ready.keyring.repository_id).read()
    assert left == changed[0] and (left is None) == bool(words), "what was decided meanwhile holds"
    assert [path.suffix for path in ready.restored] == [".unfinished"] and home.job(id)["state"] == "cancelled"


def test_a_folder_that_cannot_get_its_name_is_said(ready: Ready, monkeypatch: pytest.MonkeyPatch) -> None:
    id = ready.ordered(ready.source / "pictures")

    def refused(folder: Path) -> None:
        raise TargetError("It cannot be given its name.", "")

    monkeypatch.setattr(restore_jobs, "finish", refused)
    ready.home.do("device", "run-restores")
    told = ready.outcome(id)
    assert told["state"] == "incomplete" and "its name" in str(told["message"])
    assert [str(path) for path in ready.restored] == [told["folder"]]


def test_nobody_orders_from_a_writer(ready: Ready, source: Path) -> None:
    home = ready.home
    refused = home.program("--key-file", home.writer_key, "device", "allow-restores")
    assert refused.status == 13 and "may add backups but not read" in refused.err
    ran = home.program.do("--key-file", home.writer_key, "backup", source)
    assert "ordered" not in ran.err


@pytest.mark.parametrize("times", [1, restore_jobs.MOST_TRIES])
def test_what_was_interrupted_is_gone_on_with(ready: Ready, monkeypatch: pytest.MonkeyPatch, times: int) -> None:
    home = ready.home
    id = ready.ordered()
    with monkeypatch.context() as patch:
        patch.setattr(ordered_restore, "restore", lambda *_, **__: os.kill(os.getpid(), signal.SIGTERM) or signal.pause())
        for _ in range(times):
            assert home.program("--key-file", home.laptop_key, "device", "run-restores").status == 130
    (unfinished,) = ready.restored
    assert unfinished.name.endswith(".unfinished") and home.job(id)["state"] == "running"
    (unfinished / "source").mkdir()
    home.do("device", "run-restores")
    if times > 1:
        assert ready.outcome(id)["state"] == "failed" and "begun 5 times" in str(ready.outcome(id)["message"])
        return
    (folder,) = ready.restored
    assert folder == Path(str(ready.outcome(id)["folder"])) and not folder.name.endswith(".unfinished")
    assert content(folder / ready.source.relative_to("/")) == content(ready.source)


def test_what_could_not_be_told_is_told_by_the_next_run(ready: Ready, monkeypatch: pytest.MonkeyPatch) -> None:
    home = ready.home
    id = ready.ordered(ready.source / "pictures")
    tell = restore_jobs._Running._tell

    def broken(self: object, id: str, state: str, *more: object) -> None:
        if state == "done":
            raise StoreUnreachable("gone", "")
        tell(self, id, state, *more)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(restore_jobs._Running, "_tell", broken)
        home.do("device", "run-restores")
    assert home.job(id)["state"] == "running"
    assert home.do("device", "run-restores") == [] and len(ready.restored) == 1
    assert ready.outcome(id)["state"] == "done"


def test_cancelled_on_the_way(ready: Ready, monkeypatch: pytest.MonkeyPatch) -> None:
    home = ready.home
    never, id = ready.ordered(), ready.ordered()
    assert home.owner("DELETE", f"{BASE}/restores/{never}").status == 204
    monkeypatch.setattr(restore_jobs, "TELL_SECONDS", 0)
    real = ordered_restore.restore

    def stopped(*words: object, **more: object) -> object:
        assert home.owner("DELETE", f"{BASE}/restores/{id}").status == 204
        return real(*words, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(ordered_restore, "restore", stopped)
    home.do("device", "run-restores")
    (left,) = ready.restored
    assert left.name.endswith(".unfinished") and ready.outcome(id)["folder"] == str(left)
    assert home.job(never)["state"] == "cancelled"
    assert home.do("device", "run-restores") == []


def test_what_is_not_there_fails_with_a_sentence(ready: Ready) -> None:
    gone, up = ready.ordered(ready.source / "nothing"), ready.ordered(Path("/../../etc"))
    trash = ready.ordered(snapshot="0" * 64)
    ready.home.do("device", "run-restores")
    assert {ready.outcome(id)["code"] for id in (gone, up)} == {"path-missing"}
    assert ready.outcome(trash)["code"] == "snapshot-missing" and ready.restored == []


def test_jobs_expire_and_are_forgotten(server: ServerInThread, ready: Ready) -> None:
    id, begun = ready.ordered(), ready.ordered()
    assert ready.home.laptop("POST", f"{BASE}/restores/{begun}", {"state": "running"}).status == 204
    server.clock.pass_days(8)
    admin = Client(server.url, server.fresh_token())
    assert {each["id"]: each["state"] for each in ready.home.told(admin)["restores"]} == {id: "expired", begun: "expired"}
    server.clock.pass_days(91)
    lapsing.forget(server.service)
    assert ready.home.told(Client(server.url, server.fresh_token()))["restores"] == []
