"""The recovery kit: one page to print, with the words, their QR code, where the repository is, and what to do with them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

from safehold.core.errors import SafeholdError, UsageError

_STYLE = """
body { font: 11pt/1.5 system-ui, sans-serif; color: #000; background: #fff; }
body { max-width: 44rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; margin: 0 0 1rem; } h2 { font-size: 1.1rem; margin: 1.5rem 0 0.5rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 0.2rem 1rem; margin: 0; }
dd { margin: 0; overflow-wrap: anywhere; } code { font-family: monospace; overflow-wrap: anywhere; }
.words { columns: 4; column-gap: 1rem; margin: 0; padding-left: 2rem; font: 12pt/1.9 monospace; }
svg { width: 12rem; height: auto; display: block; }
@media (max-width: 36rem) { .words { columns: 2; } }
@media print { body { margin: 0; } .screen { display: none; } }
"""
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


@dataclass(frozen=True, slots=True)
class Kit:
    """What is on it."""

    location: str
    repository_id: str
    label: str
    made: str
    """When, for people."""
    words: Sequence[str] = field(repr=False)


def page(kit: Kit) -> str:
    """The page as HTML that needs nothing else."""
    from safehold.codec.recovery import qr_svg

    words = "\n".join(f"<li>{escape(word)}</li>" for word in kit.words)
    facts = {"Repository": kit.location, "Its id": kit.repository_id, "Made": kit.made, "Called": kit.label}
    told = "\n".join(f"<dt>{name}</dt><dd><code>{escape(value)}</code></dd>" for name, value in facts.items())
    steps = "\n".join(f"<li>{step}</li>" for step in _steps(kit.location))
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="referrer" content="no-referrer">
<title>Safehold recovery kit</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>Safehold recovery kit</h1>
<p class="screen"><strong>Print this page, then delete the file.</strong></p>
<dl>
{told}
</dl>
<h2>The 24 recovery words</h2>
<ol class="words">
{words}
</ol>
<h2>The same for a phone's camera</h2>
{qr_svg(kit.words)}
<h2>When the passphrase is lost</h2>
<ol>
{steps}
</ol>
<h2>Where to keep this</h2>
<p>Whoever has these words and can reach the repository can read and change every backup. Keep the paper where you keep what
cannot be replaced, not beside the computer, and a second one in another house. If somebody may have seen the words:
<code>safehold key remove</code> takes them back.</p>
</body>
</html>
"""


def _steps(location: str) -> list[str]:
    online = location.startswith(("https://", "http://"))
    where = f"<code>-r {escape(_quoted(location))}</code>"
    return [
        "Install Safehold on any computer with Python 3.11 or later; its README says how.",
        f"Log in, with the account's name and password: <code>safehold login {escape(_quoted(location))} --account NAME</code>."
        if online
        else "Plug in the drive, or make the place reachable, that the address above names. It may have another path there.",
        f"Look what is there: <code>safehold --recovery</code> {where} <code>snapshots</code>. Type the words when asked; "
        "the first four letters of each are enough.",
        f"Bring it back: <code>safehold --recovery</code> {where} <code>restore latest --target FOLDER</code>.",
        f"Choose a new passphrase: <code>safehold --recovery</code> {where} <code>key add</code>.",
        *(["Or open the address in a browser, log in, and choose “Recovery words”."] if online else []),
    ]


def _quoted(location: str) -> str:
    import shlex

    return shlex.quote(location)


def write(name: str, kit: Kit) -> Path:
    """Write it where nobody else may read it.  Raises ``UsageError`` if there is a file already, ``SafeholdError``."""
    path = Path(name).expanduser()
    try:
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8", errors="replace") as file:
            file.write(page(kit))
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError:
        raise UsageError(f"There already is a file {name}.", "A kit never replaces one; name another.") from None
    except OSError as error:
        with suppress(OSError):
            path.unlink()
        raise SafeholdError(f"The kit {name} cannot be written: {error.strerror}.", "Name another place.") from error
    return path
