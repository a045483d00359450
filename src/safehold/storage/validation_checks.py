"""The checks that ``storage.validation`` runs, each one promise of the protocol."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random

from safehold.core.errors import ObjectExists, ObjectMissing, SafeholdError, StoreError
from safehold.storage.keys import QUARANTINE
from safehold.storage.store import Store

THREADS = 8
LARGE = 40 << 20
"""Bytes: more than a pack, and several parts of a multipart upload."""
MANY = 1100
"""Objects: more than a page of a listing of S3, which has 1,000."""


class CheckFailed(Exception):
    """The store answered, and not as promised."""


class NotPromised(Exception):
    """The store says of itself that it doesn't offer this, and what that means."""


@dataclass(frozen=True, slots=True)
class Scene:
    """Where a check works: below ``prefix`` (with its slash), which is empty at its start and cleaned up at its end."""

    store: Store
    prefix: str
    random: Random

    def keys(self, folder: str = "") -> set[str]:
        """What a listing shows."""
        return {line.key for line in self.store.list(self.prefix + folder)}


def _expect(truth: bool, otherwise: str) -> None:
    if not truth:
        raise CheckFailed(otherwise)


@contextmanager
def _raises(kind: type[SafeholdError], what: str) -> Iterator[None]:
    try:
        yield
    except kind:
        return
    except SafeholdError as error:
        raise CheckFailed(f"{what} raised {type(error).__name__} ({error}), not {kind.__name__}") from error
    raise CheckFailed(f"{what} succeeded, instead of raising {kind.__name__}")


def _create(scene: Scene) -> None:
    key = scene.prefix + "a"
    for data in (bytes(range(256)), bytearray(b"bytearray"), memoryview(b"a memoryview")[2:]):
        scene.store.put(f"{key}{len(data)}", data)
        _expect(scene.store.get(f"{key}{len(data)}") == data, "an object doesn't read back as it was put")
        _expect(scene.store.size(f"{key}{len(data)}") == len(data), "an object has another size than was put")


def _empty(scene: Scene) -> None:
    key = scene.prefix + "empty"
    scene.store.put(key, b"")
    scene.store.upload().commit(key + "-upload")
    for name in (key, key + "-upload"):
        _expect(scene.store.get(name) == b"" and scene.store.size(name) == 0, "an empty object is not empty")
        _expect(scene.store.get_range(name, 0, 0) == b"", "an empty range of an empty object is not empty")
        _expect(scene.store.get_range(name, -8, 8) == b"", "the end of an empty object is not empty")


def _large(scene: Scene) -> None:
    key, data = scene.prefix + "large", scene.random.randbytes(LARGE)
    upload = scene.store.upload()
    position = 0
    for length in (1, 5, 1 << 16, (1 << 20) - 1, 9 << 20, LARGE):
        upload.write(memoryview(data)[position : position + length])
        position = min(LARGE, position + length)
    upload.commit(key)
    upload.abort()
    _expect(scene.store.size(key) == LARGE, "a large object has the wrong size")
    _expect(scene.store.get(key) == data, "a large object doesn't read back as it was written")
    _expect(scene.store.get_range(key, LARGE - 70_000, 70_000) == data[-70_000:], "a range of a large object is wrong")


def _exclusive(scene: Scene) -> None:
    key = scene.prefix + "once"
    scene.store.put(key, b"first")
    with _raises(ObjectExists, "a second put"):
        scene.store.put(key, b"second")
    upload = scene.store.upload()
    upload.write(b"third")
    with _raises(ObjectExists, "an upload to a key that is taken"):
        upload.commit(key)
    with _raises(ObjectExists, "a put of the same bytes"):
        scene.store.put(key, b"first")
    _expect(scene.store.get(key) == b"first", "an object was changed by a later put or upload")


def _race(scene: Scene) -> None:
    scene.store.put(scene.prefix + "first", b"")  # some stores find out at their first creation what they can promise
    if not scene.store.capabilities.exclusive:
        raise NotPromised("not promised, since this store replaces an object when it is told to: it is not append-only")
    for round_ in range(5):
        key = f"{scene.prefix}race-{round_}"
        bodies = [bytes([number]) * (1000 + number) for number in range(THREADS)]
        winners = _race_for(scene.store, key, bodies)
        _expect(len(winners) == 1, f"{len(winners)} of {THREADS} threads created the same object")
        _expect(scene.store.get(key) == bodies[winners[0]], "the object is not the winner's")


