"""Packs that the server puts together of segments that it has: what a prune keeps goes over no wire."""

from __future__ import annotations

import hashlib
import subprocess
import threading
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from blake3 import blake3
from online_servers import Person, ServerInThread, ServerProcess
from prune_fixtures import EVERYTHING, Farm
from sqlalchemy import select, update

from safehold.core.clock import SystemClock
from safehold.core.errors import DamageError, StoreError, StoreFull
from safehold.repo.packs import END, TAIL, Footer, read_tail
from safehold.server.schema import accounts, reservations
from safehold.storage.online.address import parse
from safehold.storage.online.api import Api
from safehold.storage.online.store import OnlineStore
from safehold.storage.store import Capabilities, Composition, Place
from safehold.storage.wrappers.recording import RecordingStore
from safehold.testing.builders import Household

MIB = 1 << 20


class Wire(RecordingStore):
    """What goes over the wire; ``composes``: whether the client knows that the server puts packs together."""

    composes = True

    @property
    def capabilities(self) -> Capabilities:
        return replace(self.inner.capabilities, composes=self.composes)


@pytest.fixture
def store(server: ServerInThread, owner: Person) -> OnlineStore:
    """An owner's, who has confirmed with the second factor."""
    return _confirmed(owner)


def _confirmed(owner: Person) -> OnlineStore:
    owner.repository()
    api = Api(owner.url, owner.token("admin"))
    api.tell("POST", "/api/v1/step-up", {"code": owner.recovery[0]})  # type: ignore[attr-defined]
    made = OnlineStore(parse(f"{owner.url}/anna/home", repository=True), api)
    made.about()
    return made


@pytest.fixture
def farm(tmp_path: Path, store: OnlineStore) -> Farm:
    return _farm(tmp_path, store)


def _farm(folder: Path, store: OnlineStore) -> Farm:
    """Ten files of 2 MiB in packs, of which a second snapshot has three."""
    made = Farm(folder / "farm")
    made.clock = SystemClock()  # type: ignore[assignment]  # the server looks at it, too
    made.store = store
    made.house = Household(store, folder / "cache")
    for number in range(10):
        made.write(f"{number}", 2 * MIB)
    first = made.house.back_up(made.source).id
    for number in (0, 1, 3, 4, 6, 8, 9):
        (made.source / f"{number}").unlink()
    second = made.house.back_up(made.source)
    made.expected[second.id] = {str(n).encode(): (made.source / str(n)).read_bytes() for n in (2, 5, 7)}
    made.forget(first)
    return made


@pytest.mark.parametrize("composes", [True, False])
def test_what_a_prune_keeps_goes_over_no_wire(farm: Farm, store: OnlineStore, composes: bool) -> None:
    wire = Wire(store)
    wire.composes = composes
    before = {info.key for info in store.list("packs/")}
    farm.prune(EVERYTHING, wire)
    kept = {info.key: info.size for info in store.list("packs/")}
    assert sum(kept.values()) < 6.5 * MIB and not before <= kept.keys()
    moved = (wire.bytes_down(), wire.bytes_up())
    assert max(moved) < 300_000 if composes else min(moved) > 6 * MIB, moved
    farm.check_all()
    farm.check_clean()


def test_what_has_rotted_gets_no_new_name_that_vouches_for_it(farm: Farm, store: OnlineStore, server: ServerInThread) -> None:
    below = server.service.store(store.about().id)
    kept = {info.key: info.size for info in below.list("packs/")}
    large = max(kept, key=kept.__getitem__)
    wanted = (farm.source / "5").stat().st_size
    path = Path(below.location) / large
    data = bytearray(path.read_bytes())
    for segment in read_tail(below, large).footer.segments:
        if segment.length > wanted // 3:
            data[segment.offset + 100] ^= 1
    path.chmod(0o600)
    path.write_bytes(data)
    with pytest.raises(DamageError, match=f"Pack {large[9:17]} cannot be packed again") as caught:
        farm.prune()
    assert "safehold repair" in caught.value.hint
    assert {info.key for info in store.list("packs/")} >= kept.keys()


def _composition(store: OnlineStore, **changes: object) -> Composition:
    """A pack of one piece of a stored one."""
    key, size = next((info.key, info.size) for info in store.list("packs/") if info.size > MIB)
    digest = blake3(store.get_range(key, 16, 1000)).update(store.get_range(key, 1016, 50)).digest()
    footer = msgspec.msgpack.encode(Footer([], []))
    end = footer + TAIL.pack(bytes(16), bytes(64), len(footer), END)
    values = {"key": key, "offset": 16, "length": 1000, "table_offset": 1016, "table_length": 50, "digest": digest, **changes}
    assert size > MIB
    return Composition(1, [Place(**values)], end)  # type: ignore[arg-type]


