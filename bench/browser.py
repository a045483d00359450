"""How fast a browser reads a backup:  ``python bench/browser.py [--megabytes N] [--runs N] [chromium|firefox ...]``

One large file of ordinary compressibility is backed up, and read by the pages' own reader in the browser: every segment fetched
by a range over HTTP, opened, decompressed, and each chunk compared with its name.  Nothing is written; it prints the medians.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests" / "web"))

from web_browser import NAMES, running  # noqa: E402
from web_server import serving  # noqa: E402

from safehold.codec.passphrase import Passphrase  # noqa: E402
from safehold.ops.backup.options import BackupOptions  # noqa: E402
from safehold.ops.backup.run import back_up  # noqa: E402
from safehold.repo import repository  # noqa: E402
from safehold.storage.local import LocalStore  # noqa: E402

MEGABYTE = 1_000_000
PASSPHRASE = "bench"
OPEN = f"""(async () => {{
  const [{{ Repository }}, {{ HttpStore }}, {{ WorkerPool }}, {{ ofPassphrase }}] = await Promise.all(
    ['repository', 'http-store', 'pool', 'credentials'].map((name) => import(`/web/format/${{name}}.js`)));
  const store = new HttpStore('/api/v1/repositories/anna/home');
  window.opened = await Repository.open(store, ofPassphrase('{PASSPHRASE}'), {{ pool: new WorkerPool() }});
  const {{ snapshots: [snapshot] }} = await window.opened.snapshots();
  await window.opened.loadIndex();
  for await (const {{ entry }} of window.opened.trees.walk(snapshot.tree)) window.found = entry;
}})()"""
READ = """(async () => {
  const start = performance.now();
  let size = 0;
  for await (const piece of window.opened.content(window.found)) size += piece.length;
  if (size !== window.found.size) throw new Error('not whole');
  return (performance.now() - start) / 1000;
})()"""


def data(size: int) -> bytes:
    """Bytes that zstd makes about 2.6 times smaller: words of one vocabulary, and noise."""
    chance = random.Random(1)
    words = [chance.randbytes(chance.randrange(3, 12)) for _ in range(4000)]
    out = bytearray()
    while len(out) < size:
        out += b"".join(chance.choices(words, k=2000)) + chance.randbytes(2500)
    return bytes(out[:size])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("browsers", nargs="*", default=NAMES)
    parser.add_argument("--megabytes", type=int, default=200)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        (place / "file").write_bytes(data(options.megabytes * MEGABYTE))
        store = LocalStore(place / "repository", create=True)
        opened = repository.create(store, Passphrase(PASSPHRASE), place / "cache")
        back_up(opened, BackupOptions(paths=[str(place / "file")]))
        stored = sum(path.stat().st_size for path in (place / "repository").rglob("*") if path.is_file())
        print(f"{options.megabytes} MB in one file, stored as {stored / MEGABYTE:.0f} MB")
        with serving(place / "repository") as server:
            for name in options.browsers:
                with running(name, place / name) as browser:
                    browser.tell("open", url=f"{server.url}/anna/home")
                    browser.tell("run", script=OPEN)
                    times = [float(browser.tell("run", script=READ)) for _ in range(options.runs)]
                    median = statistics.median(times)
                    best = options.megabytes / min(times)
                    print(f"{name}: {options.megabytes / median:.0f} MB/s (median of {options.runs}; best {best:.0f})")


if __name__ == "__main__":
    main()
