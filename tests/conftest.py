"""Makes the builders beside this file importable from every test."""

import functools
import itertools
import os
import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from ssh_server import SshServer

from safehold.codec.passphrase import Passphrase

HERE = Path(__file__).parent
LONG = ("lab", "e2e/databases", "e2e/server", "web", "contract", "e2e")
"""Folders by how long one of their tests takes, the longest first."""


@pytest.hookimpl(trylast=True)  # after pytest has brought together what shares a fixture
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Several processes are given equal parts of all tests in order, and later the ends of each other's parts: so every part
    begins with long tests and ends with short ones, and none of them is alone with long ones at the end."""
    parts: list[list[pytest.Item]] = [[] for _ in range(getattr(config, "workerinput", {"workercount": 1})["workercount"])]
    for _, module in itertools.groupby(sorted(items, key=_length), lambda item: item.path):
        min(parts, key=len).extend(module)
    items[:] = itertools.chain.from_iterable(parts)


def _length(item: pytest.Item) -> int:
    path = item.path.relative_to(HERE)
    return next((number for number, folder in enumerate(LONG) if path.is_relative_to(folder)), len(LONG))


@pytest.fixture(scope="session", autouse=True)
def stretched_once() -> Iterator[None]:
    """A passphrase is stretched once for each salt and cost: it takes a fifth of a second, and always gives the same key."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Passphrase, "stretched", functools.cache(Passphrase.stretched))
        yield


@pytest.fixture
def deep_folder(tmp_path: Path) -> Iterator[Path]:
    """A place for trees so deep that pytest's own tidying, which recurses, would fail on them."""
    folder = tmp_path / "deep"
    yield folder
    subprocess.run(["rm", "-rf", folder], check=True)


@pytest.fixture(scope="session")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The endpoint of a real S3 server with the bucket ``safehold``, shared by all processes of the run."""
    from buckets import make_bucket
    from ceph_gateway import ACCESS_KEY, SECRET_KEY, shared_gateway

    base = tmp_path_factory.getbasetemp()
    with shared_gateway((base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base) / "gateway") as endpoint:
        make_bucket(endpoint, "safehold", ACCESS_KEY, SECRET_KEY)
        yield endpoint


@pytest.fixture
def bucket(gateway: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A place for a store in that server's bucket; the environment says how to get there."""
    from ceph_gateway import ACCESS_KEY, SECRET_KEY

    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
    monkeypatch.setenv("AWS_ENDPOINT_URL", gateway)
    return f"s3://safehold/{secrets.token_hex(6)}"


@pytest.fixture(scope="session")
def blobs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The endpoint of Azure's blob service."""
    from azure_service import blob_service

    with blob_service(tmp_path_factory.mktemp("azure") / "blobs") as endpoint:
        yield endpoint


@pytest.fixture
def container(blobs: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A place for a store in that service's container; the environment says how to get there."""
    from azure_service import ACCOUNT, CONTAINER, KEY

    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", ACCOUNT)
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", KEY)
    monkeypatch.setenv("AZURE_STORAGE_ENDPOINT", blobs)
    return f"az://{CONTAINER}/{secrets.token_hex(6)}"


@pytest.fixture
def ssh_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SshServer]:
    """A real SSH server, and a home folder in which it is called ``backup``."""
    server = SshServer(tmp_path / "ssh")
    server.start()
    monkeypatch.setenv("HOME", str(server.home))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    yield server
    server.stop()
