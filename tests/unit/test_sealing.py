"""Sealing, deriving, wrapping and signing, against the RFCs and against an HPKE written here from primitives."""

from __future__ import annotations

import hmac

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from safehold.codec import sealing
from safehold.codec.sealing import aead_open, aead_seal, derive, domain, sign, unwrap_key, verify, wrap_key
from safehold.core.errors import DamageError, FormatError

REPOSITORY = bytes(range(16))
KEY = bytes(range(32))


def hex_(text: str) -> bytes:
    return bytes.fromhex(text)


# RFC 9180 from its text, with nothing but X25519, HMAC and AES-GCM: what another implementation has to do.


def _extract(suite: bytes, salt: bytes, label: bytes, ikm: bytes) -> bytes:
    return hmac.digest(salt or bytes(32), b"HPKE-v1" + suite + label + ikm, "sha256")


def _expand(suite: bytes, prk: bytes, label: bytes, info: bytes, length: int) -> bytes:
    return derive(prk, length.to_bytes(2, "big") + b"HPKE-v1" + suite + label + info, length)


def rfc9180_key(private: bytes, enc: bytes, info: bytes, aead_id: int, key_size: int) -> tuple[bytes, bytes]:
    """Key and nonce of a base-mode context with DHKEM(X25519, HKDF-SHA256) and HKDF-SHA256."""
    own = X25519PrivateKey.from_private_bytes(private)
    kem = b"KEM\x00\x20"
    secret = own.exchange(X25519PublicKey.from_public_bytes(enc))
    shared = _expand(kem, _extract(kem, b"", b"eae_prk", secret), b"shared_secret", enc + own.public_key().public_bytes_raw(), 32)
    suite = b"HPKE\x00\x20\x00\x01" + aead_id.to_bytes(2, "big")
    context = b"\0" + _extract(suite, b"", b"psk_id_hash", b"") + _extract(suite, b"", b"info_hash", info)
    secret = _extract(suite, shared, b"secret", b"")
    return _expand(suite, secret, b"key", context, key_size), _expand(suite, secret, b"base_nonce", context, 12)


def test_the_hpke_of_this_file_agrees_with_rfc_9180_appendix_a_1_1() -> None:
    key, nonce = rfc9180_key(
        hex_("4612c550263fc8ad58375df3f557aac531d26850903e55a9f23f21d8534e8ac8"),
        hex_("37fda3567bdbd628e88668c3c8d7e97d1d1253b6d4ea6d44c150f741f1bf4431"),
        hex_("4f6465206f6e2061204772656369616e2055726e"),
        aead_id=1,
        key_size=16,
    )
    assert key.hex() == "4531685d41d65f03dc48f6b8302c05b0"
    assert nonce.hex() == "56d890e5accaaf011cff4b7d"


def test_a_wrapped_key_opens_by_rfc_9180() -> None:
    wrapped = wrap_key(sealing.exchange_public(KEY), "session", REPOSITORY, b"context", b"k" * 32)
    assert len(wrapped) == sealing.WRAPPED_KEY_SIZE
    info = b"safehold/1/session\0" + REPOSITORY + b"context"
    key, nonce = rfc9180_key(KEY, wrapped[:32], info, aead_id=2, key_size=32)
    assert AESGCM(key).decrypt(nonce, wrapped[32:], b"") == b"k" * 32


KNOWN_WRAPPED = (
    "ce4aad562b12a6e875ec825bf9f7a463f9a5185dbac02109834f365e3a98037553ae33d79449350b"
    "fc78a83058571a6bead12dc1f6f0ff6fcfe59c9ec756ab68dc809d843629671ca45e5af943d6df22"
)


def test_a_key_wrapped_long_ago_still_opens() -> None:
    wrapped = hex_(KNOWN_WRAPPED)
    assert unwrap_key(KEY, "session", REPOSITORY, b"\0\0\0\x01known", wrapped) == bytes(range(100, 132))


