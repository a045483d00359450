"""The bucket's own lock, on a real S3 server: what is stored stays, even from who has the keys of the bucket."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import urllib3
from ceph_gateway import ACCESS_KEY, SECRET_KEY
from online_servers import ServerInThread, put_snapshot

from safehold.core.clock import NS
from safehold.core.errors import StoreError, UsageError
from safehold.server.jobs.schedule import run
from safehold.server.settings import Settings
from safehold.storage.cloud.locking import Locks
from safehold.storage.cloud.signing import Keys, signed

DAY_NS = 86400 * NS
EMPTY = hashlib.sha256(b"").hexdigest()


def ask(method: str, url: str, query: str = "", **more: str) -> urllib3.BaseHTTPResponse:
    """As somebody who has the keys of the bucket."""
    headers = signed(method, url, "us-east-1", Keys(ACCESS_KEY, SECRET_KEY), time.time_ns(), digest=EMPTY, query=query, **more)
    return urllib3.request(method, f"{url}?{query}" if query else url, headers=headers, retries=False)


@pytest.fixture
def locked(bucket: str, gateway: str) -> str:
    """A bucket that was made for object lock."""
    name = f"locked-{bucket.rpartition('/')[2]}"
    assert ask("PUT", f"{gateway}/{name}", x_amz_bucket_object_lock_enabled="true").status == 200
    return name


@pytest.fixture
def server(tmp_path: Path, locked: str) -> Iterator[ServerInThread]:
    made = ServerInThread(tmp_path / "srv", store=f"s3://{locked}/here", lock_days=30)
    yield made
    made.stop()


def test_what_is_stored_is_locked_and_the_lock_made_longer(server: ServerInThread, locked: str, gateway: str) -> None:
    owner = server.owner()
    base = owner.repository()
    key = put_snapshot(owner, base, b"a snapshot")
    assert owner("PUT", f"{base}/objects/sessions/1", data=b"a mark").status == 201
    repository = owner("GET", base).json["id"]
    locks = server.service.locks
    assert locks is not None
    place, mark = f"{repository}/{key}", f"{repository}/sessions/1"
    now = time.time_ns()
    assert abs(locks.until_ns(place) - now - 30 * DAY_NS) < DAY_NS and locks.until_ns(mark) == 0

    url = f"{gateway}/{locked}/here/{place}"
    version = ask("HEAD", url).headers["x-amz-version-id"]
    assert ask("DELETE", url, f"versionId={version}").status == 403  # and so for anybody with the keys
    with pytest.raises(StoreError):
        Locks(server.service.bucket()).lock(f"{repository}/snapshots/none", now + DAY_NS)

    assert run(server.service, "lock", at_once=True)
    assert locks.until_ns(place) < now + 31 * DAY_NS  # it has long enough
    server.clock.pass_days(20)
    assert run(server.service, "lock", at_once=True)
    assert locks.until_ns(place) > now + 49 * DAY_NS and locks.until_ns(mark) == 0
    locks.lock(place, now + DAY_NS)  # a shorter one changes nothing
    assert locks.until_ns(place) > now + 49 * DAY_NS


def test_a_bucket_without_a_lock_is_told_at_the_start(tmp_path: Path, bucket: str) -> None:
    with pytest.raises(UsageError, match="no object lock"):
        ServerInThread(tmp_path / "srv", store=bucket, lock_days=30)
    with pytest.raises(UsageError, match="s3://"):
        Settings(data=tmp_path, lock_days=30)


def test_a_signature_is_as_amazon_has_it() -> None:
    """The example "GET Bucket Lifecycle" of Amazon's description of the signature."""
    keys = Keys("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
    told = signed(
        "GET", "https://examplebucket.s3.amazonaws.com/", "us-east-1", keys, 1369353600 * NS, digest=EMPTY, query="lifecycle"
    )
    assert told["authorization"].endswith("Signature=fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543")
