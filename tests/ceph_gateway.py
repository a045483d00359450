"""A real S3 server for tests: Ceph's RADOS Gateway with one monitor, one manager and one disk, on loopback, all in one folder.

It takes some twenty seconds to start, so all processes of a test run share one: the first who wants it starts it, the last one
stops it, and a watcher stops it if the test run is killed.
"""

from __future__ import annotations

import fcntl
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

ACCESS_KEY = "AKTEST"
SECRET_KEY = "SKTEST"

CONFIGURATION = """
[global]
fsid = {fsid}
mon host = [v2:127.0.0.1:{mon2}/0,v1:127.0.0.1:{mon1}/0]
public network = 127.0.0.0/8
cluster network = 127.0.0.0/8
mon_initial_members = a
mon_data = {folder}/mon
mgr_data = {folder}/mgr
osd_data = {folder}/osd
rgw_data = {folder}/rgw
run_dir = {folder}/run
admin_socket = {folder}/run/$name.asok
log_file = {folder}/log/$name.log
pid_file = {folder}/run/$name.pid
keyring = {folder}/keyring
osd_class_dir = {classes}
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 2
osd_pool_default_pg_autoscale_mode = off
mon_allow_pool_size_one = true
osd_crush_chooseleaf_type = 0
osd_objectstore = bluestore
bluestore_block_size = 8589934592
osd_memory_target = 939524096
bluestore_fsck_on_mkfs = false
osd_mclock_skip_benchmark = true
paxos_propose_interval = 0.02
paxos_min_wait = 0.01
ms_bind_ipv6 = false
mon_warn_on_pool_no_redundancy = false
mon_osd_full_ratio = 0.99
mon_data_avail_crit = 1
mon_data_avail_warn = 2
[client.rgw.a]
rgw_frontends = beast endpoint=127.0.0.1:{port} tcp_nodelay=1
rgw_thread_pool_size = 32
"""


@contextmanager
def shared_gateway(folder: Path) -> Iterator[str]:
    """The endpoint of the gateway that lives in ``folder``, which all who share it name alike."""
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("a+") as lock:
        state = folder / "users.json"
        with _held(lock):
            users = json.loads(state.read_text()) if state.exists() else {"count": 0, "port": 0}
            if not users["count"]:
                users["port"] = _start(folder / f"ceph-{uuid4().hex[:8]}")
            users["count"] += 1
            state.write_text(json.dumps(users))
        try:
            yield f"http://127.0.0.1:{users['port']}"
        finally:
            with _held(lock):
                users = json.loads(state.read_text())
                users["count"] -= 1
                state.write_text(json.dumps(users))
                if not users["count"]:
                    for each in folder.glob("ceph-*"):
                        _stop(each)


@contextmanager
def _held(lock: object) -> Iterator[None]:
    fcntl.flock(lock, fcntl.LOCK_EX)  # type: ignore[arg-type]
    try:
        yield
    finally:
        fcntl.flock(lock, fcntl.LOCK_UN)  # type: ignore[arg-type]


def free_port() -> int:
    """A port on which nobody listens just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _start(folder: Path) -> int:
    """Start all four daemons; the port of the gateway."""
    for name in ("mon", "mgr", "osd", "rgw", "run", "log"):
        (folder / name).mkdir(parents=True)
    (classes,) = Path("/usr/lib").glob("*/rados-classes")
    port, fsid = free_port(), str(uuid4())
    text = CONFIGURATION.format(folder=folder, fsid=fsid, mon1=free_port(), mon2=free_port(), port=port, classes=classes)
    (folder / "ceph.conf").write_text(text)
    # What gives the daemons their words: they fork themselves away from whoever starts them.
    run = _Runner(folder)
    run("ceph-authtool", "--create-keyring", "keyring", "--gen-key", "-n", "mon.", "--cap", "mon", "allow *")
    for name in ("client.admin", "client.rgw.a", "mgr.x"):
        caps = [word for daemon in ("mon", "osd", "mgr") for word in ("--cap", daemon, "allow *")]
        run("ceph-authtool", "keyring", "--gen-key", "-n", name, *caps)
    address = re.search(r"mon host = (\[.*\])", text)
    assert address is not None
    run("monmaptool", "--create", "--clobber", "--addv", "a", address[1], "--fsid", fsid, "monmap")
    _watch(folder)
    run("ceph-mon", "--mkfs", "-i", "a", "--monmap", "monmap", "--keyring", "keyring")
    run("ceph-mon", "-i", "a")
    secret, disk = run("ceph-authtool", "--gen-print-key").strip(), str(uuid4())
    run("ceph", "osd", "new", disk, "-i", "-", given=json.dumps({"cephx_secret": secret}))
    with (folder / "keyring").open("a") as keyring:
        keyring.write(f"[osd.0]\n\tkey = {secret}\n")
    run("ceph-mgr", "-i", "x")
    run("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", disk)
    run("ceph-osd", "-i", "0")
    run("radosgw", "-n", "client.rgw.a")
    keys = ("--access-key", ACCESS_KEY, "--secret-key", SECRET_KEY)
    run("radosgw-admin", "user", "create", "--uid=test", "--display-name=test", *keys)
    _wait_for(port)
    return port


class _Runner:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._environ = {**os.environ, "CEPH_CONF": str(folder / "ceph.conf")}

    def __call__(self, *words: str, given: str = "") -> str:
        done = subprocess.run(
            words, check=False, cwd=self._folder, env=self._environ, input=given, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, f"{' '.join(words)}: {done.stderr}"
        return done.stdout


def _wait_for(port: int) -> None:
    for _ in range(600):
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", "/")
            if connection.getresponse().status == 200:
                return
        except OSError:
            time.sleep(0.1)
        finally:
            connection.close()
    raise AssertionError("the gateway did not start")


def _watch(folder: Path) -> None:
    """End the daemons if the whole test run, whose first process is our parent or we ourselves, is gone before it did so."""
    above = os.getppid() if os.environ.get("PYTEST_XDIST_WORKER") else os.getpid()
    loop = f"while kill -0 {above} 2>/dev/null && [ -d run ]; do sleep 2; done; cat run/*.pid 2>/dev/null | xargs -r kill -9"
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run(["sh", "-c", f"({loop}) &"], cwd=folder, start_new_session=True, check=True, **quiet)


def _stop(folder: Path) -> None:
    pids = [int(file.read_text()) for file in (folder / "run").glob("*.pid")]
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    subprocess.run(["rm", "-rf", folder], check=True)
