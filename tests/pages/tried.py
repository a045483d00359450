"""`make docs-tried`: paste every block of the pages into a fresh Debian 12, and compare what happens with what the page says.

    python tests/pages/tried.py [PAGE ...]    all pages with blocks that are tried, without a name

Needs root, mmdebstrap and the network; the tree is kept in TRIED_FOLDER (else a folder in the system's temporary one) for the next time.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(Path(__file__).parent))

from blocks import Block, blocks_of, missing  # noqa: E402
from machines import Machine, debian, machine  # noqa: E402

SECONDS = int(os.environ.get("TRIED_SECONDS", "240"))


def main(names: list[str]) -> int:
    """Try pages; 1 if one of them says what is not so."""
    folder = Path(os.environ.get("TRIED_FOLDER") or Path(tempfile.gettempdir()) / "safehold-tried")
    folder.mkdir(exist_ok=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    installed = [folder / "installed/changes", folder / "debian"] if os.environ.get("TRIED_AGAIN") else _installed(folder)
    pages = [page for page in sorted((ROOT / "docs").glob("*.md")) if blocks_of(page) and (not names or page.stem in names)]
    failed = [page.name for page in pages if not _page(page, folder, installed)]
    print(f"{len(pages)} pages tried; failed: {', '.join(failed) or 'none'}")
    return 1 if failed else 0


def _installed(folder: Path) -> list[Path]:
    """The layers of a machine on which Safehold was installed as the README says."""
    tree = debian(folder / "debian")
    layer = folder / "installed"
    shutil.rmtree(layer, ignore_errors=True)
    clone = layer / "changes/root/safehold"
    clone.parent.mkdir(parents=True, mode=0o700)
    subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)
    with machine([tree], layer, folder / "archives") as fresh:
        if not _try(fresh, blocks_of(ROOT / "README.md")):
            raise SystemExit("The README does not lead to an installed program.")
    return [layer / "changes", tree]


def _page(page: Path, folder: Path, installed: list[Path]) -> bool:
    layer = folder / page.stem
    shutil.rmtree(layer, ignore_errors=True)
    with machine(installed, layer, folder / "archives") as fresh:
        return _try(fresh, blocks_of(page))


def _try(fresh: Machine, blocks: list[Block]) -> bool:
    for block in blocks:
        began = time.monotonic()
        done, output = fresh.shell(block.user).run(block.commands, SECONDS)
        lacking = missing(block.shown, output)
        took = time.monotonic() - began
        good = done and lacking is None
        print(f"{'ok' if good else 'FAILED'}  {block.page}:{block.line}  as {block.user}, {took:.1f} s", flush=True)
        if not good or "-v" in os.environ.get("TRIED", ""):
            print(f"{block.commands.rstrip()}\n{'-' * 60}\n{output}")
        if lacking is not None:
            print(f"The page says, and it was not so: {lacking}")
        if not good:
            return False
    return True


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
