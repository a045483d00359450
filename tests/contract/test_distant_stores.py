"""The stores on other machines keep what the Store protocol promises: against a real S3 server and a real SSH server."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from random import Random

import pytest
from broken_network import Proxy
from buckets import make_bucket
from ceph_gateway import free_port
from ssh_server import SshServer

from safehold.core.clock import SystemClock
from safehold.core.errors import ObjectExists, ObjectMissing, StoreError, StoreRefused, StoreUnreachable, UsageError
from safehold.storage.cloud.object_store import ObjectStore
from safehold.storage.local import LocalStore
from safehold.storage.open import open_patiently, open_store
from safehold.storage.options import StoreOptions
from safehold.storage.sftp.sftp_store import SftpStore
from safehold.storage.store import Store
from safehold.storage.validation import validate
from safehold.storage.validation_checks import CHECKS
from safehold.storage.wrappers.retry import Patience, RetryStore
from safehold.testing.stores import MemoryStore


def _validated(store: Store) -> dict[str, str]:
    """What the checks say that is not well, by their names; some other objects of the store are left alone."""
    store.put("config", b"mine")
    results = list(validate(store, Random(7), SystemClock(), tidy=getattr(store, "tidy", None)))
    assert [result.name for result in results] == list(CHECKS)
    assert [line.key for line in store.list("")] == ["config"]
    assert not [result for result in results if not result.ok]
    store.close()
    return {result.name: result.detail for result in results if result.detail}


def test_a_bucket_keeps_the_promises_of_the_protocol(bucket: str) -> None:
    store = ObjectStore(bucket)
    assert _validated(store) == {}
    assert store.capabilities.exclusive


def test_a_container_of_azure_keeps_the_promises_of_the_protocol(container: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = ObjectStore(container)
    assert _validated(store) == {}
    assert store.capabilities.exclusive
    for variables, error, message in (
        ({"AZURE_STORAGE_ACCOUNT_KEY": "AAAA"}, StoreRefused, "refuses access"),
        ({"AZURE_STORAGE_ACCOUNT_KEY": "%%"}, StoreRefused, "is none: it is base64"),
        ({"AZURE_STORAGE_ACCOUNT_NAME": None}, StoreRefused, "no credentials"),
        ({"AZURE_STORAGE_ENDPOINT": "127.0.0.1:1"}, UsageError, "is no address"),
    ):
        with monkeypatch.context() as patch:
            for name, value in variables.items():
                patch.setenv(name, value) if value else patch.delenv(name)
            with pytest.raises(error, match=message) as caught:
                ObjectStore(container).get("config")
            assert "AWS" not in caught.value.hint
    with pytest.raises(StoreError, match="no bucket"):
        ObjectStore("az://another/home").put("a", b"a")


def test_credentials_for_google_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for content in (None, "{}", '{"type": "nothing"}'):
        if content is not None:
            (tmp_path / "account.json").write_text(content)
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "account.json"))
        with pytest.raises(StoreRefused, match="cannot be read") as caught:
            ObjectStore("gs://bucket/home")
        assert "GOOGLE_APPLICATION_CREDENTIALS" in caught.value.hint


def test_a_folder_reached_by_sftp_keeps_the_promises_of_the_protocol(ssh_server: SshServer) -> None:
    store = SftpStore(ssh_server.location("repository"), create=True)
    assert _validated(store) == {}
    files = {path.name: path.stat().st_mode & 0o777 for path in (ssh_server.data / "repository").rglob("*") if path.is_file()}
    assert files == {"config": 0o400}


def test_an_account_that_may_do_sftp_only_with_one_session_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = SshServer(tmp_path / "restricted", force_internal=True, sessions=1)
    server.start()
    try:
        monkeypatch.setenv("HOME", str(server.home))
        names = ("create", "large-object", "race-to-create", "quarantine", "concurrent-readers")
        store = SftpStore(server.location("repository"), create=True)
        assert all(result.ok for result in validate(store, Random(1), SystemClock(), names))
        store.close()
    finally:
        server.stop()


def test_what_sftp_stored_is_a_local_store_on_the_server(ssh_server: SshServer) -> None:
    store = SftpStore(ssh_server.location("repository"), create=True)
    store.put("packs/ab/abc", b"bytes")
    store.delete("packs/ab/not-there")
    store.close()
    local = LocalStore(ssh_server.data / "repository")
    assert [(line.key, line.size) for line in local.list("")] == [("packs/ab/abc", 5)]
    assert local.get("packs/ab/abc") == b"bytes"


@pytest.fixture
def careless(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The endpoint of an S3 server that takes conditions and does not heed them."""
    port = free_port()
    words = [
        Path(sys.executable).with_name("nanio"),
        "serve",
        "--data-dir",
        tmp_path / "nanio",
        "--port",
        str(port),
        "--host",
        "127.0.0.1",
    ]
    environ = os.environ | {"NANIO_ACCESS_KEY": "AKTEST", "NANIO_SECRET_KEY": "SKTESTSKTEST"}
    process = subprocess.Popen(words, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(300):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            with suppress(OSError):
                connection.request("GET", "/")
                connection.getresponse()
                break
            connection.close()
            time.sleep(0.05)
        connection.close()
        endpoint = f"http://127.0.0.1:{port}"
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKTEST")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "SKTESTSKTEST")
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        make_bucket(endpoint, "careless", "AKTEST", "SKTESTSKTEST")
        yield endpoint
    finally:
        process.terminate()
        process.wait()


def test_a_service_that_replaces_objects_is_found_out_and_still_usable(careless: str, tmp_path: Path) -> None:
    store = ObjectStore("s3://careless/here", StoreOptions(state=tmp_path / "state"))
    told = _validated(store)
    assert list(told) == ["race-to-create"] and "not append-only" in told["race-to-create"]
    assert not store.capabilities.exclusive
    # It is remembered: another store does not ask again.
    again = ObjectStore("s3://careless/here", StoreOptions(state=tmp_path / "state"))
    again.delete("config")
    again.put("config", b"first")
    assert not again.capabilities.exclusive
    with pytest.raises(ObjectExists):
        again.put("config", b"second")
    assert again.get("config") == b"first"


def test_two_clients_that_create_the_same_object(bucket: str, ssh_server: SshServer) -> None:
    for make in (lambda: ObjectStore(bucket), lambda: SftpStore(ssh_server.location("repository"), create=True)):
        stores = [make() for _ in range(2)]
        for number in range(10):
            barrier = threading.Barrier(4)

            def create(who: int, key: str = f"race/{number}", start: Callable[[], int] = barrier.wait, all_=stores) -> bool:  # type: ignore[no-untyped-def]
                start()
                try:
                    all_[who % 2].put(key, bytes([who]) * 5000)
                except ObjectExists:
                    return False
                return True

            with ThreadPoolExecutor(4) as pool:
                won = list(pool.map(create, range(4)))
            assert won.count(True) == 1
            assert stores[0].get(f"race/{number}") == bytes([won.index(True)]) * 5000
        for store in stores:
            store.close()


def _proxied(gateway: str, proxy: Proxy, bucket: str) -> RetryStore:
    store = ObjectStore(bucket, StoreOptions(endpoint=f"http://127.0.0.1:{proxy.port}"))
    return RetryStore(store, SystemClock(), Random(1), Patience(tries=8, first=0.05))


def _port(endpoint: str) -> int:
    return int(endpoint.rpartition(":")[2])


def test_an_answer_that_breaks_off_is_asked_for_again(bucket: str, gateway: str) -> None:
    data = Random(1).randbytes(3 << 20)
    with Proxy(_port(gateway)) as proxy:
        store = _proxied(gateway, proxy, bucket)
        store.put("packs/x", data)
        for read, expected in (
            (lambda: store.get("packs/x"), data),
            (lambda: store.get_range("packs/x", 1000, 2 << 20), data[1000:][: 2 << 20]),
            (lambda: store.get_range("packs/x", -(2 << 20), 2 << 20), data[-(2 << 20) :]),
        ):
            cuts, proxy.cut_after = proxy.cuts, 500_000
            assert read() == expected
            assert proxy.cuts == cuts + 1


def test_a_listing_that_breaks_off_never_looks_short(bucket: str, gateway: str) -> None:
    with Proxy(_port(gateway)) as proxy:
        store = _proxied(gateway, proxy, bucket)
        keys = {f"index/{number:04}" for number in range(1100)}
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda key: store.put(key, b"x"), keys))
        for cut in (1000, 100_000):
            proxy.cut_after = cut
            with pytest.raises(StoreUnreachable):
                list(store.inner.list("index/"))
            proxy.cut_after = cut
            assert {line.key for line in store.list("index/")} == keys


