"""The program's entry.  What is imported here is paid for by every call, so nothing is."""

from __future__ import annotations

import gc
import os
import sys


def main() -> None:
    """Run the command line and exit with its status."""
    words = sys.argv[1:]
    if words in (["--version"], ["-V"]):
        from safehold import __version__

        print(f"safehold {__version__}")
        return
    if words[:2] == ["pg", "archive-push"]:
        from safehold.cli.archive_push import quickly

        status = quickly(words[2:], os.environ)
        if status is not None:
            sys.stderr.flush()
            os._exit(status)  # all is closed and synced: taking the interpreter down in good order would cost 2 ms
    if words[:2] == ["pg", "archive-get"]:
        from safehold.cli import archive_get

        sys.exit(archive_get.main(words[2:], os.environ))
    from safehold.cli.main import run

    status = run(words)
    gc.freeze()  # all is closed: looking once more for what could be freed would cost 30 ms
    sys.exit(status)


if __name__ == "__main__":
    main()