def _race_for(store: Store, key: str, bodies: list[bytes]) -> list[int]:
    """Which threads succeeded in creating the object; the odd ones try it by uploading."""
    barrier = threading.Barrier(len(bodies))

    def contend(number: int) -> bool:
        barrier.wait()
        try:
            if number % 2:
                upload = store.upload()
                upload.write(bodies[number])
                upload.commit(key)
            else:
                store.put(key, bodies[number])
        except ObjectExists:
            return False
        return True

    with ThreadPoolExecutor(len(bodies)) as pool:
        won = list(pool.map(contend, range(len(bodies))))
    return [number for number, success in enumerate(won) if success]


def _read_after_write(scene: Scene) -> None:
    for number in range(20):
        key = f"{scene.prefix}folder-{number % 3}/{number}"
        with _raises(ObjectMissing, "reading what was not yet stored"):
            scene.store.size(key)
        scene.store.put(key, b"%d" % number)
        _expect(scene.store.get(key) == b"%d" % number, "an object can't be read right after it was put")


def _list_after_write(scene: Scene) -> None:
    if not scene.store.capabilities.consistent_list:
        return
    expected = set()
    for number in range(20):
        expected.add(key := f"{scene.prefix}{number % 3}/{number}")
        scene.store.put(key, b"x" * number)
        _expect(scene.keys() == expected, "a listing doesn't show what was just put")
    sizes = {line.key: line.size for line in scene.store.list(scene.prefix)}
    _expect(sizes == {key: scene.store.size(key) for key in expected}, "a listing shows wrong sizes")


def _ranges(scene: Scene) -> None:
    key, data = scene.prefix + "ranges", scene.random.randbytes(1000)
    scene.store.put(key, data)
    for offset, length in (
        (0, 0),
        (0, 1),
        (0, 1000),
        (1, 998),
        (999, 1),
        (1000, 0),
        (-1, 1),
        (-1000, 1000),
        (-2000, 2000),
        (-10, 4),
    ):
        got = scene.store.get_range(key, offset, length)
        _expect(got == data[offset:][:length], f"the range {offset}, {length} of 1000 bytes is wrong")
    for offset, length in ((0, 1001), (999, 2), (1000, 1), (5000, 1), (1, 1 << 60)):
        with _raises(StoreError, f"the range {offset}, {length} of 1000 bytes"):
            scene.store.get_range(key, offset, length)


def _delete(scene: Scene) -> None:
    key = scene.prefix + "doomed"
    scene.store.put(key, b"x")
    if not scene.store.capabilities.can_delete:
        with _raises(SafeholdError, "a deletion that the store doesn't offer"):
            scene.store.delete(key)
        return
    for _ in range(3):
        scene.store.delete(key)
    scene.store.delete(scene.prefix + "never/was")
    _missing_raises(scene.store, key)
    scene.store.put(key, b"another")
    _expect(scene.store.get(key) == b"another", "a key can't be used again after a deletion")


def _missing(scene: Scene) -> None:
    scene.store.put(scene.prefix + "here", b"x")
    for name in ("not-here", "no-folder/x", "here.not"):
        _missing_raises(scene.store, scene.prefix + name)
    with _raises(ObjectMissing, "reading a folder"):
        scene.store.get(scene.prefix.rstrip("/"))


def _missing_raises(store: Store, key: str) -> None:
    reads: dict[str, Callable[[], object]] = {
        "get": lambda: store.get(key),
        "get_range": lambda: store.get_range(key, 0, 1),
        "a range from the end": lambda: store.get_range(key, -1, 1),
        "size": lambda: store.size(key),
    }
    for name, read in reads.items():
        with _raises(ObjectMissing, f"{name} of a missing object"):
            read()


def _abort(scene: Scene) -> None:
    for length in (0, 10, 3 << 20):
        upload = scene.store.upload()
        upload.write(bytes(length))
        upload.abort()
        upload.abort()
    upload = scene.store.upload()
    upload.write(b"x")
    with _raises(StoreError, "a commit to a key that can't be"):
        upload.commit(scene.prefix + "../x")
    upload.abort()
    _expect(not scene.keys(), "an aborted upload left an object behind")
    upload = scene.store.upload()
    upload.write(b"kept")
    upload.commit(scene.prefix + "kept")
    upload.abort()
    _expect(scene.store.get(scene.prefix + "kept") == b"kept", "aborting after a commit took the object away")