def test_the_same_pack_is_made_once(farm: Farm, store: OnlineStore) -> None:
    wanted = _composition(store)
    key = store.compose(wanted)
    assert store.compose(wanted) == key
    assert store.get(key)[16:1066] == store.get_range(wanted.segments[0].key, 16, 1050)


def test_wrong_parts_are_refused_and_nothing_is_stored(
    farm: Farm, store: OnlineStore, server: ServerInThread, owner: Person
) -> None:
    other = owner.repository("other")
    theirs = OnlineStore(parse(f"{server.url}/anna/other", repository=True), Api(server.url, owner.token("admin", "anna/other")))
    before = {info.key for info in store.list("")}
    good = _composition(store)
    snapshot = next(info.key for info in store.list("snapshots/"))
    for wrong, status in (
        (_composition(store, digest=bytes(32)), 422),
        (_composition(store, offset=-1), 400),
        (_composition(store, offset=1 << 40), 400),
        (_composition(store, length=0), 400),
        (_composition(store, length=1 << 30), 400),
        (_composition(store, table_offset=1 << 33), 400),
        (_composition(store, key=f"packs/00/{'0' * 64}"), 404),
        (_composition(store, key=snapshot, offset=0, length=10, table_offset=10), 404),
        (_composition(store, key="../../etc/passwd"), 404),
        (msgspec.structs.replace(good, segments=[]), 400),
        (msgspec.structs.replace(good, end=b"x" * 200), 422),
        (msgspec.structs.replace(good, end=b""), 400),
        (msgspec.structs.replace(good, kind=7), 422),
        (msgspec.structs.replace(good, segments=good.segments * 300_000), 413),
    ):
        answer = owner("POST", "/api/v1/repositories/anna/home/compose", msgspec.to_builtins(wrong))
        assert answer.status == status, (answer.status, answer.data[:200])
    assert owner("POST", f"{other}/compose", msgspec.to_builtins(good)).status == 404
    assert {info.key for info in store.list("")} == before and list(theirs.list("")) == []


def test_a_pack_that_the_quota_has_no_room_for_is_not_made(farm: Farm, store: OnlineStore, server: ServerInThread) -> None:
    before = {info.key for info in store.list("")}
    wanted = _composition(store)
    with server.service.database.write() as connection:
        connection.execute(update(accounts).values(quota=accounts.c.used + 500))
    with pytest.raises(StoreFull):
        store.compose(wanted)
    with server.service.database.write() as connection:
        assert connection.execute(select(reservations)).first() is None
        connection.execute(update(accounts).values(quota=accounts.c.used + 5000))
    assert {info.key for info in store.list("")} == before
    key = store.compose(wanted)
    with pytest.raises(StoreError):
        store.compose(_composition(store, digest=bytes(32)))
    with server.service.database.read() as connection:
        assert connection.execute(select(reservations)).first() is None  # the room of what failed was given back
    assert {info.key for info in store.list("")} == {*before, key}


def test_a_full_disk_of_the_server_costs_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "small"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=26m", "tmpfs", folder], check=True)
    server = ServerInThread(folder / "srv")
    try:
        store = _confirmed(server.owner())
        farm = _farm(tmp_path, store)
        before = {info.key for info in store.list("packs/")}
        with pytest.raises(StoreFull):
            farm.prune(EVERYTHING, store)
        kept = {info.key for info in store.list("packs/")}
        assert kept >= before and not list((folder / "srv").rglob("*.part"))
        farm.check_all()
        subprocess.run(["mount", "-o", "remount,size=60m", folder], check=True)
        farm.prune(EVERYTHING, store)
        assert not before <= {info.key for info in store.list("packs/")}
        farm.check_all()
        farm.check_clean()
    finally:
        server.stop()
        subprocess.run(["umount", "-l", folder], check=True)


def test_a_server_that_is_killed_amid_a_prune_has_whole_packs(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path / "srv", tls=False)
    try:
        owner = Person(server.url, "anna")
        owner.register(server.setup_code)
        owner.recovery = owner.set_up_factor()  # type: ignore[attr-defined]
        store = _confirmed(owner)
        farm = _farm(tmp_path, store)
        before = {info.key for info in store.list("packs/")}
        failed = 0
        for delay in (0.05, 0.12, 0.2):
            killer = threading.Timer(delay, server.kill)
            killer.start()
            with suppress(StoreError):
                farm.prune(EVERYTHING, store)
                failed -= 1
            failed += 1
            killer.join()
            server.start()
            for info in store.list("packs/"):
                assert hashlib.sha256(store.get(info.key)).hexdigest() == info.key.rpartition("/")[2]
            farm.check_all()
        assert failed
        for info in store.list("sessions/"):
            store.delete(info.key)  # their process, this one, is alive, so nobody takes them for dead
        farm.prune(EVERYTHING, store)
        assert not before <= {info.key for info in store.list("packs/")}
        farm.check_all()
        farm.check_clean()
    finally:
        server.stop()
