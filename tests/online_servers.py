"""Online servers for tests: one in this process, whose clock the test owns; one in a process of its own, to be killed."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import random
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyotp
import urllib3
import uvicorn

from safehold.cli.accounts import new_login
from safehold.codec import admission
from safehold.codec.sealing import exchange_public, open_sealed_to
from safehold.core.clock import SystemClock
from safehold.server import running
from safehold.server.app import Setup, build
from safehold.server.service import Service
from safehold.server.settings import Settings


class ShiftedClock(SystemClock):
    """The system's, moved."""

    def __init__(self) -> None:
        self.offset_ns = 0

    def now_ns(self) -> int:
        return super().now_ns() + self.offset_ns

    def pass_days(self, days: float) -> None:
        """Let that time go by."""
        self.offset_ns += int(days * 86400 * 10**9)


class Answer:
    """An answer to a request."""

    def __init__(self, response: urllib3.BaseHTTPResponse) -> None:
        self.status = response.status
        self.headers = response.headers
        self.data = response.data

    @property
    def json(self) -> Any:
        return json.loads(self.data)

    @property
    def code(self) -> str:
        """Of a refusal."""
        return str(self.json["code"])


class Client:
    """Requests as somebody: by a token, or by a session's cookie."""

    def __init__(self, url: str, token: str = "", fingerprint: str | None = None, **headers: str) -> None:
        self.url = url
        self.headers = {"Authorization": f"Bearer {token}"} if token else {}
        self.headers |= {name.replace("_", "-"): text for name, text in headers.items()}
        self._pool = urllib3.PoolManager(
            retries=False, timeout=60, cert_reqs="CERT_NONE", assert_hostname=False, assert_fingerprint=fingerprint
        )

    def __call__(self, method: str, path: str, value: object = None, data: bytes | None = None, **headers: str) -> Answer:
        body = json.dumps(value).encode() if value is not None else data
        named = {name.replace("_", "-"): text for name, text in headers.items()}
        return Answer(self._pool.request(method, self.url + path, body=body, headers={**self.headers, **named}))

    def close(self) -> None:
        self._pool.clear()


class Person(Client):
    """Somebody with an account, logged in as a browser is."""

    def __init__(self, url: str, name: str, password: str = "correct horse", fingerprint: str | None = None) -> None:
        super().__init__(url, fingerprint=fingerprint)
        self.headers = {"X-Safehold": "1", "Origin": url}
        self.name = name
        self.salt, self.login = STRETCHED.setdefault(password, new_login(password))
        self.totp = ""

    def log_in(self, **more: str) -> Answer:
        """Begin a session; the answer, be it a refusal."""
        answer = self("POST", "/api/v1/login", {"name": self.name, "login": text(self.login), **more})
        self._keep(answer)
        return answer

    def register(self, setup_code: str = "") -> Answer:
        """Make the account."""
        value = {"name": self.name, "salt": text(self.salt), "login": text(self.login), "setup_code": setup_code}
        answer = self("POST", "/api/v1/accounts", value)
        self._keep(answer)
        return answer

    def _keep(self, answer: Answer) -> None:
        if answer.status < 300:
            self.headers["Cookie"] = answer.headers["Set-Cookie"].split(";")[0]

    def set_up_factor(self) -> list[str]:
        """Set up an authenticator; the recovery codes."""
        self.totp = self("POST", "/api/v1/totp").json["secret"]
        answer = self("POST", "/api/v1/totp/confirm", {"secret": self.totp, "code": pyotp.TOTP(self.totp).now()})
        assert answer.status == 200, answer.data
        codes: list[str] = answer.json["recovery_codes"]
        return codes

    def repository(self, name: str = "home") -> str:
        """Make one; the path of its requests."""
        assert self("POST", "/api/v1/repositories", {"name": name}).status == 201
        return f"/api/v1/repositories/{self.name}/{name}"

    def token(self, scope: str, repository: str = "", **more: object) -> str:
        """Make one."""
        answer = self("POST", "/api/v1/tokens", {"scope": scope, "repository": repository, **more})
        assert answer.status == 201, answer.data
        made: str = answer.json["token"]
        return made


STRETCHED: dict[str, tuple[bytes, bytes]] = {}
"""Passwords that were stretched already: that costs a fifth of a second each."""


class Device(Client):
    """A machine that was admitted to a repository."""

    id = ""


