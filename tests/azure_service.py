"""Azure's blob service for tests: Microsoft's own Azurite, on loopback, with one container."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from email.utils import formatdate
from pathlib import Path

from ceph_gateway import free_port

ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""Azurite's account, the same for everybody: github.com/Azure/Azurite, "Default Storage Account"."""
CONTAINER = "safehold"
PROGRAM = Path(__file__).parent / "azure" / "node_modules" / ".bin" / "azurite-blob"


@contextmanager
def blob_service(folder: Path) -> Iterator[str]:
    """The endpoint of a service that keeps its blobs in ``folder``."""
    folder.mkdir(parents=True)
    port = free_port()
    # The library may speak a later version of the protocol than Azurite has heard of.
    options = ["--silent", "--disableTelemetry", "--skipApiVersionCheck"]
    words = [PROGRAM, "--blobHost", "127.0.0.1", "--blobPort", str(port), "--location", folder, *options]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(words, stdout=log, stderr=log, cwd=folder)
    try:
        _make_container(port, process)
        yield f"http://127.0.0.1:{port}/{ACCOUNT}"
    finally:
        process.terminate()
        process.wait()


def _make_container(port: int, process: subprocess.Popen[bytes]) -> None:
    """As soon as it answers.  The request is signed as learn.microsoft.com, "Authorize with Shared Key", has it."""
    path = f"/{ACCOUNT}/{CONTAINER}"
    headers = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": "2021-08-06"}
    named = "".join(f"{name}:{value}\n" for name, value in headers.items())
    text = "PUT" + 12 * "\n" + named + f"/{ACCOUNT}{path}\nrestype:container"
    signature = base64.b64encode(hmac.digest(base64.b64decode(KEY), text.encode(), hashlib.sha256)).decode()
    headers |= {"Authorization": f"SharedKey {ACCOUNT}:{signature}", "Content-Length": "0"}
    for _ in range(600):
        assert process.poll() is None
        with suppress(OSError):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            connection.request("PUT", f"{path}?restype=container", headers=headers)
            assert connection.getresponse().status == 201
            connection.close()
            return
        time.sleep(0.05)
    raise AssertionError("Azurite does not answer")
