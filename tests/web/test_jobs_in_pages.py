"""Restore jobs between the pages and the program: what one makes the other opens, what was altered neither does; and letters of format 1."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest
from web_reader import HERE

from safehold.codec import job
from safehold.codec.job import Order, Outcome, Reader, Taker
from safehold.codec.sealing import domain, exchange_public, seal_to, sign, signing_public
from safehold.core.errors import DamageError, NotPermitted

REPOSITORY, SLOT, JOB = bytes(range(16)), bytes(range(16, 32)), bytes(range(32, 48))
ADMIN, DEVICE, EPOCH, MACHINE = (bytes([number]) * 32 for number in range(1, 5))
TAKER = Taker(REPOSITORY, SLOT, DEVICE, MACHINE, exchange_public(MACHINE), signing_public(ADMIN))
READER = Reader(2, exchange_public(EPOCH))
NOW = 1_795_000_000_123_456_789
WEEK = 7 * 86400 * 10**9
FOLDERS = ["/home/anna/Restored by Safehold", "/srv/<b>"]
ORDER = Order("ab" * 32, [b"/home/anna/\xff", "/home/anna/Fotos \u82f9".encode()], FOLDERS[1])
OUTCOME = Outcome("1 thing was not restored.", "", "/srv/<b>/2026", 3, 1, 0, 2**40)
GOLDEN = Path(__file__).parents[1] / "golden" / "jobs" / "format-1.json"
KEYS = {
    "repository": REPOSITORY,
    "admin": signing_public(ADMIN),
    "adminPrivate": ADMIN,
    "epochPublic": READER.public,
    "epochPrivate": EPOCH,
    "slot": SLOT,
    "devicePublic": signing_public(DEVICE),
}


def ordered(signing: bytes = ADMIN) -> bytes:
    """A job as the pages make one."""
    header = msgspec.msgpack.encode(job.Header(JOB, SLOT, TAKER.public, NOW, NOW + WEEK, 2))
    plain = msgspec.msgpack.encode(ORDER)
    sealed = seal_to(TAKER.public, domain("job", REPOSITORY) + header, plain)
    copy = seal_to(READER.public, domain("job-copy", REPOSITORY) + header, plain)
    body = msgspec.msgpack.encode(job.Job(header, sealed, copy))
    return body + sign(signing, "job", REPOSITORY, body)


def flipped(letter: bytes) -> list[bytes]:
    """It with one bit changed, here and there, and cut."""
    places = range(0, len(letter), max(1, len(letter) // 12))
    return [letter[:at] + bytes([letter[at] ^ 1]) + letter[at + 1 :] for at in places] + [letter[:-1], letter[:64], b""]


def pages(**order: Any) -> Any:
    """What ``jobs.mjs`` says: see there."""
    value = {"keys": {name: data.hex() for name, data in KEYS.items()}, "device": "d1", "now": str(NOW), **order}
    value["order"] = {"snapshot": ORDER.snapshot, "paths": [path.hex() for path in ORDER.paths], "into": ORDER.into}
    command = ["node", "--no-warnings", str(HERE / "jobs.mjs")]
    done = subprocess.run(command, input=json.dumps(value), capture_output=True, text=True, check=False, timeout=60)
    assert (done.stderr, done.returncode) == ("", 0), done.stderr
    return json.loads(done.stdout)


def test_what_one_makes_the_other_opens() -> None:
    offer = job.make_offer(TAKER, "d1", FOLDERS, READER, NOW)
    elsewhere = job.make_offer(TAKER, "d2", FOLDERS, READER, NOW)
    forged = job.make_offer(msgspec.structs.replace(TAKER, device_private=ADMIN), "d1", FOLDERS, READER, NOW)
    good, report = ordered(), job.make_report(TAKER, JOB, "incomplete", OUTCOME, READER, NOW)
    others = job.make_report(TAKER, bytes(16), "done", OUTCOME, READER, NOW)
    stored = json.loads(GOLDEN.read_text())
    id = JOB.hex()
    said = pages(
        offers=[letter.hex() for letter in (offer, elsewhere, forged, *flipped(offer))] + [stored["offer"]],
        jobs=[[id, letter.hex()] for letter in (good, ordered(DEVICE), *flipped(good))]
        + [["00" * 16, good.hex()], [id, stored["job"]]],
        reports=[[id, letter.hex()] for letter in (report, others, *flipped(report))] + [[id, stored["report"]]],
    )
    taken = {
        "device": "d1",
        "slot": SLOT.hex(),
        "label": "laptop",
        "role": "reader",
        "public": TAKER.public.hex(),
        "folders": FOLDERS,
    }
    named = {"snapshot": ORDER.snapshot, "paths": [path.hex() for path in ORDER.paths], "into": ORDER.into}
    told = {"state": "incomplete", **msgspec.structs.asdict(OUTCOME)}
    for kind, whole in (("offers", taken), ("jobs", {"slot": SLOT.hex(), "label": "laptop", **named}), ("reports", told)):
        assert said[kind][0] == said[kind][-1] == whole
        assert set(said[kind][1:-1]) == {"damaged"}
    assert said["tooMany"] == "too-many" and said["removed"] == ["damaged"] and said["reader"] == "not-owner"
    made = said["made"]
    header, opened = job.open_job(TAKER, bytes.fromhex(made["id"]), bytes.fromhex(made["job"]), NOW)
    assert opened == ORDER and header.expires_ns == int(made["expires"]) == NOW + WEEK


def test_a_device_opens_what_is_for_it_alone() -> None:
    good = ordered()
    assert job.open_job(TAKER, JOB, good, NOW)[1] == ORDER
    stored = json.loads(GOLDEN.read_text())
    assert job.open_job(TAKER, JOB, bytes.fromhex(stored["job"]), NOW)[1] == ORDER
    for letter in [*flipped(good), ordered(DEVICE), os.urandom(len(good)), bytes(job.MOST_BYTES + 1)]:
        with pytest.raises(DamageError):
            job.open_job(TAKER, JOB, letter, NOW)
    for changed in (
        {"repository": bytes(16)},
        {"slot": bytes(16)},
        {"public": bytes(32)},
        {"private": ADMIN},
        {"admin_public": bytes(32)},
    ):
        with pytest.raises(DamageError):
            job.open_job(msgspec.structs.replace(TAKER, **changed), JOB, good, NOW)
    with pytest.raises(DamageError):
        job.open_job(TAKER, bytes(16), good, NOW)
    with pytest.raises(NotPermitted):
        job.open_job(TAKER, JOB, good, NOW + WEEK)
