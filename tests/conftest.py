"""Makes the builders beside this file importable from every test."""

import os
import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from ssh_server import SshServer


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
