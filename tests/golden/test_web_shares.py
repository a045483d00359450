"""The pages' own reader of shares: every step as the known answers say, and whatever is not as it was made is refused."""

from __future__ import annotations

import base64
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hostile_shares import DOUBLING, ENTRIES, KEY, NAMES, SEGMENTS, TREES, file, folder, root, sealed

from safehold.codec import sealing
from safehold.repo.shares import manifest, sent
from safehold.repo.shares.manifest import Node, Part, Root

HERE = Path(__file__).parent / "shares"
SCRIPT = Path(__file__).parents[1] / "web" / "read-share.mjs"
ANSWERS: dict[str, dict[str, Any]] = json.loads((HERE / "answers.json").read_text("utf-8"))


def text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def run(*orders: dict[str, Any]) -> list[dict[str, Any]]:
    done = subprocess.run(
        ["node", "--no-warnings", str(SCRIPT)], input=json.dumps(orders), capture_output=True, text=True, check=False, timeout=120
    )
    assert (done.stderr, done.returncode) == ("", 0), done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def order(name: str, **changed: object) -> dict[str, Any]:
    """What a friend of that share has."""
    answer = ANSWERS[name]
    lock = {"salt": answer["salt"], "secret": answer["needs_secret"], "cost": answer["cost"]}
    link = {"link": "1" + answer["secret"].rstrip("=").replace("+", "-").replace("/", "_")} if answer["secret"] else {}
    return {"share": answer["share"], "lock": lock, "password": answer["password"], **link, **changed}


def served(name: str, **changed: object) -> dict[str, Any]:
    """The same, with what the server hands out."""
    (segment,) = HERE.glob(f"{name}.*.segment")
    segments = {segment.name.split(".")[1]: text(segment.read_bytes())}
    objects = [text((HERE / f"{name}.1.data").read_bytes())]
    listing = text((HERE / f"{name}.manifest").read_bytes())
    return order(name, **{"manifest": listing, "segments": segments, "objects": objects, **changed})


def test_keys() -> None:
    for name, found in zip(ANSWERS, run(*map(order, ANSWERS)), strict=True):
        answer = ANSWERS[name]
        assert found == {"k": answer["k"], "auth": answer["auth"], "commitment": answer["commitment"]}, name


@pytest.mark.parametrize("name", ["plain", "password"])
def test_what_is_in_it(name: str) -> None:
    answer = ANSWERS[name]
    (found,) = run(served(name))
    same = ("name", "taken_ns", "repository")
    assert [found[each] for each in same] == [answer[each] for each in same]
    assert ([found["partKey"]], found["manifestId"]) == (answer["part_keys"], answer["manifest_id"])
    wanted = [{key: value for key, value in entry.items() if key != "holes"} for entry in answer["entries"]]
    assert found["entries"] == sorted(
        wanted, key=lambda entry: [entry["path"] for entry in found["entries"]].index(entry["path"])
    )


def test_a_wrong_key_is_told_from_a_changed_listing() -> None:
    other = order("password")["link"]
    cases = {"wrong-key": served("plain", link=other), "kdf": served("password")}
    cases["kdf"]["lock"]["cost"] = [1024, 3, 1]
    assert [found["error"] for found in run(*cases.values())] == list(cases)
    cut = [served("plain", link=link) for link in ("", "1", "2" + other[1:], other[:-1], other + "A", other[:-1] + "*")]
    assert [found["error"] for found in run(*cut)] == ["share-link"] * len(cut)


def flipped(data: bytes, at: int) -> str:
    return text(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])


def test_no_altered_bit_of_a_listing_passes() -> None:
    data = (HERE / "plain.manifest").read_bytes()
    places = [*range(90), *range(90, len(data), 5), len(data) - 1]
    found = run(*(served("plain", manifest=flipped(data, at)) for at in places))
    errors = {at: each.get("error") for at, each in zip(places, found, strict=True)}
    assert set(errors.values()) == {"share-altered", "wrong-key"}
    assert {at for at, error in errors.items() if error == "wrong-key"} <= set(range(40, 72))  # the commitment
    cut = run(*(served("plain", manifest=text(data[:size])) for size in (0, 8, 75, 76, len(data) - 1)))
    assert {each["error"] for each in cut} == {"share-altered"}


def test_no_altered_bit_of_what_is_shared_passes() -> None:
    (path,) = HERE.glob("plain.*.segment")
    data, name = path.read_bytes(), path.name.split(".")[1]
    packed = (HERE / "plain.1.data").read_bytes()
    changed = [served("plain", segments={name: flipped(data, at)}) for at in range(0, len(data), 1999)]
    changed += [served("plain", objects=[flipped(packed, at)]) for at in range(0, len(packed), 7)]
    changed += [served("plain", segments={name: text(data[:-1])}), served("plain", segments={name: text(packed)})]
    assert {each.get("error") for each in run(*changed)} == {"damaged"}


def hostile(made: Root, *others: Part) -> dict[str, Any]:
    parts = [msgspec.msgpack.encode(part) for part in others]
    return {"share": KEY.share.hex(), "key": text(KEY.key), "manifest": text(manifest.seal(KEY, made, parts, os.urandom))}


def test_what_nobody_honest_makes_is_refused() -> None:
    segment, _ = sealed(b"0123456789")
    made = [root(Node([file(name)])) for name in NAMES] + [root(Node([entry]), segments=(segment,)) for entry in ENTRIES]
    made += [root(Node([]), segments=(each,)) for each in SEGMENTS] + [*TREES.values(), root(*DOUBLING)]
    found = run(*map(hostile, made))
    assert [number for number, each in enumerate(found) if each.get("error") != "share-altered"] == []


def test_parts_are_read_on_demand_and_long_files_go_on_in_them() -> None:
    segment, body = sealed(bytes(range(200)))
    long = Part([segment], [], [1, 100, 100, 0, 0, 56])
    below = Part([segment], [Node([file(b"inner", 5, [1, 5, 5])])], [])
    top = Node([file(b"long", 166, [1, 0, 10], rest=[2])], (0, 1))
    more = Node([folder(b"sub", (1, 0))])
    made = hostile(root(top, more, segments=(segment,)), below, long) | {"segments": {segment.id.hex(): text(body)}}
    (found,) = run(made)
    sizes = {base64.b64decode(entry["path"]): entry["size"] for entry in found["entries"]}
    assert sizes == {b"long": 166, b"sub": 0, b"sub/inner": 5}


@pytest.mark.parametrize("size", [0, 1, sent.BLOCK, sent.BLOCK + 1, 2 * sent.BLOCK])
def test_what_a_browser_seals_the_program_opens(size: int) -> None:
    private, request, data = b"p" * 32, bytes(range(16)), os.urandom(size)
    name = "Grüße 中.txt" if size else "a" * 255
    values = {"public": text(sealing.exchange_public(private)), "request": text(request), "name": name, "sender": "Bert" * 10}
    (made,) = run({"send": {**values, "modified": 1_700_000_000_123, "data": text(data)}})
    sealed = base64.b64decode(made["sealed"])
    assert len(sealed) == made["size"]
    opened = sent.SentFile(private, request, lambda at, n: sealed[at : at + n], len(sealed))
    assert opened.header == sent.SentHeader(name.encode(), size, 1_700_000_000_123 * 10**6, "Bert" * 10)
    assert b"".join(opened.read(*piece) for piece in opened.pieces()) == data
    opened.check_empty()
    (refused,) = run({"send": {**values, "name": "ü" * 128, "modified": 0, "data": ""}})
    assert refused == {"error": "send-name"}