def _listing(scene: Scene) -> None:
    keys = {f"{scene.prefix}many/{number % 7}/{number}" for number in range(MANY)}
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(lambda key: scene.store.put(key, b"."), keys))
    scene.store.put(scene.prefix + "many-others/x", b".")
    if not scene.store.capabilities.consistent_list:
        return
    lines = [line.key for line in scene.store.list(scene.prefix + "many/")]
    _expect(len(lines) == len(set(lines)), "a listing shows an object twice")
    _expect(set(lines) == keys, f"a listing shows {len(lines)} of {len(keys)} objects, or others")
    _expect(scene.keys("many/3/") == {key for key in keys if "/many/3/" in key}, "a listing of a folder is wrong")
    _expect(not scene.keys("none/"), "a listing of a folder that isn't there is not empty")
    _expect({line.key for line in scene.store.list("")} >= keys, "a listing of everything lacks objects")


def _key_syntax(scene: Scene) -> None:
    bad = (
        "",
        "/a",
        "a/",
        "a//b",
        "..",
        "../a",
        "a/../b",
        "./a",
        "a/.b",
        "a.",
        "A",
        "a b",
        "a\\b",
        "a:b",
        "ä",
        "a\n",
        "a\0",
        "tmp/a",
    )
    for key in (*bad, "a" * 201, "/etc/passwd"):
        with _raises(SafeholdError, f"putting the key {key!r}"):
            scene.store.put(key, b"")
        with _raises(SafeholdError, f"deleting the key {key!r}"):
            scene.store.delete(key)
        with _raises(StoreError, f"reading the key {key!r}"):
            scene.store.get(key)
    for prefix in ("a", "/", "../", "A/", "tmp/"):
        with _raises(StoreError, f"the prefix {prefix!r}"):
            list(scene.store.list(prefix))


def _quarantine(scene: Scene) -> None:
    key = scene.prefix + "bad"
    if not scene.store.capabilities.can_quarantine:
        scene.store.put(key, b"x")
        with _raises(SafeholdError, "a quarantine that the store doesn't offer"):
            scene.store.quarantine(key)
        return
    for number, place in enumerate((f"{QUARANTINE}/{key}", f"{QUARANTINE}/{key}.1", f"{QUARANTINE}/{key}.2")):
        scene.store.put(key, b"bad %d" % number)
        scene.store.quarantine(key)
        _missing_raises(scene.store, key)
        _expect(scene.store.get(place) == b"bad %d" % number, f"{place} doesn't have the quarantined bytes")
    with _raises(ObjectMissing, "quarantining what is not there"):
        scene.store.quarantine(key)
    with _raises(ObjectMissing, "quarantining a folder"):
        scene.store.quarantine(scene.prefix.rstrip("/"))


def _immutable(scene: Scene) -> None:
    key, data = scene.prefix + "kept", bytearray(b"as it was")
    scene.store.put(key, data)
    upload = scene.store.upload()
    upload.write(data)
    data[:] = b"scribbled"
    upload.commit(key + "-upload")
    with _raises(StoreError, "writing after a commit"):
        upload.write(b"more")
    for name in (key, key + "-upload"):
        _expect(scene.store.get(name) == b"as it was", "an object follows later changes of the buffer that it was made from")


def _readers(scene: Scene) -> None:
    key, data = scene.prefix + "read", scene.random.randbytes(1 << 20)
    scene.store.put(key, data)
    others = [f"{scene.prefix}other-{number}" for number in range(80)]
    for other in others:
        scene.store.put(other, other.encode())

    def read(number: int) -> bool:
        offset = number * 4093 % (1 << 20) // 2
        other = others[number % len(others)]
        return (
            scene.store.get_range(key, offset, 50_000) == data[offset:][:50_000]
            and scene.store.get_range(other, 0, 5) == other.encode()[:5]
            and scene.store.get(other) == other.encode()
        )

    with ThreadPoolExecutor(THREADS) as pool:
        _expect(all(pool.map(read, range(400))), "concurrent readers got wrong bytes")


CHECKS: dict[str, Callable[[Scene], None]] = {
    "create": _create,
    "empty-object": _empty,
    "large-object": _large,
    "exclusive-create": _exclusive,
    "race-to-create": _race,
    "read-after-write": _read_after_write,
    "list-after-write": _list_after_write,
    "listing": _listing,
    "ranges": _ranges,
    "delete": _delete,
    "missing-object": _missing,
    "abort": _abort,
    "key-syntax": _key_syntax,
    "quarantine": _quarantine,
    "immutability": _immutable,
    "concurrent-readers": _readers,
}
"""Every check, by the name under which a user sees it."""
