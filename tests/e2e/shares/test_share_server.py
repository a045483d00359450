"""Shares on a real server: what a stranger with the link gets, and when not any more."""

from __future__ import annotations

import asyncio
import hashlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from online_servers import Client, Person, ServerInThread, text
from prune_fixtures import EVERYTHING
from shares_fixtures import Words, contents, key_for, keys_of, sealed_segments

from safehold.codec.share_secret import Link
from safehold.core.errors import DamageError, NotPermitted, ShareGone, StoreError, StoreUnreachable, WrongKey
from safehold.ops import share
from safehold.ops.forget import forget
from safehold.ops.open_share import bring
from safehold.ops.share import Made, Options
from safehold.ops.share_service import OnlineRegistry, OnlineSource, open_link
from safehold.repo import prune
from safehold.repo.shares.manifest import Segment
from safehold.repo.shares.opening import OpenShare
from safehold.server.errors import Gone
from safehold.server.shares import gate, routes
from safehold.sources.files.placing.terms import Options as PlacingOptions
from safehold.storage.online.address import Address
from safehold.storage.online.api import Api
from safehold.storage.online.store import OnlineStore
from safehold.testing.builders import Household

DAY_NS = 86400 * 10**9


class World:
    """A server, its owner, a repository on it, a home with three folders, and friends without an account."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.server = ServerInThread(folder / "server")
        self.owner: Person = self.server.owner()
        self.base = self.owner.repository()
        address = Address(self.server.url, "anna", "home")
        self.api = Api(self.server.url, self.owner.token("admin", "anna/home"))
        self.store = OnlineStore(address, self.api)
        self.house = Household(self.store, folder / "cache", clock=self.server.clock)
        self.registry = OnlineRegistry(self.api, self.base)
        self.friend = Client(self.server.url)
        self.words = Words()

    def back_up(self, files: int = 40) -> Path:
        home = self.folder / "home"
        for name in ("a-mine", "photos", "z-mine"):
            (home / name).mkdir(parents=True, exist_ok=True)
            for number in range(files):
                (home / name / f"{number}.txt").write_bytes(self.words.text(4000, name.encode()))
            (home / name / "film.bin").write_bytes(os.urandom(3 << 20))
        self.house.back_up(home)
        return home

    def share(self, path: Path, **options: object) -> Made:
        repository = self.house.open()
        stored = repository.visible_snapshots()[-1]
        where = os.fsencode(str(path)).strip(b"/")
        return share.create(repository, stored, where, Options(name=str(path), **options), self.registry)  # type: ignore[arg-type]

    def open(self, made: Made, password: str = "") -> OpenShare:
        return open_link(Api(self.server.url), Link.parse(made.link), lambda: password)

    def session(self, made: Made) -> Client:
        answer = self.friend("POST", f"/api/v1/shares/{made.record.share.hex()}/open", {"auth": text(key_for(made).auth)})
        assert answer.status == 201
        return Client(self.server.url, answer.json["session"])

    def close(self) -> None:
        self.api.close()
        self.server.stop()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.close()


def on_disk(folder: Path) -> dict[bytes, bytes]:
    return {os.fsencode(str(p.relative_to(folder))): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_stranger_opens_a_link(world: World) -> None:
    home = world.back_up()
    made = world.share(home / "photos")
    assert contents(world.open(made)) == on_disk(home / "photos")
    (state,) = world.registry.states().values()
    assert (state.opens, state.revoked_ns) == (1, 0)
    assert [line.what for line in world.registry.log(made.record.share)] == ["opened", "published", "made"]


def test_a_foreign_segment_is_refused(world: World) -> None:
    home = world.back_up()
    made = world.share(home / "photos")
    friend, path = world.session(made), f"/api/v1/shares/{made.record.share.hex()}"
    foreign = sealed_segments(world.store).keys() - set(made.record.segments)
    assert foreign
    assert {friend("GET", f"{path}/segments/{each.hex()}").status for each in foreign} == {403}
    assert {friend("GET", f"{path}/segments/{each.hex()}").status for each in made.record.segments} == {200}
    assert friend("GET", f"{path}/objects/99").status == 404
    assert friend("GET", f"{world.base}/objects?prefix=").status == 401


def test_a_session_opens_no_other_share(world: World) -> None:
    home = world.back_up()
    one, other = world.share(home / "photos"), world.share(home / "a-mine")
    friend = world.session(one)
    assert friend("GET", f"/api/v1/shares/{other.record.share.hex()}/manifest").status == 401
    assert world.friend("GET", f"/api/v1/shares/{one.record.share.hex()}/manifest").status == 401


def test_wrong_keys_are_refused_and_counted(world: World) -> None:
    home = world.back_up(3)
    made = world.share(home / "photos", password="over the phone")
    for _ in range(5):
        with pytest.raises(WrongKey):
            world.open(made, "over the fence")
    path = f"/api/v1/shares/{made.record.share.hex()}/open"
    assert world.friend("POST", path, {"auth": text(key_for(made, "over the phone").auth)}).status == 429
    world.server.clock.offset_ns += 601 * 10**9
    assert contents(world.open(made, "over the phone")) == on_disk(home / "photos")


def test_the_server_is_told_no_secret(world: World) -> None:
    home = world.back_up(3)
    made = world.share(home / "photos", password="over the phone")
    key = key_for(made, "over the phone")
    stored = b"".join(p.read_bytes() for p in (world.folder / "server").rglob("*") if p.is_file())
    opened = world.open(made, "over the phone")
    for secret in (made.record.secret, key.key, key.auth, *keys_of(opened).values(), b"over the phone", b"photos/"):
        assert secret not in stored
    assert hashlib.sha256(key.auth).digest() == key.auth_hash


def test_everybody_may_know_what_kind_of_key_is_needed_and_no_more(world: World) -> None:
    home = world.back_up(3)
    made = world.share(home / "photos", password="x")
    answer = world.friend("GET", f"/api/v1/shares/{made.record.share.hex()}")
    assert answer.json == {"salt": text(made.record.lock.salt), "secret": True, "password": [65536, 3, 1]}
    assert answer.headers["Cache-Control"] == "no-store"
    assert world.friend("GET", f"/api/v1/shares/{'0' * 32}").status == 404


def test_of_many_at_once_exactly_as_many_open_as_may(world: World) -> None:
    home = world.back_up(3)
    made = world.share(home / "photos", opens=3)
    path, auth = f"/api/v1/shares/{made.record.share.hex()}/open", text(key_for(made).auth)
    statuses: list[int] = []

    def come() -> None:
        statuses.append(Client(world.server.url)("POST", path, {"auth": auth}).status)

    # Together they are fewer than what one address may try while none of them is known to be right.
    threads = [threading.Thread(target=come) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [201, 201, 201, 410, 410]
    with pytest.raises(ShareGone):
        world.open(made)


def test_it_ends_when_it_expires(world: World) -> None:
    home = world.back_up(3)
    made = world.share(home / "photos", expires_ns=world.server.clock.now_ns() + DAY_NS)
    friend = world.session(made)
    path = f"/api/v1/shares/{made.record.share.hex()}/manifest"
    assert friend("GET", path).status == 200
    world.server.clock.pass_days(1.01)
    assert friend("GET", path).status == 410
    with pytest.raises(ShareGone):
        world.open(made)


def test_a_session_lasts_a_day(world: World) -> None:
    home = world.back_up(3)
    made = world.share(home / "photos", opens=1)
    friend, path = world.session(made), f"/api/v1/shares/{made.record.share.hex()}/manifest"
    world.server.clock.pass_days(0.9)
    assert friend("GET", path).status == 200
    world.server.clock.pass_days(0.2)
    assert friend("GET", path).status == 401


def test_what_is_taken_back_stops_in_the_middle_of_a_download(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    home = world.back_up(3)
    made = world.share(home / "photos")
    session = world.session(made).headers["Authorization"]
    largest = max(made.record.segments, key=lambda each: len(sealed_segments(world.store)[each]))
    monkeypatch.setattr(routes, "_BLOCK", 1 << 16)
    guard = routes._Guard(world.server.service, made.record.share.hex(), session)
    piece = guard.find(lambda connection, opening: gate.segment(connection, opening, largest))
    assert piece.length > 1 << 17

    async def download() -> list[int]:
        blocks = routes._blocks(guard, piece, piece.start, piece.length)
        taken = [len(await anext(blocks)), len(await anext(blocks))]
        share.revoke(world.house.open(), made.record, world.registry)
        with pytest.raises(Gone):
            await anext(blocks)
        return taken

    assert asyncio.run(download()) == [1 << 16, 1 << 16]
    with pytest.raises(ShareGone):
        world.open(made)
    with pytest.raises(ShareGone):
        OnlineSource(Api(world.server.url), made.record.share).lock()


def test_a_download_that_is_stopped_is_seen_to_be_cut_off(world: World) -> None:
    """The answer breaks off before the length that it announced."""
    home = world.back_up(3)
    made = world.share(home / "photos")
    friend = world.session(made)
    largest = max(made.record.segments, key=lambda each: len(sealed_segments(world.store)[each]))
    source = OnlineSource(Api(world.server.url), made.record.share, world.server.clock)
    source._headers = friend.headers
    segment = Segment(largest, bytes(32), 1, len(sealed_segments(world.store)[largest]))
    assert source.segment(segment) == sealed_segments(world.store)[largest]
    looked = gate.require_session
    calls: list[int] = []

    def once_more(*arguments):  # type: ignore[no-untyped-def]
        calls.append(1)
        if len(calls) % 2 == 0:  # the look between finding the bytes and giving them out
            raise Gone("This share was taken back.")
        return looked(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gate, "require_session", once_more)
        patch.setattr("safehold.ops.share_service.PATIENCE", ())
        with pytest.raises(StoreUnreachable):
            source.segment(segment)


def test_latest_shows_the_newest_backup_and_who_is_reading_goes_on(world: World) -> None:
    home = world.back_up(5)
    made = world.share(home / "photos", latest=True)
    before = on_disk(home / "photos")
    reading = world.open(made)
    (home / "photos" / "new.txt").write_bytes(b"new")
    (home / "photos" / "1.txt").unlink()
    world.house.back_up(home)
    assert share.refresh(world.house.open(), made.record, world.registry) is not None
    assert contents(world.open(made)) == on_disk(home / "photos")
    assert contents(reading) == before


def test_a_prune_that_packs_again_keeps_shares_alive(world: World) -> None:
    home = world.back_up(30)
    expected = on_disk(home / "photos")
    made = world.share(home / "photos")
    old = [stored.id for stored in world.house.open().visible_snapshots()]
    for path in (home / "photos").iterdir():
        path.unlink()
    (home / "a-mine" / "film.bin").unlink()
    world.house.back_up(home)
    forget(world.house.open(), old)
    world.owner("POST", f"{world.base}/brake/release")
    before = {info.key for info in world.store.list("packs/")}
    confirm(world)
    repository = world.house.open()
    done = prune.execute(repository, prune.plan(repository, EVERYTHING))
    assert done.deleted + done.repacked and before - {info.key for info in world.store.list("packs/")}
    assert contents(world.open(made)) == expected


def confirm(world: World) -> None:
    """The token that prunes has a second factor, given just now."""
    from sqlalchemy import update

    from safehold.server.schema import repositories, tokens

    with world.server.service.database.write() as connection:
        now = world.server.clock.now_ns()
        connection.execute(update(tokens).values(stepped_up_ns=now))
        connection.execute(update(repositories).values(brake_released_ns=now + DAY_NS))


def test_a_friend_whose_server_lies_gets_nothing_wrong(world: World) -> None:
    home = world.back_up(5)
    made = world.share(home / "photos")
    key = key_for(made)
    source = OnlineSource(Api(world.server.url), made.record.share)
    source.open(key)
    opened = OpenShare(key, source)
    taken = {segment.id: source.segment(segment) for segment in opened.root.part.segments}
    swapped = dict(zip(taken, reversed(list(taken.values())), strict=True))

    class Swapping:
        manifest = staticmethod(source.manifest)

        @staticmethod
        def segment(segment):  # type: ignore[no-untyped-def]
            return swapped[segment.id]

    with pytest.raises(DamageError):
        contents(OpenShare(key, Swapping()))


class Cutting(Api):
    """A line that breaks off, and says nothing of it."""

    short = 0

    def send(self, method, path, body=None, headers=None, *, what=""):  # type: ignore[no-untyped-def]
        answer = super().send(method, path, body, headers, what=what)
        if self.short and "/shares/" in path:
            answer._body = answer.data[: -self.short]
        return answer


def test_a_truncated_answer_is_never_taken_for_whole(world: World, tmp_path: Path) -> None:
    home = world.back_up(3)
    made = world.share(home / "photos")
    api = Cutting(world.server.url)
    opened = open_link(api, Link.parse(made.link), str)
    api.short = 1
    heard: list[object] = []
    done = bring(opened, tmp_path / "out", PlacingOptions(), heard.append)
    assert done.damaged == 4 and [p for p in (tmp_path / "out").rglob("*") if p.is_file()] == []
    with pytest.raises(StoreError):
        open_link(api, Link.parse(made.link), str)


def test_who_may_only_add_may_not_share(world: World) -> None:
    world.back_up(3)
    writer = Api(world.server.url, world.owner.token("write", "anna/home"))
    with pytest.raises(NotPermitted):
        OnlineRegistry(writer, world.base).states()
