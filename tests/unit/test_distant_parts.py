"""What stores on other machines are made of: places, profiles, errors in words, findings, uploads, patience."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from pathlib import Path
from random import Random

import pytest

from safehold.core.clock import ManualClock
from safehold.core.errors import (
    ObjectExists,
    ObjectMissing,
    StoreError,
    StoreFull,
    StoreRefused,
    StoreUnreachable,
    UsageError,
)
from safehold.repo.uploads import Uploads
from safehold.storage.cloud import failures, places
from safehold.storage.cloud.object_store import ObjectStore
from safehold.storage.cloud.probe import BELIEVED_SECONDS, Findings
from safehold.storage.open import is_distant, open_store
from safehold.storage.options import StoreOptions
from safehold.storage.sftp import address
from safehold.storage.wrappers.retry import FIRST_CONTACT, RetryStore
from safehold.testing.stores import MemoryStore


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("sftp://me@nas/srv/backup", ("me", "nas", 0, "/srv/backup")),
        ("sftp://nas:2222/srv/backup/", ("", "nas", 2222, "/srv/backup")),
        ("sftp://me@nas/~/backup", ("me", "nas", 0, "backup")),
        ("ssh://me%40home@[2001:db8::1]:22/a%20b", ("me@home", "2001:db8::1", 22, "/a b")),
    ],
)
def test_a_place_reached_by_sftp(text: str, parts: tuple[str, str, int, str]) -> None:
    assert tuple(address.parse(text)) == parts


@pytest.mark.parametrize(
    "text", ["sftp://nas", "sftp://nas/", "sftp:///x", "sftp://nas/~/", "sftp://nas:99999/x", "sftp://a@b@c/x"]
)
def test_no_place_reached_by_sftp(text: str) -> None:
    with pytest.raises(UsageError, match="no place that is reached by SFTP"):
        address.parse(text)


def test_a_place_is_told_as_it_was_written() -> None:
    for text in ("sftp://me@nas:2222/srv/backup", "sftp://nas/~/backup", "sftp://[2001:db8::1]/x"):
        assert address.parse(text).location == text


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("s3://bucket", ("s3", "bucket", "")),
        ("s3://bucket/", ("s3", "bucket", "")),
        ("gs://my-bucket/a/b/", ("gs", "my-bucket", "a/b/")),
        ("az://container/x_y.z", ("az", "container", "x_y.z/")),
    ],
)
def test_a_place_in_a_bucket(text: str, parts: tuple[str, str, str]) -> None:
    assert tuple(places.parse(text)) == parts
    assert is_distant(text)


@pytest.mark.parametrize("text", ["s3://", "s3:///x", "s3://b/../x", "s3://b/a b", "s3://b/a?b", "s3://b/./x"])
def test_no_place_in_a_bucket(text: str) -> None:
    with pytest.raises(UsageError, match="no place in a bucket"):
        places.parse(text)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / ".aws"
    folder.mkdir()
    (folder / "credentials").write_text(
        "[default]\naws_access_key_id = A\naws_secret_access_key = B\n"
        "[work]\naws_access_key_id = C\naws_secret_access_key = D\naws_session_token = E\n"
    )
    (folder / "config").write_text("[profile work]\nregion = eu-west-1\nendpoint_url = https://s3.example.org/\n")
    return tmp_path


def test_keys_come_from_the_profile(home: Path) -> None:
    place = places.parse("s3://bucket")
    environ = {"HOME": str(home)}
    first = places.s3_settings(place, StoreOptions(environ=environ))
    assert first["access_key_id"] == "A" and first["region"] == "us-east-1" and "endpoint" not in first
    work = places.s3_settings(place, StoreOptions(environ={**environ, "AWS_PROFILE": "work"}))
    assert work["endpoint"] == "https://s3.example.org" and work["region"] == "eu-west-1" and work["session_token"] == "E"
    given = places.s3_settings(
        place, StoreOptions(environ={**environ, "AWS_ACCESS_KEY_ID": "X"}, region="r", endpoint="http://e")
    )
    assert given == {"region": "r", "endpoint": "http://e"}


def test_places_that_cannot_be_asked(home: Path, tmp_path: Path) -> None:
    place = places.parse("s3://bucket")
    with pytest.raises(UsageError, match="is no address"):
        places.connect(place, StoreOptions(endpoint="minio:9000", environ={}))
    with pytest.raises(StoreRefused, match="no credentials"):
        places.connect(place, StoreOptions(endpoint="http://minio:9000", environ={"HOME": str(tmp_path / "nobody")}))
    with pytest.raises(UsageError, match="certificates"):
        places.connect(place, StoreOptions(environ={"HOME": str(home), "AWS_CA_BUNDLE": str(home / "none")}))
    (home / ".aws" / "config").write_text("not an ini file\n")
    with pytest.raises(UsageError, match="cannot be read"):
        places.connect(place, StoreOptions(environ={"HOME": str(home)}))


def test_google_and_azure_are_made_without_asking_anybody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "me")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", "c2VjcmV0")
    for text in ("gs://bucket/x", "az://container/x"):
        store = open_store(text)
        assert isinstance(store, ObjectStore) and store.location == text and store.capabilities.uploads > 1


def _answer(status: int, code: str = "") -> Exception:
    return RuntimeError(f"Server returned non-2xx status code: {status} X: <Error><Code>{code}</Code></Error>")


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (_answer(404, "NoSuchBucket"), StoreError, "no bucket"),
        (_answer(404, "NoSuchKey"), ObjectMissing, "missing"),
        (FileNotFoundError("x"), ObjectMissing, "missing"),
        (_answer(412, "PreconditionFailed"), ObjectExists, "already exists"),
        (_answer(403, "AccessDenied"), StoreRefused, "AccessDenied"),
        (_answer(403, "RequestTimeTooSkewed"), StoreRefused, "RequestTimeTooSkewed"),
        (_answer(400, "AuthorizationHeaderMalformed"), StoreRefused, "refuses"),
        (_answer(401), StoreRefused, "refuses"),
        (_answer(403, "QuotaExceeded"), StoreFull, "full"),
        (_answer(507), StoreFull, "full"),
        (_answer(503, "SlowDown"), StoreUnreachable, "503"),
        (_answer(429), StoreUnreachable, "429"),
        (RuntimeError("HTTP error: error sending request kind: Connect"), StoreUnreachable, "cannot be reached"),
        (RuntimeError("HTTP error: request or response body error"), StoreUnreachable, "broke off"),
        (RuntimeError("Error performing PUT http://169.254.169.254/latest/api/token"), StoreRefused, "no credentials"),
        (_answer(400, "Odd"), StoreError, "answered 400 Odd"),
    ],
)
def test_what_a_service_answers_in_words(error: Exception, kind: type[StoreError], words: str) -> None:
    told = failures.explained(error, "packs/x", "s3://b")
    assert type(told) is kind and words in str(told)
    assert str(told).endswith(".") and told.retryable == (kind is StoreUnreachable)


def test_findings_are_believed_for_a_week(tmp_path: Path) -> None:
    clock = ManualClock()
    findings = Findings(tmp_path / "made", "s3://b", clock)
    assert findings.load() is None
    findings.store(False)
    assert findings.load() is False
    assert Findings(tmp_path / "made", "s3://other", clock).load() is None
    clock.sleep(BELIEVED_SECONDS + 1)
    assert findings.load() is None
    findings.store(True)
    (file,) = (tmp_path / "made").iterdir()
    file.write_text("{")
    assert findings.load() is None
    nowhere = Findings(None, "s3://b", clock)
    nowhere.store(True)
    assert nowhere.load() is None


def test_uploads_run_beside_each_other_and_no_more_than_allowed() -> None:
    uploads = Uploads(3)
    together = threading.Barrier(3)
    running: list[int] = []
    most: list[int] = []

    def commit(waits: bool) -> None:
        running.append(1)
        most.append(len(running))
        if waits:
            together.wait(10)
        running.pop()

    for number in range(9):
        uploads.run(lambda waits=number < 3: commit(waits), pytest.fail)  # type: ignore[misc]
    uploads.wait()
    assert max(most) == 3 and len(most) == 9


def test_an_upload_that_failed_is_raised_to_who_comes_next() -> None:
    uploads = Uploads(2)

    def fail() -> None:
        raise StoreFull("no room.")

    uploads.run(fail, pytest.fail)
    with pytest.raises(StoreFull):
        uploads.wait()
    with pytest.raises(StoreFull):
        uploads.check()


def test_uploads_after_one_that_failed_are_dropped() -> None:
    """One that is neither committed nor dropped stays on a full disk."""
    uploads = Uploads(2)
    both = threading.Barrier(2)
    committed: list[str] = []
    dropped: list[str] = []

    def fail() -> None:
        both.wait(10)
        raise StoreFull("no room.")

    def held() -> None:
        both.wait(10)
        while uploads._failure is None:
            time.sleep(0.001)
        committed.append("beside it")

    uploads.run(fail, pytest.fail)
    uploads.run(held, pytest.fail)
    with suppress(StoreFull):
        uploads.run(lambda: committed.append("after"), lambda: dropped.append("after"))
    with pytest.raises(StoreFull):
        uploads.run(lambda: committed.append("later"), lambda: dropped.append("later"))
    uploads.stop()
    assert (committed, dropped) == (["beside it"], ["after", "later"])


def test_where_one_upload_is_enough_nobody_waits_for_a_thread() -> None:
    threads: list[str] = []
    Uploads(1).run(lambda: threads.append(threading.current_thread().name), pytest.fail)
    assert threads == ["MainThread"]


class _Away(MemoryStore):
    tries = 0
    back = False

    def size(self, key: str) -> int:
        self.tries += 1
        if not self.back:
            raise StoreUnreachable("away.")
        return super().size(key)


def test_a_store_that_never_answered_is_given_up_soon_and_one_that_did_is_waited_for() -> None:
    store = _Away()
    patient = RetryStore(store, ManualClock(), Random(1), first_contact=FIRST_CONTACT)
    with pytest.raises(StoreUnreachable):
        patient.size("a")
    assert store.tries == FIRST_CONTACT.tries
    store.back = True
    with pytest.raises(ObjectMissing):
        patient.size("a")
    store.back, store.tries = False, 0
    with pytest.raises(StoreUnreachable):
        patient.size("a")
    assert store.tries == 8
