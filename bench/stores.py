"""Backup and restore of one tree to servers: Safehold and restic in turn, and Safehold to a local folder beside them.

    python bench/stores.py TREE [--places server,s3,sftp] [--runs 3] [--delay 20] [--restic PATH] [--safehold PATH]

Every server runs on this machine and is started and stopped here: `safehold server run` beside restic's rest-server, Ceph's S3
gateway, and OpenSSH, each with its data on the same disk.  ``--delay`` puts a line of that round trip, in milliseconds, before
each (``relay.py``).  Every repository gets a name of its own.  CPU is that of the program that backs up, not of the servers.
Results go to bench/work/results as well.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import ceph_gateway
from buckets import make_bucket
from online_servers import Client, Person, ServerProcess, free_port
from ssh_server import SshServer

WORK = Path(__file__).parent / "work"
PASSWORD = "only for measuring"
PEERS = WORK / "peers" / "bin"


class Program:
    """One that backs up, with an empty repository of its own."""

    def __init__(self, first: list[str], environ: Mapping[str, str]) -> None:
        self._first = first
        self._environ = {**os.environ, **environ}
        self._run("init")

    def _run(self, *words: str) -> None:
        subprocess.run([*self._first, *words], env=self._environ, check=True, stdout=subprocess.DEVNULL)

    def backup(self, tree: str) -> None:
        """The tree into the empty repository."""
        self._run("backup", tree)

    def restore(self, target: str) -> None:
        """All of it."""
        self._run("restore", "latest", "--target", target)


Maker = Callable[[str], Program]


class Bench:
    """Servers, and what is measured at each."""

    def __init__(self, words: argparse.Namespace, scratch: Path, stack: ExitStack) -> None:
        self._words = words
        self._scratch = scratch
        self._stack = stack
        self.makers: dict[str, Maker] = {"safehold local": lambda name: self._safehold(str(scratch / name))}
        for place in words.places.split(","):
            getattr(self, f"_{place}")()

    def _safehold(self, place: str, **environ: str) -> Program:
        cache = str(self._scratch / secrets.token_hex(4))
        given = {"SAFEHOLD_PASSWORD": PASSWORD, "SAFEHOLD_CACHE_DIR": cache, **environ}
        return Program([self._words.safehold, "-q", "-r", place], given)

    def _restic(self, place: str, *options: str, **environ: str) -> Program:
        cache = str(self._scratch / secrets.token_hex(4))
        given = {"RESTIC_PASSWORD": PASSWORD, "RESTIC_CACHE_DIR": cache, **environ}
        return Program([self._words.restic, "-q", "-r", place, *options], given)

    def _port(self, port: int) -> int:
        """The way to a server's port."""
        return self._stack.enter_context(relayed(port, self._words.delay)) if self._words.delay else port

    def _server(self) -> None:
        server = ServerProcess(self._scratch / "server", tls=False)
        self._stack.callback(server.stop)
        owner = Person(server.url, "anna")
        owner.register(server.setup_code)
        port = self._port(server.port)

        def ours(name: str) -> Program:
            owner.repository(name)
            return self._safehold(f"http://127.0.0.1:{port}/anna/{name}", SAFEHOLD_TOKEN=owner.token("admin", f"anna/{name}"))

        theirs = self._port(self._stack.enter_context(rest_server(self._scratch / "rest")))
        self.makers["safehold server"] = ours
        self.makers["restic server"] = lambda name: self._restic(f"rest:http://127.0.0.1:{theirs}/{name}")

    def _s3(self) -> None:
        endpoint = self._stack.enter_context(ceph_gateway.shared_gateway(self._scratch / "ceph"))
        bucket = "bench"
        make_bucket(endpoint, bucket, ceph_gateway.ACCESS_KEY, ceph_gateway.SECRET_KEY)
        near = f"http://127.0.0.1:{self._port(int(endpoint.rpartition(':')[2]))}"
        keys = {"AWS_ACCESS_KEY_ID": ceph_gateway.ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": ceph_gateway.SECRET_KEY}
        self.makers["safehold s3"] = lambda name: self._safehold(f"s3://{bucket}/{name}", **keys, AWS_ENDPOINT_URL=near)
        self.makers["restic s3"] = lambda name: self._restic(f"s3:{near}/{bucket}/{name}", **keys)

    def _sftp(self) -> None:
        server = SshServer(self._scratch / "sshd")
        server.start()
        self._stack.callback(server.stop)
        server.write_config(port=self._port(server.port))
        home = str(server.home)
        command = f"sftp.command=ssh -F {home}/.ssh/config -o UserKnownHostsFile={home}/.ssh/known_hosts backup -s sftp"
        self.makers["safehold sftp"] = lambda name: self._safehold(server.location(name), HOME=home)
        self.makers["restic sftp"] = lambda name: self._restic(f"sftp:backup:{server.data / name}", "-o", command)


@contextmanager
def relayed(port: int, milliseconds: float) -> Iterator[int]:
    """A port that leads to ``port`` by a slow line."""
    words = [sys.executable, str(Path(__file__).parent / "relay.py"), str(port), str(milliseconds)]
    with ended(subprocess.Popen(words, stdout=subprocess.PIPE, text=True)) as relay:
        assert relay.stdout is not None
        yield int(relay.stdout.readline())


@contextmanager
def rest_server(folder: Path) -> Iterator[int]:
    """Restic's own server, as it comes (it checks what is uploaded)."""
    port = free_port()
    words = [str(PEERS / "rest-server"), "--no-auth", "--path", str(folder), "--listen", f"127.0.0.1:{port}"]
    with ended(subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)):
        for _ in range(100):
            time.sleep(0.05)
            try:
                Client(f"http://127.0.0.1:{port}")("GET", "/")
            except Exception:  # it is not up yet
                continue
            break
        yield port


