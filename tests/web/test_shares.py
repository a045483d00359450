"""Links in real browsers: made by the program on a real server, opened by a stranger; what reaches the server is written down."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import json
import os
import signal
import zipfile
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from pathlib import Path
from typing import Any

import online_servers
import pytest
from online_servers import Person, ServerInThread, text
from web_browser import NAMES, Browser, running, sha256
from web_repository import pdf, png

from safehold.cli import main

PASSWORD = "over the phone, bätteri"
FRIEND = "Bert Sondermann"
FILM = 9 << 20
Message = MutableMapping[str, Any]


class Recording:
    """Stands before the application: what it is sent, and ways to meddle."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self.state = app.state
        self.received: list[bytes] = []
        self.alter = ""
        """Answers at addresses with this end have their last bit changed."""
        self.before: Callable[[str], None] | None = None
        """Called with each path before it is answered."""

    async def __call__(
        self, scope: Any, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
    ) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = b"".join(name + b": " + value for name, value in scope["headers"])
        self.received.append(scope["raw_path"] + b"?" + scope["query_string"] + headers)
        if self.before is not None:
            await asyncio.to_thread(self.before, scope["path"])

        async def taking() -> Message:
            message = await receive()
            self.received.append(message.get("body", b""))
            return message

        async def giving(message: Message) -> None:
            if self.alter and scope["path"].endswith(self.alter) and message.get("body"):
                message = {**message, "body": message["body"][:-1] + bytes([message["body"][-1] ^ 1])}
            await send(message)

        await self._app(scope, taking, giving)


