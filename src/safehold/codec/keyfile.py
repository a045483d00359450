"""Key files: 32 random bytes for one slot of one repository, as text (``docs/format/keys.md``, "Key file")."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field

from safehold.core.errors import WrongKey

HEADER = "safehold key file 1"
SECRET_SIZE = 32
SLOT_ID_SIZE = 16
_NAMES = ("repository", "slot", "secret", "checksum")


@dataclass(frozen=True, slots=True)
class KeyFile:
    """The secret of one slot, with the ids (16 bytes each) that say where it belongs."""

    repository_id: bytes
    slot_id: bytes
    secret: bytes = field(repr=False)

    @classmethod
    def new(cls, repository_id: bytes, random: Callable[[int], bytes]) -> KeyFile:
        """A fresh one, for a slot that is then made with its ``slot_id``."""
        return cls(repository_id, random(SLOT_ID_SIZE), random(SECRET_SIZE))

    def text(self) -> str:
        """The file's whole text, ASCII, each line with a newline.  Whoever reads it opens the slot: keep it 0600."""
        secret = base64.b64encode(self.secret).decode("ascii")
        body = f"{HEADER}\nrepository: {self.repository_id.hex()}\nslot: {self.slot_id.hex()}\nsecret: {secret}\n"
        return f"{body}checksum: {_checksum(body)}\n"

    @classmethod
    def parse(cls, text: str) -> KeyFile:
        """Read ``text()`` again; spaces around lines, blank lines, ``#`` lines, a byte order mark and CRLF do no harm.

        Raises ``WrongKey`` that says which line is wrong.
        """
        values = _values(text)
        key = cls(_hex(values, "repository"), _hex(values, "slot"), _secret(values["secret"]))
        if key.text().splitlines()[-1] != f"checksum: {values['checksum'].lower()}":
            raise WrongKey("The key file is damaged: its checksum does not fit.", "Use another copy of it.")
        return key


def _checksum(body: str) -> str:
    """16 hexadecimal digits: it finds slips and bad media, not forgers (the slot's own seal does that)."""
    return hashlib.sha256(body.encode("ascii")).hexdigest()[:16]


def _values(text: str) -> dict[str, str]:
    lines = [line.strip() for line in text.removeprefix("\ufeff").splitlines()]
    lines = [line for line in lines if line and not line.startswith("#")]
    if not lines or lines[0] != HEADER:
        raise WrongKey("This is no Safehold key file.", f"Its first line would be `{HEADER}`.")
    values: dict[str, str] = {}
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if not colon or name not in _NAMES or name in values:
            raise WrongKey(f"The key file has a line that is not its own: `{name[:20]}`.", "Use another copy of it.")
        values[name] = value.strip()
    for name in _NAMES:
        if name not in values:
            raise WrongKey(f"The key file has no line `{name}:`.", "It was cut short; use another copy of it.")
    return values


def _hex(values: dict[str, str], name: str) -> bytes:
    try:
        value = bytes.fromhex(values[name])
    except ValueError:
        value = b""
    if len(value) != SLOT_ID_SIZE:
        raise WrongKey(f"The key file's line `{name}:` is not an id.", "Use another copy of it.")
    return value


def _secret(text: str) -> bytes:
    try:
        value = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        value = b""
    if len(value) != SECRET_SIZE:
        raise WrongKey("The key file's line `secret:` is damaged.", "Use another copy of it.")
    return value
