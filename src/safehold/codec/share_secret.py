"""The secret of a share: 16 random bytes, as the end of a link, as 12 words, as a key file.  ``docs/format/shares.md``."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field

from safehold.codec.recovery import word_list, word_number
from safehold.core.errors import WrongKey

ID_SIZE = 16
SECRET_SIZE = 16
VERSION = "1"
"""First character of a written secret.  A later one tells that an older program cannot open the share."""
WORDS = 12
_CHECK_BITS = 4
_LINK = re.compile(r"(https?)://([^/?#\s@]+)/s/([0-9a-f]{32})#([A-Za-z0-9_-]+)", re.IGNORECASE)
_GIVEN = re.compile(r"(https?)://([^/?#\s@]+)/s/([0-9a-f]{32})", re.IGNORECASE)
_REQUEST = re.compile(rf"(https?)://([^/?#\s@]+)/r/([0-9a-f]{{32}})#{VERSION}([A-Za-z0-9_-]{{43}})", re.IGNORECASE)
_KEY_FILE = re.compile(r"safehold-share:([0-9a-f]{32})#([A-Za-z0-9_-]+)")


@dataclass(frozen=True, slots=True)
class ShareSecret:
    """What a link holds behind its ``#``."""

    value: bytes = field(repr=False)

    @classmethod
    def new(cls, random: Callable[[int], bytes]) -> ShareSecret:
        """A fresh one."""
        return cls(random(SECRET_SIZE))

    def text(self) -> str:
        """The version and 22 characters of base64url."""
        return VERSION + base64.urlsafe_b64encode(self.value).decode("ascii").rstrip("=")

    @classmethod
    def parse(cls, text: str) -> ShareSecret:
        """Read ``text()`` again.  Raises ``WrongKey``."""
        if text[:1] != VERSION:
            raise WrongKey("The end of this link is of a kind that this program does not know.", "A newer Safehold may open it.")
        try:
            value = base64.urlsafe_b64decode(text[1:] + "==")
        except (binascii.Error, ValueError):
            value = b""
        if len(value) != SECRET_SIZE or cls(value).text() != text:
            raise WrongKey("The end of this link, after the #, is not whole.", "Copy the whole link, up to its last character.")
        return cls(value)

    def words(self) -> list[str]:
        """12 words of the recovery list: 128 bits of secret and 4 bits of its SHA-256, 11 bits a word."""
        bits = int.from_bytes(self.value, "big") << _CHECK_BITS | _check(self.value)
        return [word_list()[bits >> 11 * place & 0x7FF] for place in reversed(range(WORDS))]

    @classmethod
    def from_words(cls, text: str) -> ShareSecret:
        """Read words again: any case, any spacing, numbers between them, first four letters suffice.  Raises ``WrongKey``."""
        typed = re.findall(r"[^\W\d_]+", text.casefold())
        bits = 0
        for place, word in enumerate(typed, 1):
            bits = bits << 11 | word_number(word, place)
        if len(typed) != WORDS:
            raise WrongKey(f"The key of a share has {WORDS} words, and these are {len(typed)}.", "Type all of them, in order.")
        value = (bits >> _CHECK_BITS).to_bytes(SECRET_SIZE, "big")
        if bits & 0xF != _check(value):
            raise WrongKey(
                "The words do not fit together, though each is in the list.",
                "One was mistaken for another, or two changed places; compare them with what you were given.",
            )
        return cls(value)


@dataclass(frozen=True, slots=True)
class Link:
    """A link to a share on a server."""

    scheme: str
    host: str
    """Name or address, with a port if it is not the usual one."""
    share: bytes
    secret: ShareSecret

    def text(self) -> str:
        """The whole link.  Whoever has it opens the share."""
        return f"{self.scheme}://{self.host}/s/{self.share.hex()}#{self.secret.text()}"

    @classmethod
    def parse(cls, text: str) -> Link:
        """Read ``text()`` again.  Raises ``WrongKey``."""
        match = _LINK.fullmatch(text.strip())
        if match is None:
            raise WrongKey("This is no link to a share.", "It would be https://HOST/s/, 32 digits, # and 23 characters.")
        return cls(match[1].lower(), match[2].lower(), bytes.fromhex(match[3]), ShareSecret.parse(match[4]))


@dataclass(frozen=True, slots=True)
class RequestLink:
    """A link by which somebody sends files in: where to, and the hash of the key that they are sealed to."""

    scheme: str
    host: str
    request: bytes
    digest: bytes
    """SHA-256 of the public key: a server cannot put another in its place."""

    @classmethod
    def to(cls, scheme: str, host: str, request: bytes, public: bytes) -> RequestLink:
        """The link of a public key."""
        return cls(scheme, host, request, hashlib.sha256(public).digest())

    def fits(self, public: bytes) -> bool:
        """Whether that is the key it means."""
        return hashlib.sha256(public).digest() == self.digest

    def text(self) -> str:
        """The whole link."""
        digest = base64.urlsafe_b64encode(self.digest).decode("ascii").rstrip("=")
        return f"{self.scheme}://{self.host}/r/{self.request.hex()}#{VERSION}{digest}"

    @classmethod
    def parse(cls, text: str) -> RequestLink:
        """Read ``text()`` again.  Raises ``WrongKey``."""
        match = _REQUEST.fullmatch(text.strip())
        if match is None:
            raise WrongKey("This is no link to send files by.", "It would be https://HOST/r/, 32 digits, # and 44 characters.")
        digest = base64.urlsafe_b64decode(match[4] + "=")
        return cls(match[1].lower(), match[2].lower(), bytes.fromhex(match[3]), digest)


def without_secret(text: str) -> tuple[str, str, bytes] | None:
    """Scheme, host and share of a link without its end: of one that was given to an account, whose key opens the secret."""
    match = _GIVEN.fullmatch(text.strip())
    return (match[1].lower(), match[2].lower(), bytes.fromhex(match[3])) if match else None


def is_link(text: str) -> bool:
    """Whether this is meant to be a link."""
    return re.match(r"https?://", text.strip(), re.IGNORECASE) is not None


def key_file_text(share: bytes, secret: ShareSecret) -> str:
    """The key file of a share file: one line, which is also what its QR holds."""
    return f"safehold-share:{share.hex()}#{secret.text()}\n"


def parse_key_file(text: str, share: bytes) -> ShareSecret:
    """The secret in a key file of that share.  Raises ``WrongKey``."""
    match = _KEY_FILE.fullmatch(text.removeprefix("\ufeff").strip())
    if match is None:
        raise WrongKey("This is no key file of a share.", "It has one line, which begins with `safehold-share:`.")
    if bytes.fromhex(match[1]) != share:
        raise WrongKey("This key file belongs to another share.", f"The one that opens this has the id {share.hex()[:8]}.")
    return ShareSecret.parse(match[2])


def _check(value: bytes) -> int:
    return hashlib.sha256(value).digest()[0] >> 8 - _CHECK_BITS