@pytest.mark.parametrize("change", ["private", "kind", "repository", "context", "enc", "ciphertext", "short", "empty"])
def test_a_wrapped_key_opens_for_nothing_else(change: str) -> None:
    wrapped = wrap_key(sealing.exchange_public(KEY), "session", REPOSITORY, b"c", b"k" * 32)
    private, kind, repository, context = KEY, "session", REPOSITORY, b"c"
    match change:
        case "private":
            private = bytes(32)
        case "kind":
            kind = "epoch"
        case "repository":
            repository = bytes(16)
        case "context":
            context = b"d"
        case "enc":
            wrapped = bytes(32) + wrapped[32:]
        case "ciphertext":
            wrapped = wrapped[:-1] + bytes([wrapped[-1] ^ 1])
        case "short":
            wrapped = wrapped[:40]
        case "empty":
            wrapped = b""
    with pytest.raises(DamageError):
        unwrap_key(private, kind, repository, context, wrapped)


def test_wrapping_to_a_useless_public_key_is_refused() -> None:
    with pytest.raises(FormatError):
        wrap_key(bytes(32), "session", REPOSITORY, b"", KEY)


def test_wrapping_twice_gives_different_bytes() -> None:
    public = sealing.exchange_public(KEY)
    assert wrap_key(public, "session", REPOSITORY, b"", KEY) != wrap_key(public, "session", REPOSITORY, b"", KEY)


def test_derive_is_hkdf_expand_of_rfc_5869_case_1() -> None:
    prk = hex_("077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5")
    okm = hex_("3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865")
    info = hex_("f0f1f2f3f4f5f6f7f8f9")
    assert derive(prk, info, 42) == okm
    assert derive(prk, info) == okm[:32]
    assert derive(prk, info, 7) == okm[:7]
    assert len(derive(prk, info, 8160)) == 8160
    with pytest.raises(ValueError, match="8160"):
        derive(prk, info, 8161)


def test_sealing_round_trip_and_known_answer() -> None:
    sealed = aead_seal(KEY, bytes(12), b"plain", b"aad")
    assert sealed.hex() == "7ed0d4b7dba813cf1a996a94cf9b3bc04cf84d7b95"
    assert aead_open(KEY, bytes(12), sealed, b"aad") == b"plain"


@pytest.mark.parametrize("place", range(21))
def test_any_changed_bit_of_sealed_data_is_damage(place: int) -> None:
    sealed = bytearray(aead_seal(KEY, bytes(12), b"plain", b"aad"))
    sealed[place] ^= 0x10
    with pytest.raises(DamageError, match="segment 7 is not what was sealed"):
        aead_open(KEY, bytes(12), sealed, b"aad", "segment 7")


def test_other_associated_data_nonce_or_key_is_damage() -> None:
    sealed = aead_seal(KEY, bytes(12), b"plain", b"aad")
    for key, nonce, aad in ((bytes(32), bytes(12), b"aad"), (KEY, b"n" * 12, b"aad"), (KEY, bytes(12), b"")):
        with pytest.raises(DamageError):
            aead_open(key, nonce, sealed, aad)
    with pytest.raises(DamageError):
        aead_open(KEY, bytes(12), b"short", b"aad")


def test_signatures_hold_for_their_kind_and_repository_only() -> None:
    public = sealing.signing_public(KEY)
    signature = sign(KEY, "snapshot", REPOSITORY, b"message")
    assert signature.hex() == (
        "db7569d8234baedc7a6b22408401b17dc42c31b90de9af141c228572557854c8"
        "59b8f6cf08d4281fad4464334b67c5e45e3cb408abf49942072c9bee37b34e0e"
    )
    verify(public, "snapshot", REPOSITORY, b"message", signature)
    bad = [
        (public, "slot", REPOSITORY, b"message", signature),
        (public, "snapshot", bytes(16), b"message", signature),
        (public, "snapshot", REPOSITORY, b"messag", signature),
        (public, "snapshot", REPOSITORY, b"message", signature[:-1]),
        (public, "snapshot", REPOSITORY, b"message", bytes(64)),
        (bytes(32), "snapshot", REPOSITORY, b"message", signature),
        (b"", "snapshot", REPOSITORY, b"message", signature),
    ]
    for arguments in bad:
        with pytest.raises(DamageError, match="signature of the thing"):
            verify(*arguments, what="thing")


def test_a_repository_id_of_another_size_is_refused() -> None:
    assert domain("slot", REPOSITORY) == b"safehold/1/slot\0" + REPOSITORY
    with pytest.raises(FormatError):
        domain("slot", bytes(32))
