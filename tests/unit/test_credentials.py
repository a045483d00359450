"""Passphrases, key files and recovery words."""

from __future__ import annotations

import hashlib
import re
from importlib import resources

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safehold.codec.keyfile import KeyFile
from safehold.codec.passphrase import CEILING, FLOOR, STANDARD, Cost, Passphrase, check_cost
from safehold.codec.recovery import RecoveryKey, qr_svg, qr_text, word_list, words_table
from safehold.core.errors import FormatError, UsageError, WrongKey

SECRET = bytes(range(32))


def test_argon2id_known_answer_and_nfc() -> None:
    composed, decomposed = Passphrase("Zo\u00eb 7"), Passphrase("Zoe\u0308 7")
    expected = "38e681a3ff405986f0a9600d725760026cb68fd468992e1a94e23a919465842c"
    assert composed.stretched(b"0123456789abcdef", STANDARD).hex() == expected
    assert decomposed.stretched(b"0123456789abcdef", STANDARD).hex() == expected


@pytest.mark.parametrize(
    "cost",
    [Cost(FLOOR.memory_kib - 1, 3, 4), Cost(65536, 2, 4), Cost(65536, 3, 0), Cost(8, 1, 1), Cost(0, 0, 0)],
)
def test_a_weaker_cost_is_refused_before_anything_is_computed(cost: Cost) -> None:
    with pytest.raises(FormatError, match="weaker"):
        Passphrase("x").stretched(bytes(16), cost)


@pytest.mark.parametrize("cost", [Cost(2**32 - 1, 3, 4), Cost(65536, 17, 4), Cost(65536, 3, 17)])
def test_an_absurd_cost_is_refused_before_anything_is_computed(cost: Cost) -> None:
    with pytest.raises(FormatError, match="absurdly"):
        Passphrase("x").stretched(bytes(16), cost)


def test_floor_standard_and_ceiling_are_allowed() -> None:
    for cost in (FLOOR, STANDARD, CEILING):
        check_cost(cost)


def test_texts_that_are_no_passphrase() -> None:
    with pytest.raises(UsageError, match="empty"):
        Passphrase("").stretched(bytes(16), STANDARD)
    with pytest.raises(UsageError, match="UTF-8"):
        Passphrase("\udcff").stretched(bytes(16), STANDARD)


def test_secrets_do_not_show_in_representations() -> None:
    key_file = KeyFile(bytes(16), bytes(16), b"topsecret")
    assert "secret" not in repr(Passphrase("my secret")) + repr(key_file) + repr(RecoveryKey(b"secret"))


KEY_FILE = KeyFile(bytes(range(16)), bytes(range(16, 32)), SECRET)
KEY_FILE_TEXT = """\
safehold key file 1
repository: 000102030405060708090a0b0c0d0e0f
slot: 101112131415161718191a1b1c1d1e1f
secret: AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=
checksum: f7958b44cb6d6d3c
"""


def test_key_file_text_is_fixed() -> None:
    assert KEY_FILE.text() == KEY_FILE_TEXT
    assert KeyFile.parse(KEY_FILE_TEXT) == KEY_FILE


def test_key_file_survives_editors_and_mail() -> None:
    mangled = "\ufeff# for the laptop\r\n\r\n" + "".join(f"  {line} \r\n" for line in KEY_FILE_TEXT.splitlines())
    assert KeyFile.parse(mangled) == KEY_FILE


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("safehold key file 1", "safehold key file 2", "no Safehold key file"),
        ("AAEC", "BAEC", "checksum"),
        ("AAEC", "AEC", "secret:"),
        ("AAEC", "A*EC", "secret:"),
        ("0001", "0002", "checksum"),
        ("0001", "zz01", "repository:"),
        ("1011", "11", "slot:"),
        ("slot: ", "slots: ", "slots"),
        ("checksum: ", "slot: ", "slot"),
        ("secret: AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n", "", "no line `secret:`"),
    ],
)
def test_a_damaged_key_file_says_where(old: str, new: str, says: str) -> None:
    with pytest.raises(WrongKey, match=re.escape(says)):
        KeyFile.parse(KEY_FILE_TEXT.replace(old, new))


