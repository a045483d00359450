"""The pages of a repository in real browsers: opened, looked through, downloaded from; and nothing half done is called done."""

from __future__ import annotations

import os
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from web_browser import NAMES, Browser, running, sha256
from web_repository import EVIL, LARGE, PASSPHRASE, Made, make
from web_server import BASE, Server, serving

NO_PICKER = "delete window.showSaveFilePicker;"
PICKER = """window.showSaveFilePicker = async ({ suggestedName }) => {
  const handle = await (await navigator.storage.getDirectory()).getFileHandle(suggestedName, { create: true });
  window.picked = handle;
  return handle;
};"""
"""Stands for the person who chooses a place: no browser can be driven through the system's own dialog."""


OVERFLOWING = """document.documentElement.scrollWidth <= innerWidth ? [] :
  [...document.querySelectorAll('body *')].filter((each) => each.getBoundingClientRect().right > innerWidth).map((each) => each.className)"""
"""What does not fit beside each other."""
LEFT = f"""navigator.storage.getDirectory().then(async (root) => {{
    const folder = await root.getDirectoryHandle('downloads').catch(() => null);
    const names = [];
    if (folder) for await (const [name, handle] of folder) if ((await handle.getFile()).size < {LARGE}) names.push(name);
    return names;
}})"""
"""What lies half finished in the browser's private files."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make(tmp_path_factory.mktemp("web"))


@pytest.fixture(scope="module")
def server(made: Made) -> Iterator[Server]:
    with serving(made.folder) as running_server:
        yield running_server


@pytest.fixture(scope="module", params=NAMES)
def browser(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with running(request.param, tmp_path_factory.mktemp(request.param)) as started:
        yield started


@pytest.fixture(autouse=True)
def whole(server: Server) -> Iterator[None]:
    server.cut_after = None
    yield
    server.cut_after = None


def unlock(browser: Browser, server: Server, made: Made, before: str = NO_PICKER, **options: int) -> None:
    """By the recovery words, which are not stretched as a passphrase is."""
    browser.tell("open", url=f"{server.url}/anna/home", before=before, **options)
    browser.tell("click", selector="input[value=words]")
    browser.tell("run", script=f"document.querySelector('#secret').value = {made.words!r}")
    browser.tell("click", selector=".unlock-form .primary")
    browser.tell("wait", selector=".snapshot")


def place(made: Made, view: str, *path: str | bytes, snapshot: int = -1) -> str:
    """The fragment of a view of a path below the source."""
    names = [*os.fsencode(made.source).split(b"/")[1:], *map(os.fsencode, path)]
    encoded = ["".join(f"%{byte:02X}" for byte in name) for name in names]
    return f"#/{view}/{made.snapshots[snapshot][:16]}/{'/'.join(encoded)}"


def quiet(browser: Browser) -> None:
    """Nothing came from elsewhere, no script failed, no policy was broken."""
    assert browser.tell("heard") == {"errors": [], "foreign": []}
    assert browser.tell("run", script="window.hurt ?? null") is None


def test_unlocking_and_looking(browser: Browser, server: Server, made: Made) -> None:
    browser.tell("open", url=f"{server.url}/anna/home")
    browser.tell("type", selector="#secret", text="wrong")
    browser.tell("click", selector=".unlock-form .primary")
    browser.tell("wait", selector=".message.problem")
    assert browser.texts(".message.problem") == ["That key opens nothing here. Check what you typed, or use another key."]
    browser.tell("type", selector="#secret", text=PASSPHRASE)
    browser.tell("click", selector=".unlock-form .primary")
    browser.tell("wait", selector=".snapshot")
    assert len(browser.texts(".snapshot")) == 6
    browser.tell("clickText", selector="button.day", text="19")
    assert len(browser.texts(".snapshot")) == 1
    browser.tell("clickText", selector="button.day", text="19")
    browser.tell("click", selector=".snapshot a")
    browser.tell("waitText", selector=".entry .text", text="Documents")
    assert browser.texts(".entry .text") == ["Documents", "Notes", "Pictures", "Strange", "Videos"]
    browser.tell("clickText", selector=".entry", text="Notes")
    browser.tell("waitText", selector="h1", text="Notes")
    assert browser.texts(".entry .text")[:3] == ["note 0.txt", "note 1.txt", "note 2.txt"]  # as people count
    for _ in range(2):
        browser.tell("press", key="ArrowDown")
    assert server.asked
    assert not [path for path in server.asked if "Notes" in path or "Documents" in path or PASSPHRASE in path]
    quiet(browser)


def test_by_keyboard_alone(browser: Browser, server: Server, made: Made) -> None:
    browser.tell("open", url=f"{server.url}/anna/home")
    browser.tell("wait", selector="#secret")
    browser.tell("run", script=f"document.querySelector('#secret').value = {PASSPHRASE!r}")
    browser.tell("press", key="Enter")
    browser.tell("wait", selector=".snapshot")
    browser.tell("go", hash=place(made, "files"))
    browser.tell("waitText", selector=".entry", text="Documents")
    browser.tell("run", script="document.querySelector('.entry').focus()")
    browser.tell("press", key="ArrowDown")
    browser.tell("press", key="ArrowDown")
    browser.tell("press", key="Enter")
    browser.tell("waitText", selector="h1", text="Pictures")
    browser.tell("run", script="document.querySelector('.entry').focus()")
    browser.tell("press", key="Backspace")
    browser.tell("waitText", selector="h1", text="anna")
    quiet(browser)


def test_recovery_words_and_lock(browser: Browser, server: Server, made: Made) -> None:
    browser.tell("open", url=f"{server.url}/anna/home")
    browser.tell("click", selector="input[value=words]")
    browser.tell("type", selector="#secret", text=made.words.upper())
    browser.tell("click", selector=".unlock-form .primary")
    browser.tell("wait", selector=".snapshot")
    browser.tell("clickText", selector=".header .button", text="Lock")
    browser.tell("wait", selector="#secret")
    assert browser.texts(".snapshot") == []
    assert "forgotten" in browser.texts(".message")[0]
    browser.tell("click", selector="input[value=file]")
    (browser.downloads.parent / "no.key").write_text("nothing of the kind")
    browser.tell("upload", selector="#secret", path=str(browser.downloads.parent / "no.key"))
    browser.tell("click", selector=".unlock-form .primary")
    browser.tell("waitText", selector=".message.problem", text="no Safehold key file")
    quiet(browser)


def test_previews(browser: Browser, server: Server, made: Made) -> None:
    unlock(browser, server, made)
    browser.tell("go", hash=place(made, "file", "Documents", "shopping.txt"))
    browser.tell("wait", selector=".preview-text")
    assert browser.texts(".preview-text")[0].encode() == (made.source / "Documents/shopping.txt").read_bytes()
    browser.tell("go", hash=place(made, "file", "Pictures", "Alps 2026", "IMG_0003.png"))
    browser.tell("wait", selector=".preview-picture img")
    shown = "document.querySelector('.preview-picture img').decode().then(() => document.querySelector('.preview-picture img').naturalWidth)"
    assert browser.tell("run", script=shown) == 640
    for name in ("drawing.svg", "page.html"):
        browser.tell("go", hash=place(made, "file", "Documents", name))
        browser.tell("waitText", selector="h1", text=name)
        browser.tell("wait", selector=".preview-text")
        assert browser.texts(".preview-text")[0].encode() == (made.source / "Documents" / name).read_bytes()
    browser.tell("go", hash=place(made, "file", "Documents", "Contract.pdf"))
    browser.tell("wait", selector="iframe.preview-pdf")
    quiet(browser)


def test_names_that_mean_harm(browser: Browser, server: Server, made: Made) -> None:
    unlock(browser, server, made)
    browser.tell("go", hash=place(made, "files", "Strange"))
    browser.tell("waitText", selector="h1", text="Strange")
    assert len(browser.texts(".entry")) == len(EVIL)
    assert browser.tell("run", script="document.querySelectorAll('main img, main script').length") == 0
    assert "rechnung\ufffdgnp.exe" in browser.texts(".entry .text")
    for name in EVIL[:4]:
        browser.tell("go", hash=place(made, "file", "Strange", *name.split(b"/")[:2]))
        browser.tell("waitText", selector=".preview-text", text="harmless")
    browser.tell("go", hash=place(made, "search") + "?q=" + "%3Cimg%20src%3Dx%20onerror%3Dwindow.hurt%3D1%3E")
    browser.tell("waitText", selector="[role=status]", text="1 found")
    quiet(browser)


def test_search_history_comparison(browser: Browser, server: Server, made: Made) -> None:
    unlock(browser, server, made)
    browser.tell("go", hash=place(made, "search") + "?q=NOTE%204")
    browser.tell("waitText", selector="[role=status]", text="61 found")  # 4, 40 to 49, 400 to 449
    browser.tell("go", hash=place(made, "history", "Documents", "shopping.txt"))
    browser.tell("waitText", selector="[role=status]", text="2 versions")
    browser.tell("go", hash=f"#/compare/{made.snapshots[0][:16]}/{made.snapshots[2][:16]}")
    browser.tell("waitText", selector="[role=status]", text="1 new, 1 changed, 1 gone")
    found = sorted(zip(browser.texts(".compared .badge"), browser.texts(".compared .text"), strict=True))
    assert [(state, text.split("/")[0]) for state, text in found] == [
        ("Changed", "shopping.txt"),
        ("Gone", "old.txt"),
        ("New", "new.txt"),
    ]
    quiet(browser)


def test_a_file_lands_whole(browser: Browser, server: Server, made: Made) -> None:
    browser.clear()
    unlock(browser, server, made)
    browser.tell("go", hash=place(made, "file", "Videos", "birthday.mp4"))
    browser.tell("clickText", selector="main .button", text="Download")
    browser.tell("waitText", selector=".job.done", text="Done and verified")
    expected = (made.source / "Videos/birthday.mp4").read_bytes()
    assert sha256(browser.landed("birthday.mp4").read_bytes()) == sha256(expected)
    quiet(browser)


def test_a_folder_lands_as_a_whole_archive(browser: Browser, server: Server, made: Made) -> None:
    browser.clear()
    unlock(browser, server, made)
    browser.tell("go", hash=place(made, "files"))
    browser.tell("clickText", selector="main .button", text="Download as ZIP")
    browser.tell("clickText", selector="dialog .primary", text="Download the rest")  # there is one symbolic link
    browser.tell("waitText", selector=".job.done", text="Done and verified")
    with zipfile.ZipFile(browser.landed("anna.zip")) as archive:
        assert archive.testzip() is None
        found = {info.filename: archive.read(info) for info in archive.infolist()}
        moment = archive.getinfo("anna/Documents/Contract.pdf").date_time
    expected = {path.relative_to(made.source.parent): path for path in made.source.rglob("*") if not path.is_symlink()}
    files = {name: data for name, data in found.items() if not name.endswith("/")}
    assert len(files) == sum(path.is_file() for path in expected.values())
    plain = {str(name): path.read_bytes() for name, path in expected.items() if path.is_file() and "Strange" not in name.parts}
    assert {name: sha256(data) for name, data in files.items() if "/Strange/" not in name} == {
        name: sha256(data) for name, data in plain.items()
    }
    assert moment == (2026, 5, 12, 9, 0, 0)
    assert not [name for name in found if "\\" in name or ".." in name or "<" in name]
    quiet(browser)


def test_a_chosen_place(browser: Browser, server: Server, made: Made) -> None:
    """Where the browser lets the person choose: the file is there when it is whole, and not before."""
    unlock(browser, server, made, PICKER)
    browser.tell("go", hash=place(made, "file", "Videos", "birthday.mp4"))
    browser.tell("clickText", selector="main .button", text="Download")
    browser.tell("waitText", selector=".job.done", text="Done and verified")
    assert browser.tell("run", script="window.picked.getFile().then((file) => file.size)") == LARGE
    browser.tell("run", script="navigator.storage.getDirectory().then((root) => root.removeEntry('birthday.mp4'))")
    quiet(browser)


@pytest.mark.parametrize("before", [NO_PICKER, PICKER], ids=["private", "chosen"])
def test_a_download_that_is_cut_is_never_called_done(browser: Browser, server: Server, made: Made, before: str) -> None:
    browser.clear()
    unlock(
        browser,
        server,
        made,
        before
        + "const wait = window.setTimeout; window.setTimeout = (f, ms, ...more) => wait(f, ms > 200 && ms < 5000 ? 1 : ms, ...more);",
    )
    browser.tell("go", hash=place(made, "file", "Videos", "birthday.mp4"))
    browser.tell("waitText", selector="h1", text="birthday.mp4")
    server.cut_after = LARGE // 2
    browser.tell("clickText", selector="main .button", text="Download")
    browser.tell("waitText", selector=".job.failed", text="Not finished, and nothing was kept.")
    assert browser.texts(".job.done") == []
    assert [path.name for path in browser.downloads.iterdir()] == []
    if before == PICKER:
        assert browser.tell("run", script="window.picked.getFile().then((file) => file.size)") == 0
    assert browser.tell("run", script=LEFT) == []


def test_nobody_there_for_ten_minutes(browser: Browser, server: Server, made: Made) -> None:
    """The repository is locked, unless a download still runs."""
    shorter = "const wait = window.setTimeout; window.setTimeout = (f, ms, ...more) => wait(f, ms === 600000 ? window.idle ?? 600000 : ms, ...more);"
    unlock(browser, server, made, NO_PICKER + shorter)
    browser.tell("go", hash=place(made, "file", "Documents", "shopping.txt"))
    browser.tell("wait", selector=".preview-text")
    browser.tell("run", script="window.idle = 100; window.dispatchEvent(new KeyboardEvent('keydown', { key: 'a' }))")
    browser.tell("wait", selector="#secret")
    assert browser.texts(".preview-text") == []
    quiet(browser)


def test_locking_ends_a_download(browser: Browser, server: Server, made: Made) -> None:
    browser.clear()
    unlock(browser, server, made)
    browser.tell("go", hash=place(made, "file", "Videos", "birthday.mp4"))
    browser.tell("waitText", selector="h1", text="birthday.mp4")
    lock = "[...document.querySelectorAll('button')].find((each) => each.textContent.includes('Download')).click();"
    browser.tell(
        "run", script=f"{lock} setTimeout(() => document.querySelector('.header button .label').parentElement.click(), 30)"
    )
    browser.tell("waitText", selector=".job.failed", text="because the repository was locked")
    assert browser.texts(".job.done") == []
    assert list(browser.downloads.iterdir()) == []
    assert browser.tell("run", script=LEFT) == []


def test_damage_is_refused_and_said(browser: Browser, server: Server, made: Made, tmp_path: Path) -> None:
    """A server that changes bytes: of the file nothing is kept, and the rest can be read."""
    pack = max((made.folder / "packs").rglob("*"), key=lambda path: path.stat().st_size if path.is_file() else 0)
    body = pack.read_bytes()
    browser.clear()
    unlock(browser, server, made)
    try:
        pack.write_bytes(body[:5000] + bytes([body[5000] ^ 1]) + body[5001:])
        browser.tell("go", hash=place(made, "file", "Videos", "birthday.mp4"))
        browser.tell("waitText", selector="h1", text="birthday.mp4")
        browser.tell("clickText", selector="main .button", text="Download")
        browser.tell("waitText", selector=".job.failed", text="damaged and was refused")
        assert [path.name for path in browser.downloads.iterdir()] == []
        browser.tell("go", hash=place(made, "files", "Videos"))
        browser.tell("waitText", selector="h1", text="Videos")
        browser.tell("clickText", selector="main .button", text="Download as ZIP")
        browser.tell("waitText", selector="dialog", text="Videos/birthday.mp4")
        assert [path.name for path in browser.downloads.iterdir()] == []
        browser.tell("clickText", selector="dialog .primary", text="Download the rest")
        browser.tell("waitText", selector=".job.done", text="Done and verified")
        with zipfile.ZipFile(browser.landed("Videos.zip")) as archive:
            assert archive.namelist() == ["Videos/party.txt"]
    finally:
        pack.write_bytes(body)


@pytest.mark.parametrize(("language", "title"), [("de", "Sicherungen"), ("zh", "备份")])
def test_languages_themes_and_phones(browser: Browser, server: Server, made: Made, language: str, title: str) -> None:
    chosen = f"localStorage.setItem('safehold-language', '{language}'); localStorage.setItem('safehold-theme', 'dark');"
    before = f"try {{ {chosen} }} catch {{}}"  # the blank page before the first has no storage
    unlock(browser, server, made, NO_PICKER + before, width=360, height=740)
    assert browser.texts("h1") == [title]
    assert browser.tell("run", script="document.documentElement.lang") == language
    assert browser.tell("run", script="getComputedStyle(document.documentElement).colorScheme") == "dark"
    for view in ("files", "search", "history"):
        browser.tell("go", hash=place(made, view, *(["Documents", "shopping.txt"] if view == "history" else [])))
        browser.tell("wait", selector="h1.file-name, .search")
        assert browser.tell("run", script=OVERFLOWING) == []
    browser.tell("run", script="localStorage.clear()")
    quiet(browser)


def test_what_is_asked_of_the_server(server: Server) -> None:
    """Keys of objects, files of the pages, and nothing that says what anybody looks at."""
    asked = {path.split("?")[0] for path in server.asked}
    rest = {path for path in asked if not path.startswith((f"{BASE}/objects", "/web/"))}
    assert rest <= {"/anna/home", "/favicon.ico"}


def test_the_pages_of_this_machine(browser: Browser, made: Made) -> None:
    """`safehold ui`: opened once, by an address that leaves the address bar; looked into; and over when it has ended."""
    from safehold.server.local.serving import LocalServer
    from safehold.server.local.shelf import Offered, Shelf
    from safehold.storage.local import LocalStore

    store = LocalStore(made.folder, create=False)
    evil = "/mnt/<img src=x onerror=window.hurt=1>\u202egpj"
    with LocalServer(Shelf([Offered("home", evil, lambda: store), Offered("<b>", "/mnt/other", lambda: store)]), 0) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        browser.tell("open", url=server.address, before=NO_PICKER)
        browser.tell("waitText", selector=".device-words", text="/mnt/<img src=x onerror=window.hurt=1>\ufffdgpj")
        assert browser.tell("run", script="location.href").endswith("/")
        browser.tell("clickText", selector="main a", text="home")
        browser.tell("type", selector="#secret", text=PASSPHRASE)
        browser.tell("click", selector=".unlock-form .primary")
        browser.tell("wait", selector=".snapshot")
        browser.tell("go", hash=place(made, "file", "Documents", "Contract.pdf"))
        browser.tell("clickText", selector="main .button", text="Download")
        browser.tell("waitText", selector=".job.done", text="Done and verified")
        assert sha256(browser.landed("Contract.pdf").read_bytes()) == sha256(
            (made.source / "Documents/Contract.pdf").read_bytes()
        )
        quiet(browser)
        browser.tell("open", url=f"{server.address.partition('#')[0]}local/home")  # another tab of the same browser
        browser.tell("wait", selector="#secret")
        browser.tell("run", script="localStorage.clear()")
        browser.tell("open", url=server.address)
        browser.tell("waitText", selector=".message.problem", text="opened already")
        server.shutdown()
        thread.join()
    store.close()
