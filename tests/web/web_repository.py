"""A repository as a family might have one: pictures, texts, a PDF, names that mean harm, and a file too large for memory's way."""

from __future__ import annotations

import os
import random
import struct
import zlib
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from safehold.codec.passphrase import Passphrase
from safehold.codec.recovery import RecoveryKey
from safehold.core.clock import ManualClock
from safehold.ops.backup.options import BackupOptions
from safehold.ops.backup.run import back_up
from safehold.repo import repository
from safehold.repo.keys.admin import add_slot
from safehold.storage.local import LocalStore

PASSPHRASE = "correct horse bätteri staple"
LARGE = 40 * 1024 * 1024
"""More than goes into memory before it becomes a download."""
EVIL = [
    b"<img src=x onerror=window.hurt=1>.txt",
    b"<script>window.hurt=1</script>",
    b'"onmouseover=window.hurt=1 x=".txt',
    b"javascript:window.hurt=1",
    "rechnung\u202egnp.exe".encode(),
    b"\xff\xfe no UTF-8.txt",
    b"back\\slash.txt",
]


@dataclass
class Made:
    """What the tests compare with."""

    folder: Path
    source: Path
    words: str
    snapshots: list[str]
    """Ids, oldest first."""


def png(width: int, height: int) -> bytes:
    """A picture of hills before an evening sky."""
    rows = bytearray()
    for y in range(height):
        rows.append(0)
        for x in range(width):
            ridge = height * 0.62 + 30 * zig(x / 90) + 14 * zig(x / 31)
            near = height * 0.8 + 22 * zig(x / 140 + 1)
            sky = (250 - y // 3, 190 - y // 4, 150 + y // 8)
            rows += bytes(max(0, min(255, c)) for c in ((28, 58, 52) if y > near else (58, 98, 92) if y > ridge else sky))
    body = b"".join(
        chunk(kind, data)
        for kind, data in (
            (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
            (b"IDAT", zlib.compress(bytes(rows), 6)),
            (b"IEND", b""),
        )
    )
    return b"\x89PNG\r\n\x1a\n" + body


def zig(x: float) -> float:
    return abs((x % 2) - 1) * 2 - 1


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def pdf(line: str) -> bytes:
    """One page with one line of text."""
    stream = f"BT /F1 24 Tf 72 700 Td ({line}) Tj ET".encode()
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Contents 4 0 R/Resources<</Font<</F1 5 0 R>>>>>>",
        b"<</Length %d>>stream\n%s\nendstream" % (len(stream), stream),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
    ]
    out, places = bytearray(b"%PDF-1.4\n"), []
    for number, body in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    start = len(out)
    out += b"xref\n0 6\n0000000000 65535 f \n" + b"".join(b"%010d 00000 n \n" % place for place in places)
    return bytes(out + b"trailer<</Size 6/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF\n" % start)


def put(path: Path, data: bytes, when: str = "2026-05-02T17:20:00") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    moment = datetime.fromisoformat(when).replace(tzinfo=UTC).timestamp()
    os.utime(path, (moment, moment))


def letters(count: int) -> bytes:
    lines = [f"{n:4}  Milk, bread, {n % 7} apples, and the letter to aunt Zoë." for n in range(count)]
    return ("Shopping, and what else there is to do\n\n" + "\n".join(lines) + "\n").encode()


def first_state(source: Path) -> None:
    picture = png(640, 400)
    for number in range(1, 13):
        put(source / "Pictures" / "Alps 2026" / f"IMG_{number:04}.png", picture + bytes(number), f"2026-05-{number:02}T10:00:00")
    put(source / "Documents" / "shopping.txt", letters(40))
    put(source / "Documents" / "Contract.pdf", pdf("Lease of the flat, 12 May 2026"), "2026-05-12T09:00:00")
    put(
        source / "Documents" / "drawing.svg",
        b'<svg xmlns="http://www.w3.org/2000/svg" onload="window.hurt=1"><script>window.hurt=1</script></svg>',
    )
    put(source / "Documents" / "page.html", b"<!doctype html><script>window.top.hurt=1</script><h1>Hello</h1>")
    put(source / "Documents" / "empty.txt", b"")
    put(source / "Documents" / "old.txt", b"soon gone\n")
    for name in EVIL:
        put(source / "Strange" / os.fsdecode(name), b"harmless\n")
    put(source / "Videos" / "birthday.mp4", random.Random(4).randbytes(LARGE), "2026-06-20T15:00:00")
    put(source / "Videos" / "party.txt", b"who was there\n")
    (source / "Documents" / "latest").symlink_to("shopping.txt")
    for number in range(450):
        put(source / "Notes" / f"note {number}.txt", f"note {number}\n".encode() * 3)


def second_state(source: Path) -> None:
    put(source / "Documents" / "shopping.txt", letters(55), "2026-10-30T08:15:00")
    put(source / "Documents" / "new.txt", b"new here\n", "2026-10-30T08:15:00")
    (source / "Documents" / "old.txt").unlink()


def make(place: Path) -> Made:
    """The repository, of six backups from two machines between September and November 2026."""
    source = place / "anna"
    clock = ManualClock()
    store = LocalStore(place / "repository", create=True)
    repository.create(store, Passphrase(PASSPHRASE), place / "cache", clock=clock)
    opened = repository.open_repository(store, Passphrase(PASSPHRASE), place / "cache", clock=clock)
    words = RecoveryKey.new(os.urandom)
    add_slot(store, opened.keyring, "owner", words, "paper", clock=clock)
    made = []

    def run(when: str, host: str, paths: list[Path], tags: list[str]) -> None:
        clock.advance(datetime.fromisoformat(when).replace(tzinfo=UTC).timestamp() - clock.now_ns() / 1e9)
        made.append(back_up(opened, BackupOptions(paths=[str(path) for path in paths], host=host, tags=tags)).id)

    first_state(source)
    run("2026-09-28T19:02:00", "laptop", [source], [])
    run("2026-10-12T19:02:00", "laptop", [source], ["before the holidays"])
    second_state(source)
    run("2026-11-02T07:30:00", "laptop", [source], [])
    run("2026-11-19T19:02:00", "laptop", [source], [])
    run("2026-11-20T12:40:00", "desktop", [source / "Documents"], [])
    run("2026-11-20T19:02:00", "laptop", [source], [])
    return Made(place / "repository", source, " ".join(words.words()), made)
