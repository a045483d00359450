"""What a server does by itself: on a clock that the test moves."""

from __future__ import annotations

import os
import socketserver
import threading
import time
from email import message_from_bytes
from pathlib import Path

import msgspec
import pytest
from online_servers import Person, ServerInThread, device, put_snapshot, snapshot_key
from sqlalchemy import func, select, update

from safehold.server import audit
from safehold.server.devices import health
from safehold.server.devices.health import Size
from safehold.server.errors import Refusal
from safehold.server.jobs import lapsing, mailing, notices, purging, schedule, scrubbing
from safehold.server.jobs.thread import JobThread
from safehold.server.objects import holdings, quota
from safehold.server.schema import attempts, browser_sessions, enrolments, jobs, objects, reservations
from safehold.server.schema import notices as notices_table

NS = 10**9
HOUR, DAY = 3600, 86400


def path_of(server: ServerInThread, base: str, owner: Person, key: str) -> Path:
    return server.settings.data / "repositories" / owner("GET", base).json["id"] / key


def test_the_trash_is_emptied_after_its_days_and_not_before(server: ServerInThread, owner: Person) -> None:
    base = owner.repository()
    key, kept = put_snapshot(owner, base, b"old"), put_snapshot(owner, base, b"kept")
    assert owner("DELETE", f"{base}/objects/{key}").status == 204
    file, other = path_of(server, base, owner, key), path_of(server, base, owner, kept)
    server.clock.pass_days(13.9)
    assert purging.purge(server.service) == "0 removed" and file.exists()
    server.clock.pass_days(0.2)
    assert purging.purge(server.service) == "1 removed"
    assert not file.exists() and other.exists()
    assert purging.purge(server.service) == "0 removed"
    owner.log_in(code=owner.recovery[0])  # type: ignore[attr-defined]
    assert owner("GET", f"{base}/trash").json == {"objects": []}
    put_snapshot(owner, base, b"old")
    assert owner("GET", f"{base}/objects/{key}").data == b"old"
    with server.service.database.read() as connection:
        assert audit.verify(connection) is None


def test_what_was_stored_again_outlives_the_trash(server: ServerInThread, owner: Person) -> None:
    base = owner.repository()
    key = put_snapshot(owner, base, b"twice")
    owner("DELETE", f"{base}/objects/{key}")
    put_snapshot(owner, base, b"twice")
    server.clock.pass_days(20)
    assert purging.purge(server.service) == "0 removed"
    owner.log_in(code=owner.recovery[0])  # type: ignore[attr-defined]
    assert owner("GET", f"{base}/objects/{key}").data == b"twice"


def test_a_purge_that_was_cut_off_leaves_bytes_that_are_found_as_strays(server: ServerInThread, owner: Person) -> None:
    base = owner.repository()
    key, other = put_snapshot(owner, base, b"cut off"), put_snapshot(owner, base, b"other")
    owner("DELETE", f"{base}/objects/{key}")
    file = path_of(server, base, owner, key)
    with server.service.database.write() as connection:
        connection.execute(holdings.trash.delete())
    assert scrubbing.strays(server.service) == "0 removed", "too young"
    server.clock.pass_days(0.1)
    assert scrubbing.strays(server.service) == "1 removed"
    assert not file.exists() and path_of(server, base, owner, other).exists()


def test_strays_leave_what_is_in_the_trash_or_put_aside(server: ServerInThread, owner: Person) -> None:
    base = owner.repository()
    trashed, aside = put_snapshot(owner, base, b"trashed"), put_snapshot(owner, base, b"aside")
    owner("DELETE", f"{base}/objects/{trashed}")
    assert owner("POST", f"{base}/quarantine", {"key": aside}).status == 204
    store = server.service.store(owner("GET", base).json["id"])
    store.put("quarantine/config", b"of a server that died while it put it aside")
    server.clock.pass_days(1)
    assert scrubbing.strays(server.service) == "0 removed"
    assert {each.key for each in store.list("")} == {trashed, f"quarantine/{aside}", "quarantine/config"}


