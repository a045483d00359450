"""The pages of a server in a real browser: a person's first hour, from the setup code to a log-in from a phone."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from cli_program import Program
from online_servers import Client, ServerInThread

WEB = Path(__file__).parents[2] / "web"


class Story:
    """The script of a person in a browser; both sides wait for each other."""

    def __init__(self, *words: object) -> None:
        command = ["node", str(WEB / "story.mjs"), *map(str, words)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def expect(self, what: str) -> dict[str, Any]:
        """Wait until that was done."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        said: dict[str, Any] = json.loads(line) if line else {"failed": "the browser ended"}
        assert said.get("done") == what, f"{said.get('failed')}\n{said.get('text')}\n{said.get('errors')}"
        return said

    def tell(self, **values: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(values).encode() + b"\n")
        self._process.stdin.flush()

    def end(self) -> None:
        self._process.terminate()  # puppeteer then ends its browser, which is in a session of its own
        try:
            self._process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()


@pytest.mark.parametrize("browser", ["chromium", "firefox"])
def test_the_first_hour(server: ServerInThread, program: Program, browser: str, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "letter.txt").write_text("Dear Ben, ...")
    evil = tree / "<img src=x onerror=alert(1)>.txt"
    evil.write_text("<script>alert(1)</script>")
    url = server.url.replace("127.0.0.1", "localhost")  # passkeys belong to names, not to addresses
    story = Story(url, server.setup.code, browser, tmp_path / "browser")
    try:
        assert story.expect("account")["cookie"] == ""  # scripts cannot read it
        assert story.expect("factor")["codes"] == 10
        story.expect("repository")
        asking = program.start("login", server.url, "--name", "laptop <b>", "--json")
        assert asking.stdout is not None
        story.tell(words=json.loads(asking.stdout.readline())["words"])
        story.expect("device")
        told = json.loads(asking.communicate(timeout=60)[0].splitlines()[-1])
        program.do("init", told["location"])
        program.set(SAFEHOLD_REPO=told["location"])
        snapshot = program.do("backup", tree, "--json").value["snapshot"]
        story.tell(backup=snapshot)
        seen = story.expect("overview")["text"]
        assert "laptop <b>" in seen and "1 backup" in seen
        story.tell(passphrase="passphrase", file="letter.txt", content="Dear Ben, ...")
        story.expect("browse")
        token = story.expect("token")["token"]
        me = Client(server.url, token)("GET", "/api/v1/me").json
        assert me["name"] == "anna" and me["scope"] == "write"
        _delete(server, str(snapshot))
        story.tell(deleted=True)
        story.expect("trash")
        story.expect("login")
        assert story.expect("people")["hurt"] is None
        end = story.expect("all")
        assert end["errors"] == [] and end["foreign"] == [] and end["unfit"] == [] and not end["wide"]
        program.do("check", "--read-data")
    finally:
        story.end()


def _delete(server: ServerInThread, snapshot: str) -> None:
    """As an administrator with a fresh second factor."""
    from sqlalchemy import select

    from safehold.server.asking import Asker, Place
    from safehold.server.objects import holdings
    from safehold.server.objects.rules import rights
    from safehold.server.schema import repositories

    now = server.clock.now_ns()
    with server.service.database.write() as connection:
        row = connection.execute(select(repositories)).one()
        asker = Asker(person=row.account, stepped_up_ns=now)
        place = Place(row.id, row.account, "anna/home", rights("admin"), row)
        assert holdings.discard(connection, place, asker, f"snapshots/{snapshot}", now)