@given(st.text() | st.text().map(lambda tail: "safehold key file 1\n" + tail))
def test_any_text_is_a_key_file_or_a_clear_error(text: str) -> None:
    with pytest.raises(WrongKey):
        KeyFile.parse(text)


# From the test vectors of BIP-39, 32 bytes of entropy.
BIP39 = {
    "00" * 32: "abandon " * 23 + "art",
    "ff" * 32: "zoo " * 23 + "vote",
    "80" * 32: "letter advice cage absurd amount doctor acoustic avoid letter advice cage absurd amount doctor acoustic"
    " avoid letter advice cage absurd amount doctor acoustic bless",
}


@pytest.mark.parametrize("secret", BIP39)
def test_words_are_bip_39s(secret: str) -> None:
    assert RecoveryKey(bytes.fromhex(secret)).words() == BIP39[secret].split()
    assert RecoveryKey.parse(BIP39[secret]).secret.hex() == secret


def test_the_word_list_is_bip_39s_english_one() -> None:
    data = resources.files("safehold.codec").joinpath("bip39-english.txt").read_bytes()
    assert hashlib.sha256(data).hexdigest() == "2f5eed53a4727b4bf8880d8f3f199efc90e58503646d9ff8eff3a2ed3b24dbda"
    assert len({word[:4] for word in word_list()}) == 2048


@given(st.binary(min_size=32, max_size=32))
def test_recovery_words_round_trip_in_any_dress(secret: bytes) -> None:
    words = RecoveryKey(secret).words()
    for text in (
        " ".join(words),
        "\n".join(f"{number}. {word.upper()}" for number, word in enumerate(words, 1)),
        "-".join(word[:4].title() for word in words),
    ):
        assert RecoveryKey.parse(text).secret == secret


WORDS = RecoveryKey(SECRET).words()


@pytest.mark.parametrize(
    ("typed", "hint"),
    [
        ("abandn", "abandon"),
        ("abandonn", "abandon"),
        ("zebrra", "zebra"),
        ("qqqqq", "print"),
        ("aba", ""),
        ("ärger", ""),
    ],
)
def test_a_mistyped_word_is_named_with_its_place(typed: str, hint: str) -> None:
    words = [*WORDS[:6], typed, *WORDS[7:]]
    with pytest.raises(WrongKey, match=f"Word 7, `{typed}`") as caught:
        RecoveryKey.parse(" ".join(words))
    assert hint in caught.value.hint


def test_swapped_and_missing_words_are_told() -> None:
    with pytest.raises(WrongKey, match="do not fit together"):
        RecoveryKey.parse(" ".join([WORDS[1], WORDS[0], *WORDS[2:]]))
    with pytest.raises(WrongKey, match="24 words, and these are 23"):
        RecoveryKey.parse(" ".join(WORDS[:-1]))
    with pytest.raises(WrongKey, match="these are 0"):
        RecoveryKey.parse("")


@given(st.text())
def test_any_text_is_a_recovery_key_or_a_clear_error(text: str) -> None:
    with pytest.raises(WrongKey):
        RecoveryKey.parse(text)


def test_the_table_has_six_columns_of_four_and_reads_back() -> None:
    table = words_table(WORDS)
    rows = table.splitlines()
    assert [len(row.split()) for row in rows] == [12] * 4
    assert rows[0].split()[:4] == ["1", WORDS[0], "5", WORDS[4]]
    assert max(map(len, rows)) < 80
    columns = [row.split() for row in rows]
    typed = [columns[number % 4][number // 4 * 2 + 1] for number in range(24)]
    assert RecoveryKey.parse(" ".join(typed)).secret == SECRET


def test_the_qr_is_plain_text_and_svg() -> None:
    text = qr_text(WORDS)
    assert "\x1b" not in text
    assert set(text) <= set(" \n\u2580\u2584\u2588")
    svg = qr_svg(WORDS)
    assert svg.startswith("<svg") and svg.endswith("</svg>")
