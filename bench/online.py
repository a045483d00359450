"""How fast the online server takes and gives: against the same files on the same disk, and against nginx for ranges.

    python bench/online.py [--size 768] [--rounds 3]

Each round, in turn: writing objects of 32 MiB with fsync here; the same through one server process over plain HTTP, four at once;
ranges of 1 MiB out of them from the server and from nginx (if it is installed); many devices at once with small requests.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random

import urllib3

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from online_servers import Client, Person, ServerProcess, free_port

MIB = 1 << 20
OBJECT = 32 * MIB
AT_ONCE = 4


class Watched:
    """What a process has used, as the kernel tells."""

    def __init__(self, pid: int) -> None:
        self._folder = Path(f"/proc/{pid}")

    def cpu(self) -> float:
        """Seconds of CPU, user's and system's, of all its threads."""
        fields = (self._folder / "stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def mib(self) -> float:
        """Memory that it holds."""
        return int((self._folder / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / MIB


def objects(count: int) -> list[tuple[str, bytes]]:
    made = []
    for number in range(count):
        data = Random(number).randbytes(OBJECT)
        made.append((hashlib.sha256(data).hexdigest(), data))
    return made


def locally(folder: Path, made: list[tuple[str, bytes]]) -> float:
    """Seconds to write them with fsync of file and folder, four at a time."""

    def write(each: tuple[str, bytes]) -> None:
        descriptor = os.open(folder / f"{each[0]}.new", os.O_WRONLY | os.O_CREAT)
        view = memoryview(each[1])
        while view:
            view = view[os.write(descriptor, view) :]
        os.fsync(descriptor)
        os.close(descriptor)
        os.rename(folder / f"{each[0]}.new", folder / each[0])
        above = os.open(folder, os.O_RDONLY)
        os.fsync(above)
        os.close(above)

    begun = time.perf_counter()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(write, made))
    return time.perf_counter() - begun


def pooled(url: str, token: str) -> urllib3.PoolManager:
    return urllib3.PoolManager(
        maxsize=AT_ONCE, block=True, retries=False, blocksize=MIB, headers={"Authorization": f"Bearer {token}"}
    )


def upload(url: str, token: str, base: str, made: list[tuple[str, bytes]]) -> float:
    pool = pooled(url, token)

    def put(each: tuple[str, bytes]) -> None:
        answer = pool.request(
            "PUT", f"{url}{base}/objects/index/{each[0]}", body=each[1], headers={**pool.headers, "X-Content-SHA256": each[0]}
        )
        assert answer.status == 201, answer.data

    begun = time.perf_counter()
    with ThreadPoolExecutor(AT_ONCE) as threads:
        list(threads.map(put, made))
    return time.perf_counter() - begun


def ranges(pool: urllib3.PoolManager, addresses: list[str], count: int) -> float:
    """Requests a second, for 1 MiB each."""
    random = Random(5)
    wanted = [(random.choice(addresses), random.randrange(OBJECT - MIB)) for _ in range(count)]

    def get(each: tuple[str, int]) -> None:
        answer = pool.request("GET", each[0], headers={**pool.headers, "Range": f"bytes={each[1]}-{each[1] + MIB - 1}"})
        assert answer.status == 206 and len(answer.data) == MIB

    begun = time.perf_counter()
    with ThreadPoolExecutor(AT_ONCE) as threads:
        list(threads.map(get, wanted))
    return count / (time.perf_counter() - begun)


class Nginx:
    def __init__(self, root: Path, folder: Path) -> None:
        self.port = free_port()
        config = folder / "nginx.conf"
        config.write_text(
            f"daemon off; master_process off; pid {folder}/pid; error_log {folder}/error; events {{}}\n"
            f"http {{ access_log off; sendfile on; server {{ listen 127.0.0.1:{self.port}; root {root}; }} }}\n"
        )
        self.process = subprocess.Popen(["nginx", "-p", str(folder), "-c", str(config)])
        time.sleep(0.5)


def many_devices(url: str, tokens: list[str], base: str, rounds: int) -> tuple[float, float]:
    """Median and 99th percentile in seconds of small requests, each device on a thread of its own."""
    times: list[float] = []
    together = threading.Barrier(len(tokens))

    def device(number: int) -> None:
        client = Client(url, tokens[number])
        together.wait()
        for turn in range(rounds):
            data = f"{number} {turn}".encode()
            key = f"snapshots/{hashlib.sha256(data).hexdigest()}"
            for method, path, body in (
                ("GET", base, None),
                ("PUT", f"{base}/objects/{key}", data),
                ("GET", f"{base}/objects/{key}", None),
            ):
                begun = time.perf_counter()
                assert client(method, path, data=body).status < 300
                times.append(time.perf_counter() - begun)

    threads = [threading.Thread(target=device, args=(number,)) for number in range(len(tokens))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    times.sort()
    return statistics.median(times), times[int(len(times) * 0.99)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=768, help="MiB to upload")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--devices", type=int, default=200)
    values = parser.parse_args()
    made = objects(values.size // 32)
    gigabytes = len(made) * OBJECT / 1e9
    folder = Path(tempfile.mkdtemp())
    server = ServerProcess(folder / "srv", tls=False)
    try:
        owner = Person(server.url, "anna")
        owner.register(server.setup_code)
        process = Watched(server.process.pid)
        for number in range(values.rounds):
            base = owner.repository(f"round-{number}")
            token = owner.token("admin")
            plain = folder / f"plain-{number}"
            plain.mkdir()
            here = locally(plain, made)
            before = process.cpu()
            there = upload(server.url, token, base, made)
            cpu = process.cpu() - before
            addresses = [f"{server.url}{base}/objects/index/{name}" for name, _ in made]
            before = process.cpu()
            rate = ranges(pooled(server.url, token), addresses, 600)
            range_cpu = (process.cpu() - before) / (600 * MIB / 1e9)
            line = {
                "local_mb_s": round(gigabytes * 1000 / here),
                "upload_mb_s": round(gigabytes * 1000 / there),
                "ratio": round(here / there, 2),
                "cpu_s_per_gb": round(cpu / gigabytes, 2),
                "ranges_s": round(rate),
                "ranges_cpu_s_per_gb": round(range_cpu, 2),
            }
            if shutil.which("nginx"):
                nginx = Nginx(plain, folder)
                watched = Watched(nginx.process.pid)
                before = watched.cpu()
                peer = ranges(
                    urllib3.PoolManager(maxsize=AT_ONCE, block=True),
                    [f"http://127.0.0.1:{nginx.port}/{name}" for name, _ in made],
                    600,
                )
                nginx_cpu = (watched.cpu() - before) / (600 * MIB / 1e9)
                nginx.process.terminate()
                nginx.process.wait()
                line |= {"nginx_ranges_s": round(peer), "nginx_cpu_s_per_gb": round(nginx_cpu, 2)}
                line["ranges_ratio"] = round(rate / peer, 2)
            print(json.dumps(line), flush=True)
            shutil.rmtree(plain)
        base = owner.repository("devices")
        tokens = [owner.token("admin") for _ in range(values.devices)]
        median, worst = many_devices(server.url, tokens, base, 5)
        memory = process.mib()
        print(
            json.dumps(
                {"devices": values.devices, "median_s": round(median, 3), "p99_s": round(worst, 3), "server_mib": round(memory)}
            )
        )
        print(
            json.dumps(
                {"load": os.getloadavg()[0], "client_max_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024}
            )
        )
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