def test_bytes_that_are_removed_while_they_are_recorded_are_never_acknowledged(
    server: ServerInThread, owner: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = owner.repository()
    place = owner("GET", base).json["id"]
    store = server.service.store(place)
    lock = holdings.lock
    key = snapshot_key(b"snatched")

    def snatching(connection: object, repository: str) -> object:
        store.delete(key)
        return lock(connection, repository)  # type: ignore[arg-type]

    monkeypatch.setattr(holdings, "lock", snatching)
    answer = owner("PUT", f"{base}/objects/{key}", data=b"snatched")
    monkeypatch.undo()
    assert answer.status == 400 and "being removed" in answer.json["message"]
    assert owner("GET", f"{base}/objects").json["objects"] == []
    put_snapshot(owner, base, b"snatched")


def test_a_scrub_finds_lost_and_changed_bytes_and_says_so(server: ServerInThread, owner: Person) -> None:
    base = owner.repository()
    lost, changed, longer, good = (put_snapshot(owner, base, each) for each in (b"lost", b"changed", b"longer", b"good"))
    path_of(server, base, owner, lost).unlink()
    for key, content in ((changed, b"chAnged"), (longer, b"longer!")):
        file = path_of(server, base, owner, key)
        os.chmod(file, 0o600)
        file.write_bytes(content)
    assert scrubbing.scrub(server.service) == "4 looked at, 3 damaged"
    found = {r["key"]: r["damage"] for r in owner("GET", f"{base}/damage").json["objects"]}
    assert found == {lost: "lost", changed: "changed", longer: "changed"}
    assert owner("GET", base).json["damaged"] == 3
    with server.service.database.read() as connection:
        told = connection.execute(select(notices_table)).all()
        assert len(told) == 1 and "anna/home" in told[0].subject, "one a day"
        noted = connection.execute(select(audit.audit.c.what).where(audit.audit.c.what == "scrub.damage")).all()
        assert len(noted) == 3
    path_of(server, base, owner, changed).write_bytes(b"changed")
    server.clock.pass_days(1.1)
    scrubbing.scrub(server.service)
    with server.service.database.read() as connection:
        damaged = connection.execute(select(objects.c.key).where(objects.c.damage > "")).scalars()
        assert set(damaged) == {lost, longer}
    assert good not in found


def test_a_scrub_takes_the_longest_unseen_first_and_only_its_share(
    server: ServerInThread, owner: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert scrubbing.share(0, 30, 24) == (1 << 30) // 24
    assert scrubbing.share(720 << 30, 30, 24) == 1 << 30
    base = owner.repository()
    keys = [put_snapshot(owner, base, bytes([n]) * 1000) for n in range(6)]
    monkeypatch.setattr(scrubbing, "LEAST_BYTES", 2000 * 24)
    for count in (2, 4, 6):
        assert scrubbing.scrub(server.service) == "2 looked at, 0 damaged"
        with server.service.database.read() as connection:
            seen = connection.execute(select(func.count()).select_from(objects).where(objects.c.checked_ns > 0)).scalar_one()
        assert seen == count
    assert scrubbing.scrub(server.service) == "0 looked at, 0 damaged", "all were seen today"
    assert len(keys) == 6


def test_what_has_lapsed_is_forgotten(server: ServerInThread, owner: Person) -> None:
    owner.repository()
    with server.service.database.write() as connection:
        account = connection.execute(select(holdings.repositories.c.account)).scalar_one()
        connection.execute(update(quota.accounts).values(quota=1000))
        quota.reserve(connection, account, 900, server.clock.now_ns())
        with pytest.raises(Refusal):
            quota.reserve(connection, account, 200, server.clock.now_ns())
    device(owner)
    server.clock.pass_days(31)
    lapsing.forget(server.service)
    with server.service.database.read() as connection:
        for table in (reservations, attempts, enrolments, browser_sessions):
            assert connection.execute(select(func.count()).select_from(table)).scalar_one() == 0, table.name


def test_an_upload_that_outlived_its_reservation_has_to_find_room_again(server: ServerInThread, owner: Person) -> None:
    owner.repository()
    now = server.clock.now_ns()
    with server.service.database.write() as connection:
        account = connection.execute(select(holdings.repositories.c.account)).scalar_one()
        connection.execute(update(quota.accounts).values(quota=1000))
        slow = quota.reserve(connection, account, 800, now)
    later = now + quota.LAPSE_NS + 1
    with server.service.database.write() as connection:
        quota.settle(connection, account, slow, 800, later)
    with server.service.database.write() as connection:
        slow = quota.reserve(connection, account, 800, now)
        quota.reserve(connection, account, 800, later)
    with pytest.raises(Refusal, match="quota"), server.service.database.write() as connection:
        quota.settle(connection, account, slow, 800, later)


def test_devices_that_are_overdue_are_told_of_once(server: ServerInThread, owner: Person) -> None:
    owner.repository()
    laptop = device(owner)
    base = "/api/v1/repositories/anna/home"
    assert laptop("POST", f"{base}/reports", {"status": "done", "files": 3, "bytes": 100}).status == 201
    server.clock.pass_days(1.2)
    assert notices.overdue(server.service) == "0 told", "a quarter of its time is grace"
    server.clock.pass_days(0.1)
    assert notices.overdue(server.service) == "1 told"
    assert notices.overdue(server.service) == "0 told"
    laptop("POST", f"{base}/reports", {"status": "failed"})
    assert notices.overdue(server.service) == "0 told", "a failure is no backup, and the same one is still missing"
    laptop("POST", f"{base}/reports", {"status": "done"})
    server.clock.pass_days(2)
    assert notices.overdue(server.service) == "1 told"
    with server.service.database.read() as connection:
        subjects = connection.execute(select(notices_table.c.subject)).scalars().all()
    assert subjects == ["laptop has no new backup"] * 2


def test_what_is_suddenly_small() -> None:
    usual = health.usual([Size(100, 50 << 20), Size(101, 51 << 20), Size(99, 49 << 20), Size(5000, 0), Size(1, 1 << 40)])
    assert usual == Size(100, 50 << 20)
    assert health.usual([Size(1, 1)] * 4) is None
    assert not health.is_shrunk(Size(50, 25 << 20), usual)
    assert health.is_shrunk(Size(49, 50 << 20), usual) and health.is_shrunk(Size(100, 24 << 20), usual)
    assert not health.is_shrunk(Size(0, 0), Size(19, (1 << 20) - 1)), "too small to say"
    assert not health.is_overdue(0, 5) and health.is_overdue(4, 5) and not health.is_overdue(5, 5)


def test_backups_that_shrink_stop_deletions_till_the_owner_vouches(server: ServerInThread, owner: Person) -> None:
    base = owner.repository()
    old = put_snapshot(owner, base, b"old")
    laptop = device(owner)

    def report(files: int) -> None:
        assert laptop("POST", f"{base}/reports", {"status": "done", "source": "home", "files": files, "bytes": 5}).status == 201

    for files in (100, 90, 110, 100, 100):
        report(files)
    report(30)
    for _ in range(6):
        report(30)
    refused = owner("DELETE", f"{base}/objects/{old}")
    assert refused.status == 409 and refused.code == "brake" and "laptop" in refused.json["message"]
    with server.service.database.read() as connection:
        assert connection.execute(select(func.count()).select_from(notices_table)).scalar_one() == 2
    report(95)
    other = put_snapshot(owner, base, b"other")
    assert owner("DELETE", f"{base}/objects/{other}").status == 204, "it is as it was"
    for _ in range(5):
        report(100)
    report(10)
    assert owner("DELETE", f"{base}/objects/{old}").status == 409
    assert owner("POST", f"{base}/brake/release").status == 200
    assert owner("DELETE", f"{base}/objects/{old}").status == 204


class _Mailbox(socketserver.StreamRequestHandler):
    """A mail server that takes everything."""

    def handle(self) -> None:
        say = lambda line: self.wfile.write(line + b"\r\n")  # noqa: E731
        say(b"220 here")
        for line in self.rfile:
            word = line.strip().upper()
            if word == b"DATA":
                say(b"354 go on")
                lines = []
                while (line := self.rfile.readline()) not in (b".\r\n", b""):
                    lines.append(line)
                self.server.mails.append(message_from_bytes(b"".join(lines)))  # type: ignore[attr-defined]
            say(b"221 bye" if word == b"QUIT" else b"250 ok")


def test_notices_are_mailed_once(tmp_path: Path) -> None:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Mailbox) as box:
        box.mails = []  # type: ignore[attr-defined]
        threading.Thread(target=box.serve_forever, daemon=True).start()
        server = ServerInThread(
            tmp_path / "srv", mail_url=f"smtp://127.0.0.1:{box.server_address[1]}", mail_from="safehold@example.org"
        )
        try:
            anna = server.owner()
            with server.service.database.write() as connection:
                connection.execute(mailing.people.update().values(email="anna@example.org"))
            anna.repository()
            device(anna, "büro")
            server.clock.pass_days(3)
            assert notices.overdue(server.service) == "1 told"
            assert mailing.send(server.service) == "1 sent"
            assert mailing.send(server.service) == "0 sent"
        finally:
            server.stop()
            box.shutdown()
        (mail,) = box.mails  # type: ignore[attr-defined]
    assert mail["To"] == "anna@example.org" and mail["From"] == "safehold@example.org"
    assert "anna/home for 3 days" in mail.get_payload(decode=True).decode()


def test_mail_that_cannot_be_sent_is_tried_again_later(server: ServerInThread, owner: Person) -> None:
    with server.service.database.write() as connection:
        connection.execute(mailing.people.update().values(email="anna@example.org"))
    owner.repository()
    device(owner)
    server.clock.pass_days(3)
    notices.overdue(server.service)
    server.service.settings = msgspec.structs.replace(server.settings, mail_url="smtp://127.0.0.1:1", mail_from="a@example.org")

    class Broken:
        def send_message(self, msg: object) -> None:
            raise OSError("broken")

        def quit(self) -> None:
            """Nothing to end."""

    with pytest.raises(OSError, match="broken"):
        mailing.send(server.service, lambda _: Broken())
    assert mailing.send(server.service, lambda _: Broken()) == "0 sent", "not at once again"
    server.clock.pass_days(0.01)
    with pytest.raises(OSError, match="broken"):
        mailing.send(server.service, lambda _: Broken())


def test_jobs_run_when_they_are_due_and_on_one_server_only(server: ServerInThread) -> None:
    runs: list[str] = []

    def failing(_service: object) -> str:
        runs.append("bad")
        raise OSError("no disk")

    def good(_service: object) -> str:
        runs.append("good")
        assert not schedule.run(server.service, "good", mine, at_once=True), "it runs already"
        return "fine"

    mine = {"bad": schedule.Job(failing, HOUR, ""), "good": schedule.Job(good, DAY, "")}
    assert schedule.run_due(server.service, mine) == ["bad", "good"]
    assert schedule.run_due(server.service, mine) == []
    server.clock.pass_days(0.05)
    assert schedule.run_due(server.service, mine) == ["bad"]
    server.clock.pass_days(1)
    assert schedule.run_due(server.service, mine) == ["bad", "good"]
    with server.service.database.read() as connection:
        told = {row["name"]: row for row in schedule.standing(connection)}
    assert told["good"]["result"] == "fine" and told["bad"]["error"] == "OSError: no disk"
    with server.service.database.write() as connection:  # a server died while it ran it
        lease = server.clock.now_ns() + schedule.LEASE_NS
        connection.execute(update(jobs).where(jobs.c.name == "good").values(lease_ns=lease, began_ns=lease, ended_ns=0))
    assert schedule.run_due(server.service, {"good": mine["good"]}) == []
    server.clock.offset_ns += schedule.LEASE_NS + 1
    assert schedule.run_due(server.service, {"good": mine["good"]}) == ["good"]


def test_the_thread_of_a_lone_server_runs_all_jobs_and_stops(server: ServerInThread, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("safehold.server.jobs.thread.FIRST_SECONDS", 0.0)
    thread = JobThread(server.service)
    thread.start()
    for _ in range(200):
        with server.service.database.read() as connection:
            ended = {row["name"] for row in schedule.standing(connection) if row["ended_ns"] and not row["error"]}
        if ended == set(schedule.JOBS):
            break
        time.sleep(0.05)
    thread.stop()
    assert ended == set(schedule.JOBS)