def test_a_creation_whose_answer_was_lost_is_recognised_as_our_own(bucket: str, gateway: str) -> None:
    with Proxy(_port(gateway)) as proxy:
        store = _proxied(gateway, proxy, bucket)
        store.put("warm-up", b"")
        proxy.swallow = b"/mine"
        store.put("mine", b"bytes of mine")
        assert proxy.cuts == 1 and store.get("mine") == b"bytes of mine"
        ObjectStore(bucket).put("others", b"something else")
        proxy.swallow = b"/others"
        with pytest.raises(ObjectExists):
            store.put("others", b"bytes of mine")


def test_a_creation_over_sftp_whose_answer_was_lost(ssh_server: SshServer) -> None:
    with Proxy(ssh_server.port) as proxy:
        ssh_server.write_config(port=proxy.port)
        driver = SftpStore(ssh_server.location("repository"), create=True)
        store = RetryStore(driver, SystemClock(), Random(1), Patience(tries=8, first=0.05))
        store.put("warm-up", b"")
        data = Random(2).randbytes(3 << 20)
        for cut in (2000, 6000, 9000):
            proxy.cut_after = cut
            store.put(f"packs/{cut}", data)
            assert store.get(f"packs/{cut}") == data
        proxy.cut_after = 1 << 20
        assert store.get("packs/2000") == data
        store.close()
        unfinished = list((ssh_server.data / "repository" / "tmp").iterdir())
        assert len(unfinished) <= proxy.cuts  # what a broken connection leaves is swept a day later