class World:
    """A server, its owner, and a backup of which parts are shared."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.made: list[Recording] = []
        build = online_servers.build

        def recorded(*arguments: Any) -> Any:
            self.made.append(Recording(build(*arguments)))
            return self.made[-1]

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(online_servers, "build", recorded)
            self.server = ServerInThread(folder / "server")
        self.owner: Person = self.server.owner()
        self.base = self.owner.repository()
        self.source = self._files(folder / "anna")
        (folder / "home").mkdir()
        places = {"HOME": "home", "XDG_CONFIG_HOME": "config", "XDG_CACHE_HOME": "cache", "SAFEHOLD_STATE_DIR": "state"}
        self._environ = {name: str(folder / place) for name, place in places.items()}
        self._environ |= {
            "SAFEHOLD_REPO": f"{self.server.url}/anna/home",
            "SAFEHOLD_PASSWORD": "x",
            "SAFEHOLD_SHARE_PASSWORD": PASSWORD,
        }
        self._environ |= {"SAFEHOLD_TOKEN": self.owner.token("admin", "anna/home")}
        self.run("init")
        self.run("backup", str(self.source))

    @property
    def recording(self) -> Recording:
        return self.made[-1]

    @property
    def url(self) -> str:
        return self.server.url

    def _files(self, source: Path) -> Path:
        photos = source / "photos"
        (photos / "Alps 2026").mkdir(parents=True)
        (source / "diary.txt").write_bytes(b"private")
        (photos / "note.txt").write_bytes("Grüße aus den Bergen\n".encode() * 40)
        (photos / "<img src=x onerror=window.hurt=1>.txt").write_bytes(b"harmless")
        (photos / "page.html").write_bytes(b"<script>window.hurt=1</script>")
        (photos / "Alps 2026" / "summit.png").write_bytes(png(320, 200))
        for number in range(12):
            (photos / "Alps 2026" / f"IMG {number}.txt").write_bytes(os.urandom(3000))
        (photos / "contract.pdf").write_bytes(pdf("Lease of the flat"))
        (photos / "film.mp4").write_bytes(os.urandom(FILM))
        (photos / "link").symlink_to("note.txt")
        return source

    def run(self, *words: str) -> Any:
        """The program, as its owner runs it; what it says as JSON."""
        with pytest.MonkeyPatch.context() as patch:
            for name, value in self._environ.items():
                patch.setenv(name, value)
            said = io.TextIOWrapper(io.BytesIO())
            with contextlib.redirect_stdout(said), contextlib.redirect_stderr(io.TextIOWrapper(io.BytesIO())) as complaints:
                status = main.run([*words, "--json"])
            assert status == 0, complaints.buffer.getvalue()
        said.flush()
        return json.loads(said.buffer.getvalue().splitlines()[-1])  # type: ignore[attr-defined]

    def share(self, *words: str, what: str = "photos") -> str:
        return str(self.run("share", "create", f"latest:{self.source}/{what}", *words)["link"])

    def opens(self, link: str) -> int:
        shares = self.owner("GET", f"{self.base}/shares").json["shares"]
        return next(int(each["opens"]) for each in shares if each["id"] in link)

    def revoke(self, link: str) -> None:
        assert self.owner("DELETE", f"{self.base}/shares/{id_of(link)}").status == 204

    def kept_from(self, *secrets: str | bytes) -> None:
        """No request held any of it, in any writing that comes to mind."""
        received = b"\n".join(self.recording.received)
        assert len(received) > 10_000
        for secret in secrets:
            data = secret.encode() if isinstance(secret, str) else secret
            for written in (data, base64.b64encode(data), base64.urlsafe_b64encode(data).rstrip(b"="), data.hex().encode()):
                assert written not in received


def id_of(link: str) -> str:
    return link.rsplit("/s/", maxsplit=1)[-1].split("#", maxsplit=1)[0]


def secret_of(link: str) -> str:
    return link.split("#")[1]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    signals = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    made = World(tmp_path_factory.mktemp("shares"))
    yield made
    made.owner.close()
    made.server.stop()
    for number, handler in signals.items():
        signal.signal(number, handler)


@pytest.fixture(scope="module")
def link(world: World) -> str:
    return world.share()


@pytest.fixture(scope="module", params=NAMES)
def browser(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with running(request.param, tmp_path_factory.mktemp(request.param)) as started:
        yield started


@pytest.fixture(autouse=True)
def unmeddled(world: World) -> Iterator[None]:
    yield
    world.recording.alter, world.recording.before = "", None


def quiet(browser: Browser, *statuses: int) -> None:
    """Nothing came from elsewhere, no script failed, no policy was broken; only those refusals are on the console."""
    heard = browser.tell("heard")
    told = [error for error in heard["errors"] if not any(f"status of {status}" in error for status in statuses)]
    assert (told, heard["foreign"]) == ([], [])
    assert browser.tell("run", script="window.hurt ?? null") is None


def test_a_stranger_looks_through_it(browser: Browser, world: World, link: str) -> None:
    before = world.opens(link)
    browser.tell("open", url=link)
    browser.tell("waitText", selector=".entry .text", text="Alps 2026")
    names = ["Alps 2026", "<img src=x onerror=window.hurt=1>.txt", "contract.pdf", "film.mp4", "link", "note.txt", "page.html"]
    assert browser.texts(".entry .text") == names
    assert browser.texts("h1") == ["photos"] and "20 entries" in browser.texts(".page-head p")[0]
    assert browser.tell("run", script="location.href") == f"{world.url}/s/{id_of(link)}#/files/share"
    browser.tell("run", script="document.querySelector('.entry').focus()")
    browser.tell("press", key="Enter")
    browser.tell("waitText", selector="h1", text="Alps 2026")
    assert browser.texts(".entry .text")[:3] == ["IMG 0.txt", "IMG 1.txt", "IMG 2.txt"]
    browser.tell("clickText", selector=".entry", text="summit.png")
    browser.tell("wait", selector=".preview-picture img")
    shown = "document.querySelector('.preview-picture img').decode().then(() => document.querySelector('.preview-picture img').naturalWidth)"
    assert browser.tell("run", script=shown) == 320
    browser.tell("run", script="document.activeElement.blur()")
    browser.tell("go", hash="#/search/share?q=img%201")
    browser.tell("waitText", selector="[role=status]", text="3 found")  # 1, 10, 11
    for name in ("page.html", "note.txt"):
        browser.tell("go", hash=f"#/file/share/{name}")
        browser.tell("waitText", selector="h1", text=name)
        browser.tell("wait", selector=".preview-text")
        assert browser.texts(".preview-text")[0].encode() == (world.source / "photos" / name).read_bytes()
    browser.tell("go", hash="#/file/share/contract.pdf")
    browser.tell("wait", selector="iframe.preview-pdf")
    browser.tell(
        "run",
        script="(() => { const s = document.querySelector('.header select'); s.value = 'de'; s.dispatchEvent(new Event('change')); })()",
    )
    browser.tell("waitText", selector="main .button", text="Herunterladen")
    browser.tell(
        "run",
        script="(() => { const s = document.querySelector('.header select'); s.value = 'en'; s.dispatchEvent(new Event('change')); })()",
    )
    browser.tell("waitText", selector="main .button", text="Download")
    assert world.opens(link) == before + 1
    stored = "JSON.stringify([{ ...localStorage }, { ...sessionStorage }, document.cookie, history.state])"
    assert secret_of(link) not in browser.tell("run", script=stored)
    world.kept_from(secret_of(link), base64.urlsafe_b64decode(secret_of(link)[1:] + "=="))
    quiet(browser)


def test_a_file_and_everything_are_downloaded(browser: Browser, world: World, link: str) -> None:
    browser.clear()
    browser.tell("open", url=link)
    browser.tell("clickText", selector=".entry", text="film.mp4")
    browser.tell("waitText", selector="h1", text="film.mp4")
    browser.tell("clickText", selector="main .button", text="Download")
    browser.tell("waitText", selector=".job.done", text="Done and verified")
    photos = world.source / "photos"
    assert sha256(browser.landed("film.mp4").read_bytes()) == sha256((photos / "film.mp4").read_bytes())
    browser.tell("go", hash="#/files/share")
    browser.tell("clickText", selector="main .button", text="Download as ZIP")
    browser.tell("clickText", selector="dialog .primary", text="Download the rest")  # there is one symbolic link
    browser.tell("waitText", selector=".job.done .name", text="photos.zip")
    with zipfile.ZipFile(browser.landed("photos.zip")) as archive:
        assert archive.testzip() is None
        found = {name: sha256(archive.read(name)) for name in archive.namelist() if not name.endswith("/")}
    files = [path for path in photos.rglob("*") if path.is_file() and not path.is_symlink()]
    expected = {f"photos/{path.relative_to(photos)}": sha256(path.read_bytes()) for path in files}
    harmless = {name: digest for name, digest in expected.items() if "<" not in name}
    assert {name: digest for name, digest in found.items() if "onerror" not in name} == harmless
    assert len(found) == len(expected)
    quiet(browser)


def test_a_single_file_is_shown_at_once(browser: Browser, world: World) -> None:
    made = world.share(what="photos/note.txt")
    browser.tell("open", url=made)
    browser.tell("wait", selector=".preview-text")
    assert browser.texts("h1") == ["note.txt"]
    quiet(browser)


def test_a_password(browser: Browser, world: World) -> None:
    made = world.share("--password")
    browser.tell("open", url=made)
    browser.tell("type", selector="input[type=password]", text="over the fence")
    browser.tell("click", selector=".unlock-form .primary")
    browser.tell("waitText", selector=".message.problem", text="The password is wrong")
    assert (browser.texts(".entry"), world.opens(made)) == ([], 0)
    browser.tell("type", selector="input[type=password]", text=PASSWORD)
    browser.tell("press", key="Enter")
    browser.tell("waitText", selector=".entry .text", text="note.txt")
    assert world.opens(made) == 1
    world.kept_from(secret_of(made), base64.urlsafe_b64decode(secret_of(made)[1:] + "=="), PASSWORD)
    quiet(browser, 401)


def test_what_opens_nothing_is_said_in_one_sentence(browser: Browser, world: World, link: str) -> None:
    def says(address: str, sentence: str) -> None:
        browser.tell("open", url=address)
        browser.tell("waitText", selector=".message.problem", text=sentence)
        assert "#" not in browser.tell("run", script="location.href")
        assert len(browser.texts(".message.problem")) == 1

    says(link[:-1], "The link is not whole")
    says(link.replace(id_of(link), "0" * 32), "There is nothing at this link")
    once, brief = world.share("--opens", "1"), world.share("--expires", "1h")
    browser.tell("open", url=once)
    browser.tell("wait", selector=".entry")
    says(once, "opened as often as it may be")
    world.server.clock.offset_ns += 2 * 3600 * 10**9
    says(brief, "has expired")
    world.recording.alter = "/manifest"
    says(link, "was altered or is damaged")
    for _ in range(6):
        world.owner("POST", f"/api/v1/shares/{id_of(link)}/open", {"auth": text(bytes(32))})
    says(link, "Too many tries")
    world.server.clock.offset_ns += 601 * 10**9
    quiet(browser, 404, 410, 429)


def test_taken_back_while_it_is_open(browser: Browser, world: World) -> None:
    browser.clear()
    made = world.share()
    browser.tell("open", url=made)
    browser.tell("clickText", selector=".entry", text="note.txt")
    browser.tell("wait", selector=".preview-text")
    seen: list[str] = []

    def second(path: str) -> None:
        """In the middle of a download."""
        if "/segments/" in path:
            seen.append(path)
            if len(seen) == 2:
                world.revoke(made)

    browser.tell("go", hash="#/files/share")
    browser.tell("waitText", selector="h1", text="photos")
    world.recording.before = second
    browser.tell("clickText", selector="main .button", text="Download as ZIP")
    browser.tell("clickText", selector="dialog .primary", text="Download the rest")
    browser.tell("waitText", selector=".job.failed", text="This share was taken back")
    assert browser.texts(".job.done") == [] and list(browser.downloads.iterdir()) == []
    assert "Not finished, and nothing was kept." in browser.texts(".job.failed .state")[0]
    browser.tell("go", hash="#/file/share/film.mp4")
    browser.tell("clickText", selector="main .button", text="Download")
    browser.tell("waitText", selector=".job.failed .name", text="film.mp4")
    assert browser.texts(".job.done") == [] and list(browser.downloads.iterdir()) == []
    browser.tell("open", url=made)
    browser.tell("waitText", selector=".message.problem", text="This share was taken back")
    quiet(browser, 410)


def test_its_owner_sees_who_came_and_takes_it_back(browser: Browser, world: World) -> None:
    made = world.share("--expires", "30d", "--opens", "3")
    browser.tell("open", url=made)
    browser.tell("wait", selector=".entry")
    browser.tell("open", url=f"{world.url}/login")
    order = {"name": "anna", "login": text(world.owner.login), "code": world.owner.recovery.pop()}  # type: ignore[attr-defined]
    options = {"method": "POST", "headers": {"X-Safehold": "1", "Content-Type": "application/json"}, "body": json.dumps(order)}
    assert browser.tell("run", script=f"fetch('/api/v1/login', {json.dumps(options)}).then((answer) => answer.status)") == 200
    browser.tell("open", url=world.url)
    browser.tell("clickText", selector="a.button", text="Shares")
    browser.tell("waitText", selector="tbody tr", text=id_of(made)[:8])
    row = next(each for each in browser.texts("tbody tr") if id_of(made)[:8] in each)
    assert "1 of 3" in row and "Open" in row
    assert any("share create latest:" in each for each in browser.texts("pre"))
    find = f"[...document.querySelectorAll('tbody tr')].find((row) => row.textContent.includes('{id_of(made)[:8]}'))"
    browser.tell("run", script=f"{find}.querySelectorAll('button')[0].click()")
    browser.tell("waitText", selector=".share-log li", text="Opened")
    browser.tell("clickText", selector=".share-log .primary", text="Close")
    browser.tell("run", script=f"{find}.querySelectorAll('button')[1].click()")
    browser.tell("clickText", selector="dialog .primary", text="Take back")
    browser.tell("waitText", selector=".toast", text="taken back")
    browser.tell("waitText", selector="tbody tr", text="Ended")
    assert next(each for each in world.owner("GET", f"{world.base}/shares").json["shares"] if each["id"] == id_of(made))[
        "revoked_ns"
    ]
    browser.tell("open", url=f"{world.url}/anna/home/shares", width=380)
    browser.tell("wait", selector="tbody tr")
    assert browser.tell("run", script="document.documentElement.scrollWidth <= innerWidth")
    quiet(browser)


def test_a_stranger_sends_files(browser: Browser, world: World, tmp_path: Path) -> None:
    asked = world.run("share", "request", "Pictures of the party", "--most-files", "3", "--most-size", "40M")
    made = str(asked["link"])
    files = {
        "Grüße.txt": b"hello",
        "empty": b"",
        "film.bin": os.urandom(3 << 20),
        "large.bin": os.urandom(38 << 20),
        "more.txt": b"more",
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    browser.tell("open", url=made)
    browser.tell("waitText", selector=".sent-note", text="Pictures of the party")
    assert "#" not in browser.tell("run", script="location.href")
    for name in ("Grüße.txt", "empty", "large.bin", "film.bin"):
        browser.tell("upload", selector="#files", path=str(tmp_path / name))
        browser.tell("waitText", selector=".sent-file .name", text=name)
    browser.tell("type", selector="input[autocomplete=name]", text=FRIEND)
    browser.tell("click", selector=".send .primary")
    browser.tell("waitText", selector=".send .message", text="3 files were sent")
    assert browser.texts(".sent-file.failed .state") == ["That is more than was asked for. Ask for more room."]
    world.kept_from("Grüße.txt", "large.bin", FRIEND)
    assert files["large.bin"][:64] not in b"".join(world.recording.received)
    came = world.folder / f"came-{browser.name}"
    told = world.run("share", "receive", "--target", str(came))["files"]
    assert sorted((each["name"], each["sender"]) for each in told) == [
        ("Grüße.txt", FRIEND),
        ("empty", FRIEND),
        ("large.bin", FRIEND),
    ]
    for name in ("Grüße.txt", "empty", "large.bin"):
        assert sha256((came / name).read_bytes()) == sha256(files[name])
    world.run("share", "request", "--end", str(asked["id"]))
    browser.tell("open", url=made)
    browser.tell("waitText", selector=".message.problem", text="This has ended")
    browser.tell("open", url=made[:-2] + ("AA" if made[-2:] != "AA" else "QA"))
    browser.tell("wait", selector=".message.problem")
    quiet(browser, 410)


def share_file(world: World, name: str, *words: str) -> tuple[Path, dict[str, Any]]:
    """A share file, and what the program said of it."""
    path = world.folder / f"{name}.safehold-share"
    return path, world.run("share", "create", f"latest:{world.source}/photos", "--file", str(path), *words)


def test_a_file_that_somebody_was_given(browser: Browser, world: World) -> None:
    key = world.folder / f"{browser.name}.key"
    path, made = share_file(world, f"given-{browser.name}", "--key-out", str(key))
    words, line = " ".join(made["words"]), key.read_text()
    browser.clear()
    before = len(world.recording.received)
    browser.tell("open", url=f"{world.url}/login")
    browser.tell("clickText", selector="a", text="share file?")
    browser.tell("upload", selector="#files", path=str(path))

    def tries(text: str, sentence: str) -> None:
        browser.tell("type", selector="textarea", text=text)
        browser.tell("click", selector=".unlock-form .primary")
        browser.tell("waitText", selector=".message.problem", text=sentence)

    wrong = words.split()
    wrong[0] = "abandon" if wrong[0] != "abandon" else "zoo"
    tries("acid zzz", "“zzz” is not in the list of words")
    tries(" ".join(words.split()[:-1]), "These are not the 12 words of this file")
    tries(" ".join(wrong), "These are not the 12 words of this file")
    tries(line.replace(line[15:47], "0" * 32), "belongs to another share file")
    browser.tell("type", selector="textarea", text=words.upper())
    browser.tell("click", selector=".unlock-form .primary")
    browser.tell("waitText", selector=".entry .text", text="Alps 2026")
    assert browser.texts("h1") == ["photos"]
    browser.tell("clickText", selector=".entry", text="film.mp4")
    browser.tell("waitText", selector="h1", text="film.mp4")
    browser.tell("clickText", selector="main .button", text="Download")
    browser.tell("waitText", selector=".job.done", text="Done and verified")
    assert sha256(browser.landed("film.mp4").read_bytes()) == sha256((world.source / "photos/film.mp4").read_bytes())
    browser.tell("clickText", selector=".tools .button", text="Close")
    browser.tell("waitText", selector="h1", text="Open a share file")
    assert browser.tell("run", script="location.pathname + location.hash") == "/open"
    sent = b"\n".join(world.recording.received[before:])
    for secret in (words.split()[0].encode() + b" " + words.split()[1].encode(), line.strip().split("#")[1].encode()):
        assert secret not in sent
    assert b"PUT" not in sent and path.read_bytes()[8:40] not in sent
    quiet(browser, 401)


def test_files_that_are_no_share_or_not_whole(browser: Browser, world: World) -> None:
    path, _ = share_file(world, f"locked-{browser.name}", "--password")
    data = path.read_bytes()
    broken = world.folder / "broken"
    browser.tell("open", url=f"{world.url}/open")
    for content, sentence in (
        (b"", "This is no share file"),
        (b"SHSHFIL1", "The file is not whole"),
        (data[:-1], "The file is not whole"),
        (data[:1000] + data[1001:], "The file is not whole"),
        (data[1:], "This is no share file"),
    ):
        broken.write_bytes(content)
        browser.tell("upload", selector="#files", path=str(broken))
        browser.tell("waitText", selector=".message.problem", text=sentence)
    damaged = bytearray(data)
    damaged[-400] ^= 1  # in the listing
    for content, password, sentence in (
        (data, "over the fence", "The password is wrong"),
        (bytes(damaged), PASSWORD, "was altered or is damaged"),
    ):
        broken.write_bytes(content)
        browser.tell("upload", selector="#files", path=str(broken))
        browser.tell("type", selector="input[type=password]", text=password)
        browser.tell("click", selector=".unlock-form .primary")
        browser.tell("waitText", selector=".message.problem", text=sentence)
    quiet(browser)
