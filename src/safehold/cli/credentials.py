"""Which passphrase or key opens the repository: from options, the environment, the configuration, the keyring, a person."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from safehold.cli.settings import Named
from safehold.core.errors import SafeholdError, UsageError, WrongKey

if TYPE_CHECKING:
    from safehold.codec.keyfile import KeyFile
    from safehold.codec.recovery import RecoveryKey
    from safehold.repo.keys.unlock import Credential

SERVICE = "safehold"
"""The name under which the system keyring holds passphrases; the account is the repository's location."""


@dataclass(frozen=True, slots=True)
class Given:
    """What the command line says about the key."""

    password_file: str = ""
    key_file: str = ""
    recovery: bool = False


def find(given: Given, environ: Mapping[str, str], named: Named, *, new: bool = False) -> Credential:
    """The credential for a repository, asked for twice if ``new``.  Raises ``UsageError``, ``WrongKey``."""
    if sum(map(bool, (given.password_file, given.key_file, given.recovery))) > 1:
        raise UsageError("Of --password-file, --key-file and --recovery only one can be meant.", "Leave out the others.")
    if given.recovery:
        return ask_recovery()
    key_file = given.key_file or ("" if given.password_file else environ.get("SAFEHOLD_KEY_FILE", ""))
    text = None if key_file else _passphrase(given, environ)
    if not key_file and text is None:
        key_file, text = named.key_file, _configured(named)
    if key_file and text is None:
        return read_key_file(key_file)
    if text is None and not new:
        text = _from_keyring(named.location)
    return passphrase(text if text is not None else ask(named.location, twice=new))


def passphrase(text: str) -> Credential:
    """A passphrase.  Raises ``UsageError`` if it is empty."""
    from safehold.codec.passphrase import Passphrase

    if not text:
        raise UsageError("The passphrase is empty.", "Give one with at least one character.")
    return Passphrase(text)


def read_key_file(name: str) -> KeyFile:
    """A key file.  Raises ``WrongKey``."""
    from safehold.codec.keyfile import KeyFile

    try:
        return KeyFile.parse(Path(name).expanduser().read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise WrongKey(f"The key file {name} cannot be read: {_reason(error)}.", "Check its name and who may read it.") from error


def write_key_file(name: str, key: KeyFile) -> None:
    """Make a key file that only its owner may read.  Raises ``UsageError`` if there is a file already."""
    try:
        with open(os.open(Path(name).expanduser(), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
            file.write(key.text())
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError:
        raise UsageError(f"There already is a file {name}.", "A new key file never replaces one; name another.") from None
    except OSError as error:
        raise SafeholdError(f"The key file {name} cannot be written: {_reason(error)}.") from error


def read_password_file(name: str) -> str:
    """The text of a file without the newline at its end.  Raises ``UsageError``."""
    try:
        return _without_newline(Path(name).expanduser().read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"The password file {name} cannot be read: {_reason(error)}.", "Check its name.") from error


def is_kept(named: Named) -> bool:
    """Whether the configuration or the keyring opens a repository, without anybody typing."""
    return bool(named.password_file or named.password_command or named.key_file) or _from_keyring(named.location) is not None


def ask(what: str, *, twice: bool) -> str:
    """Ask at the terminal, without showing what is typed.  Raises ``UsageError`` where there is no terminal."""
    if not _at_terminal():
        raise UsageError(
            "No passphrase was given, and there is no terminal to ask at.",
            "Use --password-file, --key-file, SAFEHOLD_PASSWORD, SAFEHOLD_PASSWORD_COMMAND or the configuration.",
        )
    import getpass

    text = getpass.getpass(f"{'New passphrase' if twice else 'Passphrase'} for {what}: ")
    if twice and text and getpass.getpass("The same again: ") != text:
        raise UsageError("The two passphrases differ; nothing was done.", "Try again.")
    return text


def ask_recovery() -> RecoveryKey:
    """The recovery words, from the terminal or from standard input.  Raises ``WrongKey``."""
    from safehold.codec.recovery import RecoveryKey

    if sys.stdin.isatty():
        sys.stderr.write("Type the 24 recovery words (their first four letters suffice), on one line or several:\n")
        words: list[str] = []
        while len(words) < 24 and (line := sys.stdin.readline()):
            words += line.split()
        return RecoveryKey.parse(" ".join(words))
    return RecoveryKey.parse(sys.stdin.read())


def _passphrase(given: Given, environ: Mapping[str, str]) -> str | None:
    """From options and the environment."""
    if given.password_file:
        return read_password_file(given.password_file)
    if "SAFEHOLD_PASSWORD" in environ:
        return environ["SAFEHOLD_PASSWORD"]
    sources: tuple[tuple[str, Callable[[str], str]], ...] = (
        ("SAFEHOLD_PASSWORD_FILE", read_password_file),
        ("SAFEHOLD_PASSWORD_COMMAND", _from_command),
    )
    return next((read(environ[name]) for name, read in sources if environ.get(name)), None)


def _configured(named: Named) -> str | None:
    if named.key_file:
        return None
    if named.password_file:
        return read_password_file(named.password_file)
    return _from_command(named.password_command) if named.password_command else None


def _from_command(command: str) -> str:
    """What a program prints, without the newline at its end.  No shell is involved."""
    import shlex
    import subprocess

    words = command if os.name == "nt" else shlex.split(command)
    try:
        done = subprocess.run(words, stdout=subprocess.PIPE, check=True, encoding="utf-8")
    except (OSError, ValueError) as error:
        raise UsageError(f"The password command cannot be run: {_reason(error)}.", "Check the command.") from error
    except subprocess.CalledProcessError as error:
        raise UsageError(
            f"The password command failed with status {error.returncode}.", "Run it by itself to see why."
        ) from error
    return _without_newline(done.stdout)


def _from_keyring(location: str) -> str | None:
    """From the system keyring; None where there is none, or it knows nothing."""
    import keyring
    from keyring.errors import KeyringError

    with contextlib.suppress(KeyringError, RuntimeError):
        found: str | None = keyring.get_password(SERVICE, location)
        return found
    return None


def _without_newline(text: str) -> str:
    return text.removesuffix("\n").removesuffix("\r")


def _at_terminal() -> bool:
    if sys.stdin is not None and sys.stdin.isatty():
        return True
    try:
        os.close(os.open("/dev/tty", os.O_RDWR))
    except OSError:
        return False
    return True


def _reason(error: Exception) -> str:
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