@contextmanager
def ended(process: subprocess.Popen[str]) -> Iterator[subprocess.Popen[str]]:
    """A process that is stopped afterwards."""
    try:
        yield process
    finally:
        process.terminate()
        process.wait(30)


def timed(action: Callable[[], None]) -> tuple[float, float]:
    """Wall seconds, and CPU seconds of the processes that were run here (servers not counted)."""
    subprocess.run(["sync"], check=True)
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    action()
    wall, after = time.monotonic() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tree")
    parser.add_argument("--places", default="server,s3,sftp")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--delay", type=float, default=0, help="milliseconds of a round trip more")
    parser.add_argument("--restic", default=str(PEERS / "restic"))
    parser.add_argument("--safehold", default=str(Path(__file__).parent.parent / ".venv" / "bin" / "safehold"))
    parser.add_argument("--data", default=None, help="a folder for everything that is made")
    words = parser.parse_args()
    subprocess.run(["tar", "cf", "/dev/null", words.tree], check=True)  # into the page cache
    with tempfile.TemporaryDirectory(prefix="bench-stores-", dir=words.data) as folder, ExitStack() as stack:
        scratch = Path(folder)
        makers = Bench(words, scratch, stack).makers
        found: dict[str, dict[str, list[tuple[float, float]]]] = {name: {"backup": [], "restore": []} for name in makers}
        for run in range(words.runs):
            for name, make in makers.items():
                program = make(f"bench-{secrets.token_hex(4)}")
                found[name]["backup"].append(timed(lambda p=program: p.backup(words.tree)))  # type: ignore[misc]
                target = scratch / f"restored-{run}-{name.replace(' ', '-')}"
                found[name]["restore"].append(timed(lambda p=program, t=str(target): p.restore(t)))  # type: ignore[misc]
                load = f"load {os.getloadavg()[0]:.1f}"
                print(run, name, *(f"{found[name][what][-1][0]:.1f} s" for what in found[name]), load, flush=True)
    report(found)


def report(found: dict[str, dict[str, list[tuple[float, float]]]]) -> None:
    """Medians, and ratios to our own local ones and to restic at the same place."""
    print("| | backup | CPU | restore | CPU | backup by local | backup by restic | restore by restic |")
    print("|---|---|---|---|---|---|---|---|")
    median = {
        name: {what: [statistics.median(column) for column in zip(*runs, strict=True)] for what, runs in of.items()}
        for name, of in found.items()
    }
    for name, of in median.items():
        peer = median.get(name.replace("safehold", "restic")) if name.startswith("safehold") else None
        local = median.get("safehold local")
        cells = [f"{of[what][part]:.1f} s" for what in ("backup", "restore") for part in (0, 1)]
        cells.append(f"{of['backup'][0] / local['backup'][0]:.2f}" if local else "")
        cells += [f"{of[what][0] / peer[what][0]:.2f}" if peer else "" for what in ("backup", "restore")]
        print(f"| {name} | {' | '.join(cells)} |")
    results = WORK / "results"
    results.mkdir(parents=True, exist_ok=True)
    (results / f"stores-{time.strftime('%Y%m%d-%H%M%S')}.json").write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
