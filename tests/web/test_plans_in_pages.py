"""Plans that devices are handed, between the pages and the program: what one makes the other opens, what was altered neither does."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from web_reader import HERE

from safehold.codec.plan_letter import Receiver, make_letter, open_letter
from safehold.codec.sealing import exchange_public, signing_public
from safehold.core.errors import DamageError
from safehold.jobs.plan_files import parse

REPOSITORY, SLOT = bytes(range(16)), bytes(range(16, 32))
ADMIN, DEVICE, EPOCH, EXCHANGE = (bytes([number]) * 32 for number in range(1, 5))
TO = Receiver(REPOSITORY, SLOT, exchange_public(EXCHANGE), 2, exchange_public(EPOCH))
NOW = 1_795_000_000_123_456_789
PLANS = {"home": 'sources = ["~/Fotos \u82f9"]\n', "work": 'sources = ["/srv"]\n'}
FORM = {
    "sources": ['~/a "b"\\c', "/srv/\u82f9\u007f"],
    "exclude": ["*.tmp", "# \n"],
    "every": "",
    "at": "02:30",
    "keep": {"daily": 7, "weekly": 0, "monthly": 12},
}
KEYS = {
    "repository": REPOSITORY,
    "admin": signing_public(ADMIN),
    "adminPrivate": ADMIN,
    "epochPublic": TO.epoch_public,
    "epochPrivate": EPOCH,
    "slot": SLOT,
    "exchange": TO.public,
    "devicePublic": signing_public(DEVICE),
}


def flipped(letter: bytes) -> list[bytes]:
    """It with one bit changed, here and there, and cut."""
    places = range(0, len(letter), max(1, len(letter) // 12))
    return [letter[:at] + bytes([letter[at] ^ 1]) + letter[at + 1 :] for at in places] + [letter[:-1], letter[:64], b""]


def pages(letters: list[bytes]) -> Any:
    """What ``plans.mjs`` says: see there."""
    value = {
        "keys": {name: data.hex() for name, data in KEYS.items()},
        "letters": [letter.hex() for letter in letters],
        "plans": list(PLANS.items()),
        "form": FORM,
        "now": str(NOW),
    }
    command = ["node", "--no-warnings", str(HERE / "plans.mjs")]
    done = subprocess.run(command, input=json.dumps(value), capture_output=True, text=True, check=False, timeout=60)
    assert (done.stderr, done.returncode) == ("", 0), done.stderr
    return json.loads(done.stdout)


def test_what_one_makes_the_other_opens() -> None:
    good = make_letter(TO, ADMIN, PLANS, NOW)
    said = pages([good, make_letter(TO, DEVICE, PLANS, NOW), *flipped(good)])
    read = {"slot": SLOT.hex(), "label": "laptop", "made": str(NOW), "plans": [list(each) for each in PLANS.items()]}
    assert said["letters"][0] == read and set(said["letters"][1:]) == {"damaged"}
    made = bytes.fromhex(said["made"])
    assert open_letter(REPOSITORY, SLOT, EXCHANGE, signing_public(ADMIN), made) == (NOW, PLANS)
    for letter in flipped(made):
        with pytest.raises(DamageError):
            open_letter(REPOSITORY, SLOT, EXCHANGE, signing_public(ADMIN), letter)
    assert (said["more"], said["removed"], said["tooMany"], said["reader"]) == (0, 0, "too-many", "not-owner")


def test_the_text_of_a_form_is_a_plan() -> None:
    plan = parse(Path("/plans/x.toml"), pages([])["text"])
    assert plan.sources == [str(Path.home() / 'a "b"\\c'), "/srv/\u82f9\u007f"] and plan.exclude == FORM["exclude"]
    assert (plan.at, plan.every, plan.keep_daily, plan.keep_weekly, plan.keep_monthly) == (["02:30"], "", 7, 0, 12)