def test_leftovers_of_dead_writers_are_swept(ssh_server: SshServer) -> None:
    folder = ssh_server.data / "repository" / "tmp"
    folder.mkdir(parents=True)
    for name, age in (("old.part", 90_000), ("young.part", 60), ("other", 90_000)):
        (folder / name).write_bytes(b"x")
        os.utime(folder / name, (time.time() - age,) * 2)
    store = SftpStore(ssh_server.location("repository"), create=True)
    store.put("a", b"1")
    store.put("b", b"2")
    store.close()
    assert {path.name for path in folder.iterdir()} == {"young.part", "other"}


def test_a_server_that_stops_and_comes_back(ssh_server: SshServer) -> None:
    options = StoreOptions(connections=2)
    store = open_patiently(ssh_server.location("repository"), True, options)
    store.put("before", b"1")
    ssh_server.stop()
    again = threading.Timer(1.0, ssh_server.start)
    again.start()
    store.put("after", b"2")
    assert store.get("before") == b"1"
    again.join()
    store.close()


def test_a_server_that_stays_away_is_unreachable(ssh_server: SshServer, bucket: str) -> None:
    ssh_server.stop()
    nowhere = f"http://127.0.0.1:{free_port()}"
    for location, options in ((ssh_server.location("x"), StoreOptions()), (bucket, StoreOptions(endpoint=nowhere))):
        store = open_patiently(location, True, options)
        start = time.monotonic()
        with pytest.raises(StoreUnreachable):
            list(store.list(""))
        assert time.monotonic() - start < 40  # three tries, not the minute of a store that was there
        store.close()


def test_the_root_that_vanishes_is_not_an_empty_store(ssh_server: SshServer) -> None:
    store = SftpStore(ssh_server.location("repository"), create=True)
    store.put("a", b"1")
    (ssh_server.data / "repository").rename(ssh_server.data / "elsewhere")
    with pytest.raises(StoreUnreachable):
        list(store.list(""))
    with pytest.raises(StoreUnreachable):
        store.delete("a")
    store.close()


def test_a_link_in_the_store_stops_a_listing(ssh_server: SshServer) -> None:
    store = SftpStore(ssh_server.location("repository"), create=True)
    store.put("packs/a", b"1")
    (ssh_server.data / "repository" / "packs" / "b").symlink_to("a")
    with pytest.raises(StoreError, match="neither a file nor a folder"):
        list(store.list(""))
    with pytest.raises(ObjectMissing):
        store.get("packs/b")
    store.close()


def test_a_store_is_not_used_by_a_forked_child(bucket: str) -> None:
    store = open_store(bucket)
    store.put("a", b"1")
    pid = os.fork()
    if pid == 0:
        try:
            store.get("a")
        except StoreError:
            os._exit(7)
        os._exit(8)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
    assert store.get("a") == b"1"


def test_a_process_forks_while_sftp_is_busy(ssh_server: SshServer) -> None:
    """The loop's thread holds no lock at any fork: each child can use what the thread uses, too."""
    store = SftpStore(ssh_server.location("repository"), create=True)
    stop = threading.Event()

    def work() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            store.put(f"object-{number}", bytes(100_000))

    thread = threading.Thread(target=work)
    thread.start()
    try:
        for _ in range(20):
            pid = os.fork()
            if pid == 0:
                signal.alarm(20)
                import logging

                logging.getLogger("asyncssh").debug("anything")
                os._exit(0)
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    finally:
        stop.set()
        thread.join()
        store.close()


