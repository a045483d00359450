"""The reader of the web pages brings back every golden repository, byte for byte, and refuses what is not as it was."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from goldens import NAMES, manifest, unpack
from test_emergency_reader import CASES, commit, evil
from web_reader import evaluate, read, same

from safehold.codec import compression, recovery
from safehold.codec.passphrase import Passphrase
from safehold.core.clock import SystemClock
from safehold.core.entries import DIRECTORY, Entry, Node
from safehold.repo.keys.format import SlotBody, parse_object
from safehold.repo.repository import open_repository
from safehold.repo.seals import TREE
from safehold.storage.local import LocalStore

KEYS = json.loads(Path(__file__).with_name("keys").joinpath("format-1.json").read_text("utf-8"))
WEB = Path(recovery.__file__).parents[1] / "server" / "web"


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("unpacked")
    return {name: unpack(name, place / name) for name in NAMES}


def passphrase(name: str) -> str:
    return str(manifest(name)["credentials"]["passphrase"])


def words() -> str:
    return str(manifest("family")["credentials"]["recovery words"])


@pytest.mark.parametrize("name", NAMES)
def test_every_byte_of_every_snapshot(unpacked: dict[str, Path], name: str) -> None:
    found = read(unpacked[name], passphrase=passphrase(name), what="describe")
    assert found["warnings"] == []
    assert found["described"].keys() == manifest(name)["snapshots"].keys()
    assert found["trashed"] == manifest(name).get("trash", [])
    for snapshot, expected in manifest(name)["snapshots"].items():
        assert same(found["described"][snapshot], expected) == [], snapshot


@pytest.mark.parametrize("key", ["recovery words", "reader", "late reader"])
def test_every_key_opens_and_sees_the_same(unpacked: dict[str, Path], key: str) -> None:
    text = manifest("family")["credentials"][key]
    found = read(unpacked["family"], **({"words": text} if key == "recovery words" else {"keyFile": text}))
    assert len(found["snapshots"]) + len(found["trashed"]) == len(manifest("family")["snapshots"])


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"passphrase": "wrong"}, "wrong-key"),
        ({"keyFile": "removed"}, "removed"),
        ({"keyFile": "writer"}, "writer"),
        ({"keyFile": "no key file"}, "key-file"),
        ({"words": "abandon " * 24}, "words"),
        ({"words": "safehold " * 24}, "words"),
    ],
)
def test_other_keys_are_refused(unpacked: dict[str, Path], given: dict[str, str], code: str) -> None:
    credentials = manifest("family")["credentials"]
    assert read(unpacked["family"], **{kind: credentials.get(text, text) for kind, text in given.items()})["error"] == code


def test_the_golden_keys_are_found(tmp_path: Path) -> None:
    """Known answers: the secrets of ``keys/format-1.json``, by passphrase; the config is another repository's, so it stops there."""
    (tmp_path / "keys").mkdir()
    for key, data in KEYS["objects"].items():
        (tmp_path / key).write_bytes(bytes.fromhex(data))
    line = json.dumps({"safehold": "repository", "version": 1, "id": KEYS["repository"], "requires": []})
    private = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(KEYS["admin_private"]))
    signature = private.sign(b"safehold/1/config\0" + bytes.fromhex(KEYS["repository"]) + line.encode())
    (tmp_path / "config").write_text(f"{line}\n{signature.hex()}\n")
    for given in ({"passphrase": KEYS["passphrase"]}, {"words": KEYS["recovery_words"]}, {"keyFile": KEYS["reader_key_file"]}):
        found = read(tmp_path, **given)
        assert found["privates"] == KEYS["epoch_privates"]
        assert (found["idKey"], found["indexKey"], found["admin"]) == (KEYS["id_key"], KEYS["index_key"], KEYS["admin_public"])
    assert read(tmp_path, keyFile=KEYS["retired_key_file"])["error"] == "removed"
    assert read(tmp_path, keyFile=KEYS["writer_key_file"])["error"] == "writer"
    # A store that was set back: this browser saw a later epoch, or the removal of this slot.
    assert read(tmp_path, words=KEYS["recovery_words"], seen={"epoch": 9, "retired": []})["error"] == "rolled-back"


def test_the_words_are_the_programs() -> None:
    listed = (Path(recovery.__file__).parent / "bip39-english.txt").read_text().split()
    text = (WEB / "format" / "words.js").read_text().split("`")[1]
    assert text.split() == listed


