"""Look through backups in the browser, on this machine: files, search, previews, history, downloads.

It shows the repository that is named, or all of the configuration.  The pages are served to this machine only, at an address that
works once; what opens the repository is typed in the browser, and stays there.  Ctrl-C ends it."""

from __future__ import annotations

import os
import re
import sys
from typing import TYPE_CHECKING

from safehold.core.errors import UsageError

if TYPE_CHECKING:
    from safehold.cli.call import Call
    from safehold.cli.parsing import Parser
    from safehold.cli.settings import Named
    from safehold.server.local.shelf import Offered

USAGE = "[options]"
EXAMPLES = ("safehold -r /mnt/backup ui", "safehold -r sftp://nas/backup ui --no-browser --port 8642")
STATUSES: tuple[int, ...] = ()


def arguments(parser: Parser) -> None:
    """Declare what it takes."""
    add = parser.add_argument
    add("--no-browser", action="store_true", help="only print the address")
    add("--port", metavar="N", type=int, default=0, help="listen on this port of 127.0.0.1 (any that is free)")


def run(call: Call) -> int:
    """Serve the pages until Ctrl-C."""
    from safehold.server.local.serving import LocalServer
    from safehold.server.local.shelf import Shelf

    if not 0 <= call.values.port < 65536:
        raise UsageError(f"{call.values.port} is no port.", "Ports are 1 to 65535.")
    with LocalServer(Shelf(_offered(call)), call.values.port) as server:
        try:
            _tell(call, server.address)
            server.serve_forever(0.2)
        except KeyboardInterrupt:
            return 0
    return 0


def _tell(call: Call, address: str) -> None:
    call.out.result(f"Your backups are at {address}", {"event": "ui", "url": address})
    sys.stdout.flush()
    call.out.note("The address works once, on this machine; Ctrl-C ends it.")
    if not call.values.no_browser:
        _show(address)


def _offered(call: Call) -> list[Offered]:
    """The one that was named, looked at already, or all of the configuration.  Raises ``UsageError``, ``RepositoryMissing``."""
    from safehold.repo import config
    from safehold.server.local.shelf import Offered

    named = call.settings.repositories
    if call.values.repository or call.environ.get("SAFEHOLD_REPO") or not named:
        place = call.place
        store = call.store(place)
        config.read(store)  # before anybody looks for it in the browser
        return [Offered(_address_of(place, named), store.location, lambda: store)]
    return [Offered(name, place.location, lambda place=place: call.store(place)) for name, place in named.items()]  # type: ignore[misc]


def _address_of(place: Named, named: dict[str, Named]) -> str:
    """What stands for it in an address."""
    known = next((name for name, each in named.items() if each == place), "")
    last = re.sub(r"[^A-Za-z0-9._-]+", "-", place.location.rstrip("/").rpartition("/")[2]).strip("-.")
    return known or last[:60] or "repository"


def _show(address: str) -> None:
    """Open it, if there is a browser with a window: one of a terminal would take this one over."""
    import webbrowser

    has_window = sys.platform in ("win32", "darwin") or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    if has_window:
        webbrowser.open(address)