def test_the_download_and_upload_limits_hold(bucket: str) -> None:
    store = open_patiently(bucket, options=StoreOptions(limit_upload=1e6, limit_download=2e6))
    start = time.monotonic()
    for number in range(4):
        store.put(f"a{number}", bytes(250_000))
    store.put("last", b"")
    assert time.monotonic() - start > 0.9
    start = time.monotonic()
    for number in range(4):
        store.get(f"a{number}")
    store.get("last")
    assert time.monotonic() - start > 0.4


def test_wrong_credentials_are_refused_and_not_tried_again(
    bucket: str, ssh_server: SshServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    ssh_server.write_config(identity="host")
    with pytest.raises(StoreRefused, match="does not let this user in"):
        SftpStore(ssh_server.location("x"), create=True).put("a", b"")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    for action in (lambda: ObjectStore(bucket).put("a", b""), lambda: list(ObjectStore(bucket).list(""))):
        with pytest.raises(StoreRefused, match="SignatureDoesNotMatch"):
            action()
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(StoreRefused, match="no credentials"):
        ObjectStore(bucket)


def test_a_bucket_that_is_not_there(bucket: str) -> None:
    store = ObjectStore("s3://no-such-bucket/x")
    for action in (lambda: store.put("a", b""), lambda: list(store.list("")), lambda: store.get("a")):
        with pytest.raises(StoreError, match="no bucket") as caught:
            action()
        assert not isinstance(caught.value, ObjectMissing)


def test_an_unknown_or_changed_host_key_is_refused_with_its_fingerprint(ssh_server: SshServer) -> None:
    shown = subprocess.run(["ssh-keygen", "-lf", ssh_server.folder / "host.pub"], capture_output=True, text=True, check=True)
    fingerprint = shown.stdout.split()[1]
    store = SftpStore(ssh_server.location("x"), create=True)
    ssh_server.know("")
    with pytest.raises(StoreRefused, match="is not known") as caught:
        store.put("a", b"")
    assert fingerprint in str(caught.value) and f"ssh-keyscan -p {ssh_server.port} 127.0.0.1" in caught.value.hint
    ssh_server.write_config(more="  UserKnownHostsFile none\n  StrictHostKeyChecking no\n")
    with pytest.raises(StoreRefused, match="is not known"):
        store.put("a", b"")
    ssh_server.write_config()
    ssh_server.know(ssh_server.public_key("user"))
    with pytest.raises(StoreRefused, match="not the one that is known") as caught:
        store.put("a", b"")
    assert fingerprint in str(caught.value)
    assert not list(ssh_server.data.iterdir())
    ssh_server.know(ssh_server.public_key("host"))
    store.put("a", b"")
    store.close()


def test_a_key_with_a_passphrase_is_asked_for_once(ssh_server: SshServer) -> None:
    subprocess.run(["ssh-keygen", "-q", "-p", "-N", "open sesame", "-f", ssh_server.folder / "user"], check=True)
    asked: list[str] = []

    def ask(question: str) -> str:
        asked.append(question)
        return "open sesame"

    store = SftpStore(ssh_server.location("x"), create=True, options=StoreOptions(ask=ask))
    store.put("a", b"1")
    store.close()
    assert len(asked) == 1 and str(ssh_server.folder / "user") in asked[0]
    silent = SftpStore(ssh_server.location("x"), create=True)
    with pytest.raises(StoreRefused):
        silent.put("b", b"1")
    silent.close()


def test_by_way_of_another_host(ssh_server: SshServer) -> None:
    far = f"Host far\n  HostName 127.0.0.1\n  Port {ssh_server.port}\n  ProxyJump backup\n  IdentityFile {ssh_server.folder / 'user'}\n"
    ssh_server.write_config(more=f"{far}  User {ssh_server.user}\n")
    store = SftpStore(f"sftp://far{ssh_server.data}/repository", create=True)
    store.put("a", b"1")
    assert store.get("a") == b"1"
    store.close()


def test_memory_store_still_passes_as_not_exclusive() -> None:
    from safehold.storage.store import Capabilities

    store = MemoryStore(capabilities=Capabilities(exclusive=False))
    found = {result.name: result for result in validate(store, Random(1), SystemClock())}
    assert all(result.ok for result in found.values()) and "append-only" in found["race-to-create"].detail