def test_the_vendored_files_are_as_published() -> None:
    listed = json.loads((WEB / "vendor" / "versions.json").read_text())
    sums = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (WEB / "vendor").iterdir()}
    del sums["README.md"], sums["versions.json"]
    assert sums == {name: line["sha256"] for name, line in listed.items()}


# Damage, and stores that mean harm.


def test_a_flipped_bit_is_never_believed(unpacked: dict[str, Path]) -> None:
    repository = unpacked["family"]
    objects = sorted(path for path in repository.rglob("*") if path.is_file())
    packs = [path for path in objects if "packs" in path.parts]
    objects = [path for path in objects if path not in packs[3:]]
    assert len(objects) > 20
    flips = [(path, at) for path in objects for at in (path.stat().st_size // 2,)]
    flips += [(path, path.stat().st_size - 70) for path in packs[:3]]
    order = [[str(path.relative_to(repository)), at] for path, at in flips]
    expected = manifest("family")["snapshots"]
    noticed = 0
    for (key, _), found in zip(order, read(repository, words=words(), what="describe", flips=order), strict=True):
        wrong = [path for id, paths in found.get("described", {}).items() for path in unlike(paths, expected[id])]
        assert wrong == [], key
        noticed += bool(found.get("error") or found["warnings"] or broken(found))
    assert noticed > len(order) // 2  # a footer is not needed where there is an index, nor the other slots


def unlike(found: dict[str, Any], expected: dict[str, Any]) -> list[str]:
    """Paths that are said to be something, and are something else."""
    if "error" in found:
        return []
    return [
        path
        for path in same(found, expected)
        if "error" not in found.get(path, {}) and path in found and "link" not in found[path]
    ]


def broken(found: dict[str, Any]) -> bool:
    return any("error" in paths or any("error" in record for record in paths.values()) for paths in found["described"].values())


def test_without_an_index_the_packs_are_asked(tmp_path: Path) -> None:
    repository = unpack("family", tmp_path)
    for shard in (repository / "index").iterdir():
        shard.unlink()
    found = read(repository, words=words(), what="describe")
    for snapshot, expected in manifest("family")["snapshots"].items():
        assert same(found["described"][snapshot], expected) == []


def slots(repository: Path) -> list[Path]:
    return sorted((repository / "keys").glob("*.slot"))


def rewritten(path: Path, change: Any) -> None:
    """A slot whose clear part a store has changed; its signature does not fit any more."""
    data = path.read_bytes()
    id = json.loads((path.parents[1] / "config").read_text().splitlines()[0])["id"]
    body = parse_object(f"keys/{path.name}", data, bytes.fromhex(id)).body
    assert isinstance(body, SlotBody)
    clear = msgspec.msgpack.decode(body.clear)
    change(clear)
    start = len(b"safehold/1/slot\0") + 16
    path.write_bytes(data[:start] + msgspec.msgpack.encode([msgspec.msgpack.encode(clear), body.sealed]) + data[-64:])


@pytest.mark.parametrize(("place", "value"), [(2, 1024), (2, 1 << 21), (3, 1), (3, 17), (4, 17), (4, 0)])
def test_a_forbidden_derivation_is_not_tried(tmp_path: Path, place: int, value: int) -> None:
    repository = unpack("split", tmp_path)

    def change(clear: list[Any]) -> None:
        if clear[4][0] == "passphrase":
            clear[4][place] = value

    for path in slots(repository):
        rewritten(path, change)
    assert read(repository, passphrase=passphrase("split"))["error"] == "kdf"


@pytest.mark.parametrize("field", [5, 6, 7])
def test_a_swapped_public_key_opens_nothing(tmp_path: Path, field: int) -> None:
    repository = unpack("split", tmp_path)
    for path in slots(repository):
        rewritten(path, lambda clear: clear.__setitem__(field, bytes(32)))
    assert read(repository, passphrase=passphrase("split"))["error"] in ("damaged", "wrong-key")


def test_objects_of_others_are_refused(tmp_path: Path) -> None:
    """Mixed-up snapshots, another repository's config, and another's snapshot under its true name."""
    here, there = unpack("paged", tmp_path / "here"), unpack("listed", tmp_path / "there")
    first, second, third = sorted((here / "snapshots").iterdir())
    second.write_bytes(first.read_bytes())
    (foreign,) = list((there / "snapshots").iterdir())[:1]
    (here / "snapshots" / foreign.name).write_bytes(foreign.read_bytes())
    found = read(here, passphrase=passphrase("paged"))
    assert sorted(found["snapshots"]) == sorted([first.name, third.name])
    assert sorted(warning["key"] for warning in found["warnings"]) == sorted(
        [f"snapshots/{second.name}", f"snapshots/{foreign.name}"]
    )
    for name in ("config", "config-copy"):
        (here / name).write_bytes((there / name).read_bytes())
    assert read(here, passphrase=passphrase("paged"))["error"] in ("wrong-key", "damaged")


def test_a_damaged_config_has_a_copy(tmp_path: Path) -> None:
    repository = unpack("split", tmp_path)
    (repository / "config").write_bytes((repository / "config").read_bytes().replace(b"false", b"true"))
    found = read(repository, passphrase=passphrase("split"))
    assert len(found["snapshots"]) == 2
    assert [warning["code"] for warning in found["warnings"]] == ["config-damaged"]


def test_an_unknown_feature_is_named(tmp_path: Path) -> None:
    repository = unpack("split", tmp_path)
    for name in ("config", "config-copy"):
        data = (repository / name).read_bytes()
        (repository / name).write_bytes(data.replace(b'"requires":[]', b'"requires":["tomorrow"]'))
    found = read(repository, passphrase=passphrase("split"))
    assert (found["error"], "tomorrow" in found["message"]) == ("unsupported", True)


@pytest.mark.parametrize("case", [case for case in CASES if case not in ("link of a folder", "absolute")])
def test_absurd_folders_are_refused(tmp_path: Path, case: str) -> None:
    found = described(tmp_path, lambda repository: evil(repository, b"/outside")[case])
    records = list(found.values()) if "error" not in found else [found]
    assert any(isinstance(record, str) or "error" in record for record in records)


def described(tmp_path: Path, make: Any, what: str = "describe") -> dict[str, Any]:
    folder = unpack("split", tmp_path)
    before = {path.name for path in (folder / "snapshots").iterdir()}
    repository = open_repository(LocalStore(folder), Passphrase(passphrase("split")), tmp_path / "cache", clock=SystemClock())
    commit(repository, *make(repository))
    (new,) = {path.name for path in (folder / "snapshots").iterdir()} - before
    for name in before:
        (folder / "snapshots" / name).unlink()
    return dict(read(folder, passphrase=passphrase("split"), what=what)["described"][new])


def test_folders_nested_beyond_all_reason_end(tmp_path: Path) -> None:
    def deep(repository: Any) -> list[Node]:
        writer = repository.writer()
        tree = writer.add(TREE, msgspec.msgpack.encode(Node([])))
        for _ in range(4200):
            node = Node([Entry(b"d", DIRECTORY, 0o755, 0, 0, 0, 0, 0, 0, tree, None)])
            tree = writer.add(TREE, msgspec.msgpack.encode(node))
        writer.finish()
        return [Node([Entry(b"d", DIRECTORY, 0o755, 0, 0, 0, 0, 0, 0, tree, None)])]

    assert described(tmp_path, deep, "walk") == {"error": "damaged", "message": "folders are nested too deeply"}


def test_a_bomb_unpacks_to_no_more_than_it_claims(tmp_path: Path) -> None:
    """Payloads by which a small object would become a large one: the claim is compared before and after."""
    bomb = compression.pack(bytes(1 << 22))
    method, raw, packed = compression.HEADER.unpack_from(bomb)
    body = bomb[compression.HEADER.size :]
    cases = {
        "right": bomb,
        "claims less": compression.HEADER.pack(method, 1000, packed) + body,
        "claims more": compression.HEADER.pack(method, raw + 1, packed) + body,
        "beyond the limit": compression.HEADER.pack(method, (1 << 24) + 1, packed) + body,
        "longer than it is": compression.HEADER.pack(method, raw, packed + 1) + body,
        "unknown method": compression.HEADER.pack(7, raw, packed) + body,
    }
    script = f"""
        import {{ unpack }} from {json.dumps(str(WEB / "format" / "heavy.js"))};
        for (const text of {json.dumps([data.hex() for data in cases.values()])})
          console.log(await unpack(Uint8Array.from(Buffer.from(text, 'hex')), 1 << 24).then((raw) => raw.length, (error) => error.code));
    """
    assert evaluate(script, tmp_path).split() == [str(1 << 22)] + ["damaged"] * 5
