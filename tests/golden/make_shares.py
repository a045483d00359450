"""Makes the golden shares anew:  ``python tests/golden/make_shares.py``.  Only before the first release, as ``make.py``.

They are known answers for every other program that opens shares: the browser's, for one.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent / "shares"
sys.path.insert(0, str(Path(__file__).parents[1]))

from shares_fixtures import Shelf, Told, key_for  # noqa: E402

from safehold.core.clock import ManualClock  # noqa: E402
from safehold.core.entries import KIND_NAMES  # noqa: E402
from safehold.ops import share  # noqa: E402
from safehold.ops.open_share import listing  # noqa: E402
from safehold.ops.share import Made, Options  # noqa: E402
from safehold.repo.shares import records  # noqa: E402
from safehold.repo.shares.opening import OpenShare, find  # noqa: E402
from safehold.testing.builders import Household  # noqa: E402
from safehold.testing.stores import MemoryStore  # noqa: E402

PASSWORD = "bätteri over the phone"
MTIME = 1_700_000_000_123_456_789


def text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def source(folder: Path) -> Path:
    """What is shared, and a neighbour."""
    shared = folder / "pictures"
    (shared / "trip" / "deep" / "empty").mkdir(parents=True)
    (folder / "mine").mkdir()
    (folder / "mine" / "diary.txt").write_bytes(b"private " * 100)
    (shared / "note.txt").write_bytes("Grüße\n".encode())
    (shared / "empty").write_bytes(b"")
    (shared / "large.txt").write_bytes(b"".join(b"line %07d of a file of its own\n" % n for n in range(40_000)))
    (shared / "trip" / "Ünï cödé 中文.txt").write_bytes(b"name")
    (shared / "trip" / os.fsdecode(b"latin-\xe9")).write_bytes(b"no UTF-8")
    (shared / "trip" / "link").symlink_to("../note.txt")
    with (shared / "sparse").open("wb") as file:
        file.seek(1 << 20)
        file.write(b"behind a hole")
        file.truncate(3 << 20)
    for path in [shared, *shared.rglob("*")]:
        os.utime(path, ns=(MTIME, MTIME), follow_symlinks=False)
    return shared


def describe(opened: OpenShare) -> list[dict[str, Any]]:
    """Everything in it, as whoever opens it has to see it."""
    found = []
    for each in listing(opened):
        entry = each.entry
        one: dict[str, Any] = {"path": text(each.path), "kind": KIND_NAMES[entry.kind], "mode": entry.mode}
        one |= {"mtime_ns": str(entry.mtime_ns), "size": entry.size, "holes": entry.holes, "target": text(entry.target)}
        if entry.kind == 0:
            place = find(opened, each.path)
            assert place is not None
            one["sha256"] = hashlib.sha256(opened.content(*place).read(0, entry.size)).hexdigest()
        found.append(one)
    return found


def keys(made: Made, password: str) -> dict[str, Any]:
    """Every step from the secret to the keys."""
    key, record = key_for(made, password), made.record
    return {
        "share": record.share.hex(),
        "link": made.link,
        "secret": text(record.secret),
        "words": made.secret.words() if made.secret else [],
        "password": password,
        "salt": text(record.lock.salt),
        "needs_secret": record.lock.secret,
        "cost": record.lock.cost,
        "k": text(key.key),
        "auth": text(key.auth),
        "auth_hash": text(key.auth_hash),
        "commitment": text(key.commitment),
    }


def served(house: Household, made: Made, name: str, password: str = "") -> dict[str, Any]:
    """A share as a server hands it out: manifest, objects, segments."""
    record, shelf = made.record, Shelf(house.store, made.record)
    opened = OpenShare(key_for(made, password), shelf)
    manifest = shelf.manifest(0, 1 << 30)
    (HERE / f"{name}.manifest").write_bytes(manifest)
    for number, (digest, _) in enumerate(record.objects, 1):
        (HERE / f"{name}.{number}.data").write_bytes(house.store.get(records.key_of(record.share, digest, records.DATA)))
    for segment in opened.root.part.segments:
        if not segment.object:
            (HERE / f"{name}.{segment.id.hex()}.segment").write_bytes(shelf.segment(segment))
    manifest_id = manifest[24:40]
    parts = [text(key_for(made, password).part_key(manifest_id, n)) for n in range(len(opened.root.parts) + 1)]
    about = {
        "name": opened.root.name,
        "taken_ns": str(opened.root.taken_ns),
        "part_keys": parts,
        "manifest_id": text(manifest_id),
    }
    return {**keys(made, password), **about, "repository": opened.root.repository.hex(), "entries": describe(opened)}


def main() -> None:
    """Make them all."""
    shutil.rmtree(HERE, ignore_errors=True)
    HERE.mkdir()
    with tempfile.TemporaryDirectory() as temporary:
        base = Path(temporary)
        clock = ManualClock()
        house = Household(MemoryStore(clock), base / "cache", clock=clock)
        shared = source(base / "source")
        house.back_up(base / "source")
        repository = house.open()
        stored = repository.visible_snapshots()[-1]
        path = os.fsencode(str(shared)).strip(b"/")
        answers = {}
        for name, password in (("plain", ""), ("password", PASSWORD)):
            made = share.create(repository, stored, path, Options(name=name, password=password), Told())
            answers[name] = served(house, made, name, password)
        for name, password in (("words-file", ""), ("password-file", PASSWORD)):
            made = share.create_file(
                repository, stored, path, Options(name=name, password=password), HERE / f"{name}.safehold-share"
            )
            answers[name] = keys(made, password)
    (HERE / "answers.json").write_text(json.dumps(answers, indent=1, ensure_ascii=False) + "\n", "utf-8")
    lines = [f"{hashlib.sha256(p.read_bytes()).hexdigest()}  {p.name}\n" for p in sorted(HERE.iterdir())]
    (HERE / "SHA256SUMS").write_text("".join(lines))


if __name__ == "__main__":
    main()