def device(owner: Person, name: str = "laptop", repository: str = "anna/home", scope: str = "write") -> Device:
    """Ask for admission and be admitted, as `safehold login` does."""
    private = secrets.token_bytes(32)
    keys = {"exchange_public": text(exchange_public(private)), "signing_public": text(bytes(32))}
    asked = Client(owner.url)("POST", "/api/v1/enrolments", {"name": name, **keys}).json
    path = f"/api/v1/enrolments/{asked['id']}"
    answer = owner("POST", f"{path}/approve", {"repository": repository, "scope": scope})
    assert answer.status == 201, answer.data
    polled = Client(owner.url)("POST", f"{path}/poll", {"secret": asked["secret"]}).json
    told = json.loads(open_sealed_to(private, admission.INFO + asked["id"].encode(), base64.b64decode(polled["sealed"])))
    made = Device(owner.url, told["token"])
    made.id = told["device"]
    return made


class ServerInThread:
    """A server of this process, over plain HTTP on loopback."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.settings = Settings(data=folder, tls=False, listen="127.0.0.1:0", **{"jobs": False, **settings})
        self.clock = ShiftedClock()
        self.start()

    def start(self) -> None:
        prepared = running.prepare(self.settings)
        self.service = Service(prepared.settings, prepared.database, self.clock)
        self.setup = Setup()
        self._socket = running.listen(self.settings)
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        app = build(self.service, running.server_secret(self.service.database), self.setup)
        self._server = uvicorn.Server(running.configure(app, self.settings))
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._socket]}, daemon=True)
        self._thread.start()
        until_answering(self.url)

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(10)
        self._socket.close()

    def fresh_token(self) -> str:
        """An administrator's, of the only person: sessions end when a test lets days pass."""
        from sqlalchemy import select

        from safehold.server.accounts import tokens
        from safehold.server.schema import people

        with self.service.database.write() as connection:
            person = connection.execute(select(people.c.id)).scalar_one()
            return tokens.make(connection, person, "admin", "test", self.clock.now_ns())[1]

    def owner(self, name: str = "anna") -> Person:
        """The first person, with a second factor."""
        person = Person(self.url, name)
        assert person.register(self.setup.code).status == 200
        person.recovery = person.set_up_factor()  # type: ignore[attr-defined]
        return person


class ServerProcess:
    """`safehold server run` as a user starts it."""

    def __init__(self, folder: Path, *words: str, environ: Mapping[str, str] | None = None, tls: bool = True) -> None:
        self.folder = folder
        self.words = [*words] if tls else [*words, "--no-tls"]
        self.environ = {**os.environ, **(environ or {})}
        self.port = free_port()
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "safehold", "server", "run", "--json", "--data", str(self.folder)]
        command += ["--listen", f"127.0.0.1:{self.port}", *self.words]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=self.environ)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            assert self.process.stderr is not None
            raise AssertionError(self.process.stderr.read().decode())
        told = json.loads(line)
        self.url: str = told["url"]
        self.fingerprint: str = told["fingerprint"]
        self.setup_code: str = told["setup_code"]
        try:
            until_answering(self.url, self.fingerprint or None)
        except BaseException:
            self.kill()
            raise

    def kill(self) -> None:
        """As a loss of power to the process."""
        self.process.send_signal(signal.SIGKILL)
        self._end()

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
        self._end()

    def _end(self) -> None:
        self.process.wait(30)
        for pipe in (self.process.stdout, self.process.stderr):
            if pipe is not None:
                pipe.close()


def until_answering(url: str, fingerprint: str | None = None) -> None:
    """Wait until a server answers."""
    client = Client(url, fingerprint=fingerprint)
    for _ in range(400):
        try:
            if client("GET", "/api/v1/health").status == 200:
                client.close()
                return
        except urllib3.exceptions.HTTPError:
            pass
        time.sleep(0.05)
    raise AssertionError(f"{url} does not answer")


def free_port() -> int:
    """A port that nobody listens on, below those that the system gives to clients: one that asks for a server that is just
    being restarted would otherwise be given that very port now and then, and keep the server from it."""
    for _ in range(200):
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no port is free")


def text(data: bytes) -> str:
    """Bytes as JSON has them."""
    return base64.b64encode(data).decode()


def put_snapshot(who: Client, base: str, data: bytes) -> str:
    """Store it where its hash belongs; that key."""
    key = snapshot_key(data)
    answer = who("PUT", f"{base}/objects/{key}", data=data)
    assert answer.status == 201, answer.data
    return key


def snapshot_key(data: bytes) -> str:
    """Where an object named by its hash belongs."""
    return f"snapshots/{hashlib.sha256(data).hexdigest()}"
