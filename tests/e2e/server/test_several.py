"""Several servers on one PostgreSQL: in a shared folder, and in a bucket."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random
from typing import Any

import pytest
import urllib3
from online_servers import Answer, Client, Person, ServerInThread, ServerProcess, device, snapshot_key
from postgres_servers import Server as Postgres
from postgres_servers import folder_for_servers
from request_fuzzing import fuzzed
from sqlalchemy import func, select, text, update

from safehold.server import audit, limits, running
from safehold.server.database import Database
from safehold.server.errors import TooMany
from safehold.server.jobs import purging, queue, schedule, scrubbing
from safehold.server.objects import holdings
from safehold.server.schema import accounts, chain, devices, enrolments, jobs, objects, people, repositories, reservations
from safehold.storage.online.chain import BEGINNING, Entry, Head, follow


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with folder_for_servers() as folder:
        made = Postgres(folder).init(max_connections="200").start()
        yield made
        made.stop()


@pytest.fixture
def url(postgres: Postgres) -> Iterator[str]:
    """A database of its own."""
    name = f"d{os.urandom(4).hex()}"
    postgres.sql(f"CREATE DATABASE {name}")
    yield postgres.url.replace("/postgres?", f"/{name}?")
    postgres.sql(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(params=["postgresql", "sqlite"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    address = request.getfixturevalue("url") if request.param == "postgresql" else f"sqlite:///{tmp_path}/db.sqlite"
    made = Database(address)
    yield made
    made.close()


@pytest.fixture(params=["postgresql", "sqlite"])
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[ServerInThread, ServerInThread]]:
    """Two servers on one database and one folder of objects."""
    url = request.getfixturevalue("url") if request.param == "postgresql" else f"sqlite:///{tmp_path}/shared.sqlite"
    made = [ServerInThread(tmp_path / name, database_url=url, store=str(tmp_path / "objects")) for name in "ab"]
    yield made[0], made[1]
    for each in made:
        each.stop()


def at_once(actions: list[Callable[[], Any]]) -> list[Any]:
    """Do them all at the same moment; what came of each, an exception too."""
    barrier = threading.Barrier(len(actions))

    def run(action: Callable[[], Any]) -> Any:
        barrier.wait()
        try:
            return action()
        except Exception as error:
            return error

    with ThreadPoolExecutor(len(actions)) as pool:
        return list(pool.map(run, actions))


def putting(client: Client, base: str, key: str, data: bytes) -> Callable[[], Answer]:
    """The action that stores an object."""
    return lambda: client("PUT", f"{base}/objects/{key}", data=data)


def all_whole(server: ServerInThread) -> None:
    """Chains and audit follow, what is counted is what is there, and no room is set aside any more."""
    with server.service.database.read() as connection:
        assert audit.verify(connection) is None
        for row in connection.execute(select(repositories)):
            lines = connection.execute(select(chain).where(chain.c.repository == row.id).order_by(chain.c.number)).all()
            entries = [Entry(r.number, r.time_ns, r.what, r.key, r.sha256, r.actor) for r in lines]
            assert follow(Head(), entries, "") == Head(row.number, row.head or BEGINNING)
            mine = objects.c.repository == row.id
            stored = connection.execute(select(func.coalesce(func.sum(objects.c.size), 0)).where(mine)).scalar_one()
            assert stored == row.bytes
            there = {each.key: each.size for each in server.service.store(row.id).list("")}
            for line in connection.execute(select(objects).where(mine)):
                assert there.get(line.key) == line.size, line.key
        for row in connection.execute(select(accounts)):
            owned = repositories.c.account == row.id
            total = connection.execute(select(func.coalesce(func.sum(repositories.c.bytes), 0)).where(owned)).scalar_one()
            assert row.used == total
        assert connection.execute(select(func.count()).select_from(reservations)).scalar_one() == 0


def test_tables_are_made_by_one_of_several_that_start_at_once(database: Database) -> None:
    url = database.url.render_as_string(hide_password=False)
    others = [Database(url) for _ in range(6)]
    assert at_once([each.prepare for each in others]) == [None] * 6
    secrets = at_once([lambda each=each: running.server_secret(each) for each in others])  # type: ignore[misc]
    assert len(set(secrets)) == 1 and isinstance(secrets[0], bytes) and len(secrets[0]) == 32
    database.prepare()
    for each in others:
        each.close()


def test_of_two_who_would_be_first_one_is(pair: tuple[ServerInThread, ServerInThread]) -> None:
    made = [Person(server.url, name) for server, name in zip(pair * 2, ("anna", "eve", "bob", "zoe"), strict=True)]
    answers = at_once([lambda p=p, s=s: p.register(s.setup.code).status for p, s in zip(made, pair * 2, strict=True)])  # type: ignore[misc]
    assert sorted(answers) == [200, 403, 403, 403]
    with pair[0].service.database.read() as connection:
        assert connection.execute(select(func.count()).select_from(people)).scalar_one() == 1


def test_tries_are_counted_over_all(database: Database) -> None:
    database.prepare()

    def attempt() -> bool:
        with database.write() as connection:
            limits.count(connection, "login anna", 10**18, most=10, seconds=600)
        return True

    told = at_once([attempt] * 16)
    assert told.count(True) == 10 and sum(isinstance(each, TooMany) for each in told) == 6


def test_one_key_has_one_winner(pair: tuple[ServerInThread, ServerInThread]) -> None:
    anna = pair[0].owner()
    base = anna.repository()
    token = anna.token("write", "anna/home")
    clients = [Client(server.url, token) for server in pair for _ in range(4)]
    for number in range(6):
        data = f"raced {number}".encode() * 1000
        key = snapshot_key(data)
        statuses = [answer.status for answer in at_once([putting(client, base, key, data) for client in clients])]
        assert sorted(statuses) == [201] + [409] * 7, number
        named = f"sessions/{number}"
        bodies = [f"{n}".encode() for n in range(8)]
        answers = at_once([putting(c, base, named, body) for c, body in zip(clients, bodies, strict=True)])
        won = [body for answer, body in zip(answers, bodies, strict=True) if answer.status == 201]
        assert len(won) == 1 and clients[0]("GET", f"{base}/objects/{named}").data == won[0]
    all_whole(pair[0])


def test_what_a_dead_server_left_is_taken_over_once(pair: tuple[ServerInThread, ServerInThread]) -> None:
    anna = pair[0].owner()
    base = anna.repository()
    place = anna("GET", base).json["id"]
    token = anna.token("write", "anna/home")
    clients = [Client(server.url, token) for server in pair for _ in range(3)]
    data = b"left behind" * 100
    pair[0].service.store(place).put(snapshot_key(data), data)
    statuses = [answer.status for answer in at_once([putting(client, base, snapshot_key(data), data) for client in clients])]
    assert sorted(statuses) == [201] + [409] * 5
    all_whole(pair[1])


def test_the_last_room_is_taken_once(pair: tuple[ServerInThread, ServerInThread]) -> None:
    anna = pair[0].owner()
    base = anna.repository()
    token = anna.token("write", "anna/home")
    clients = [Client(server.url, token) for server in pair for _ in range(4)]
    random = Random(1)
    for number in range(4):
        with pair[0].service.database.write() as connection:
            connection.execute(update(accounts).values(quota=accounts.c.used + 150_000))
        bodies = [random.randbytes(100_000) for _ in clients]
        told = at_once([putting(c, base, snapshot_key(body), body) for c, body in zip(clients, bodies, strict=True)])
        assert sorted(answer.status for answer in told) == [201] + [507] * 7, number
        all_whole(pair[1])


def test_everything_at_once_stays_whole(pair: tuple[ServerInThread, ServerInThread]) -> None:
    """Uploads, deletions, restores and purges of the same few objects, on two servers: nothing is lost, no 5xx, no deadlock."""
    anna = pair[0].owner()
    base = anna.repository()
    other = Person(pair[1].url, "anna")
    other.headers = {**anna.headers, "Origin": pair[1].url}
    bodies = [f"object {n}".encode() * 500 for n in range(6)]
    statuses: list[int] = []

    def work(who: Client, seed: int) -> None:
        random = Random(seed)
        for _ in range(40):
            key = snapshot_key(body := random.choice(bodies))
            what = random.random()
            if what < 0.5:
                statuses.append(who("PUT", f"{base}/objects/{key}", data=body).status)
            elif what < 0.85:
                statuses.append(who("DELETE", f"{base}/objects/{key}").status)
            else:
                statuses.append(who("POST", f"{base}/trash/restore", {"ids": []}).status)

    def purge(server: ServerInThread) -> None:
        for _ in range(30):
            with server.service.database.write() as connection:  # all that is in the trash is old at once
                connection.execute(update(holdings.trash).values(deleted_ns=0))
            purging.purge(server.service)
            scrubbing.strays(server.service)

    workers = [lambda s=s: work(anna if s % 2 else other, s) for s in range(6)]  # type: ignore[misc]
    results = at_once([*workers, lambda: purge(pair[0]), lambda: purge(pair[1])])
    assert results == [None] * 8
    assert set(statuses) <= {200, 201, 204, 400, 409}, sorted(set(statuses))
    assert {201, 204, 200} <= set(statuses)
    all_whole(pair[0])
    for row in anna("GET", f"{base}/objects").json["objects"]:
        assert snapshot_key(anna("GET", f"{base}/objects/{row[0]}").data) == row[0]


def test_a_request_for_admission_is_answered_once(pair: tuple[ServerInThread, ServerInThread]) -> None:
    from online_servers import text as base64_text

    anna = pair[0].owner()
    anna.repository()
    keys = {"exchange_public": base64_text(os.urandom(32)), "signing_public": base64_text(bytes(32))}
    asked = Client(pair[1].url)("POST", "/api/v1/enrolments", {"name": "laptop", **keys}).json
    token = anna.token("admin")
    who = [Client(server.url, token) for server in pair for _ in range(3)]
    path, wanted = f"/api/v1/enrolments/{asked['id']}/approve", {"repository": "anna/home", "scope": "write"}
    statuses = at_once([lambda c=c: c("POST", path, wanted).status for c in who])  # type: ignore[misc]
    assert sorted(statuses) == [201] + [410] * 5
    with pair[0].service.database.read() as connection:
        assert connection.execute(select(func.count()).select_from(devices)).scalar_one() == 1
        assert connection.execute(select(enrolments.c.state)).scalar_one() == "approved"


def _killed(folder: Path, url: str, store: str, environ: dict[str, str]) -> None:
    """Uploads to two servers, one of which is killed in the middle: what was acknowledged is there, and no room leaks."""
    told = {**environ, "DATABASE_URL": url}
    servers = [ServerProcess(folder / name, "--store", store, environ=told, tls=False) for name in "ab"]
    checking = None
    try:
        anna = Person(servers[0].url, "anna")
        assert anna.register(servers[0].setup_code).status == 200
        anna.set_up_factor()
        base = anna.repository()
        token = anna.token("write", "anna/home")
        database = Database(url)
        with database.write() as connection:
            connection.execute(update(accounts).values(quota=1 << 30))
        acknowledged: set[str] = set()
        sent = threading.Event()

        def upload(seed: int) -> None:
            random = Random(seed)
            clients = [Client(each.url, token) for each in servers]
            at = seed % 2
            for _ in range(15):
                data = random.randbytes(random.randrange(200_000, 600_000))
                key = snapshot_key(data)
                for _ in range(20):
                    try:
                        status = clients[at]("PUT", f"{base}/objects/{key}", data=data).status
                    except urllib3.exceptions.HTTPError:
                        at = 1 - at  # as a balancer does
                        continue
                    if status == 201 or status == 409:
                        acknowledged.add(key)
                        break
                    assert status in (503, 400), status
                    time.sleep(0.1)
                if len(acknowledged) > 12:
                    sent.set()

        threads = [threading.Thread(target=upload, args=(seed,)) for seed in range(6)]
        for thread in threads:
            thread.start()
        assert sent.wait(60)
        servers[0].kill()
        for thread in threads:
            thread.join(120)
        assert len(acknowledged) == 90
        client = Client(servers[1].url, token)
        for key in acknowledged:
            assert snapshot_key(client("GET", f"{base}/objects/{key}").data) == key
        with database.read() as connection:
            left = connection.execute(select(func.count()).select_from(reservations)).scalar_one()
            assert left <= 6, "of those that were under way"
            used = connection.execute(select(accounts.c.used)).scalar_one()
            assert used == connection.execute(select(func.sum(objects.c.size))).scalar_one()
        os.environ.update({name: text for name, text in environ.items() if name.startswith("AWS")})
        checking = ServerInThread(folder / "c", database_url=url, store=store)
        checking.clock.pass_days(0.1)
        schedule.lapsing.forget(checking.service)
        scrubbing.strays(checking.service)
        all_whole(checking)
        with database.read() as connection:
            place = connection.execute(select(repositories.c.id)).scalar_one()
        assert {each.key for each in checking.service.store(place).list("")} == acknowledged, "no bytes are left over"
        database.close()
    finally:
        for server in servers:
            server.stop()
        if checking is not None:
            checking.stop()


def test_a_server_is_killed_amid_uploads_and_the_other_goes_on(url: str, tmp_path: Path) -> None:
    _killed(tmp_path, url, str(tmp_path / "objects"), {})


def test_the_same_with_a_bucket(url: str, tmp_path: Path, bucket: str) -> None:
    _killed(tmp_path, url, bucket, {})


@pytest.mark.parametrize("pair", ["postgresql"], indirect=True)
def test_the_queue_runs_every_job_on_one_of_two_and_begins_again_what_died(
    pair: tuple[ServerInThread, ServerInThread], monkeypatch: pytest.MonkeyPatch
) -> None:
    workers = [queue.JobWorker(server.service) for server in pair]
    at_once([lambda s=s: queue.prepare(s.service.database) for s in pair])  # type: ignore[misc]
    database = pair[0].service.database
    app = queue.application(pair[0].service)
    with app.open():
        for name in schedule.JOBS:
            app.configure_task(name=name, queueing_lock=name, lock=name).defer(timestamp=0)
        with database.write() as connection:  # as a worker leaves a job that is killed while it has it
            connection.execute(text("UPDATE procrastinate_jobs SET status = 'doing', worker_id = NULL WHERE task_name = 'lapse'"))
    monkeypatch.setattr(queue, "DEAD_SECONDS", 0)
    for worker in workers:
        worker.start()
    try:
        names = set(schedule.JOBS)
        for _ in range(300):
            with database.read() as connection:
                ended = set(connection.execute(select(jobs.c.name).where(jobs.c.ended_ns > 0)).scalars())
            if ended >= names - {"lapse"}:
                break
            time.sleep(0.1)
        assert ended >= names - {"lapse"}
        import asyncio

        async def sweep() -> None:
            async with app.open_async():
                await queue._sweep(app)

        if "lapse" not in ended:
            asyncio.run(sweep())
        for _ in range(300):
            with database.read() as connection:
                ended = set(connection.execute(select(jobs.c.name).where(jobs.c.ended_ns > 0)).scalars())
                errors = set(connection.execute(select(jobs.c.error)).scalars())
            if ended >= names:
                break
            time.sleep(0.1)
        assert ended >= names and errors == {""}
    finally:
        for worker in workers:
            worker.stop()


def test_devices_of_two_servers(pair: tuple[ServerInThread, ServerInThread]) -> None:
    anna = pair[0].owner()
    anna.repository()
    laptop = device(anna)
    laptop.url = pair[1].url
    assert laptop("POST", "/api/v1/repositories/anna/home/reports", {"status": "done"}).status == 201
    (told,) = anna("GET", "/api/v1/repositories/anna/home/devices").json["devices"]
    assert told["sources"][0]["status"] == "done"


def test_no_request_makes_a_server_on_postgresql_fail(url: str, tmp_path: Path) -> None:
    """PostgreSQL refuses what SQLite takes: zero characters, numbers that are too large, locks where nothing is to be written."""
    server = ServerInThread(tmp_path / "srv", database_url=url)
    try:
        anna = server.owner()
        anna.repository()
        fuzzed(server, anna)
    finally:
        server.stop()
