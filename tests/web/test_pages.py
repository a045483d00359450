"""What holds for every page: its texts in every language, no markup from data, no code from elsewhere, and how it is served."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from web_reader import evaluate

from safehold.server import pages, web_files
from safehold.server.answers import refused
from safehold.server.errors import Refusal
from safehold.server.policy import SECURITY

WEB = web_files.FOLDER
OURS = sorted(path for path in WEB.rglob("*.js") if "vendor" not in path.parts)
LANGUAGES = ["de", "zh"]


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Language -> key -> text, or texts by plural."""
    found: dict[str, dict[str, Any]] = {}
    for language in ["en", *LANGUAGES]:
        own = [path for path in (WEB / "i18n").iterdir() if path.stem.split("-")[-1] == language]
        files = sorted(own, key=lambda path: path.stem.rpartition("-")[0])
        imports = "".join(f"import t{number} from '{path}';" for number, path in enumerate(files))
        script = f"{imports} console.log(JSON.stringify([{', '.join(f't{number}' for number in range(len(files)))}]));"
        parts = json.loads(evaluate(script, tmp_path_factory.mktemp("texts")))
        found[language] = {key: text for part in parts for key, text in part.items()}
        assert len(found[language]) == sum(map(len, parts)), "a key stands in two files"
    return found


def forms(text: Any) -> list[str]:
    return list(text.values()) if isinstance(text, dict) else [text]


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_has_every_text(texts: dict[str, dict[str, Any]], language: str) -> None:
    assert list(texts[language]) == list(texts["en"])
    for key, text in texts["en"].items():
        other = texts[language][key]
        assert isinstance(other, dict) == isinstance(text, dict), key
        assert all(form.strip() for form in forms(other)), key
        for form in forms(other):
            assert sorted(re.findall(r"\{\w+\}", form)) == sorted(re.findall(r"\{\w+\}", forms(text)[-1])), key
    plurals = {"de": {"one", "other"}, "zh": {"other"}}[language]
    assert all(set(text) == plurals for text in texts[language].values() if isinstance(text, dict))


def test_every_text_is_used_and_every_used_text_is_there(texts: dict[str, dict[str, Any]]) -> None:
    source = "\n".join(path.read_text() for path in OURS if "i18n" not in path.parts)
    whole = set(re.findall(r"'([a-z]+(?:\.[a-z0-9-]+)+)'", source)) & set(texts["en"])
    begun = [re.escape(text) for text in re.findall(r"`([a-z]+\.[a-z-]*)\$\{", source)]
    unused = [key for key in texts["en"] if key not in whole and not any(re.match(start, key) for start in begun)]
    assert unused == []
    called = set(re.findall(r"\bt\('([^']+)'", source))
    assert called <= texts["en"].keys()


def test_every_problem_has_a_sentence(texts: dict[str, dict[str, Any]]) -> None:
    codes = {code for path in OURS for code in re.findall(r"new ReadError\(\s*'([a-z-]+)'", path.read_text())}
    assert len(codes) > 10
    assert {f"problem.{code}" for code in codes - {"locked"}} <= texts["en"].keys()  # that one is not said: the page shows it
    told = {key.removeprefix("problem.") for key in texts["en"] if key.startswith("problem.")}
    assert told - codes == {"words-count", "other"}


@pytest.mark.parametrize("path", OURS, ids=lambda path: path.relative_to(WEB).as_posix())
def test_no_page_reads_data_as_markup_or_code(path: Path) -> None:
    source = path.read_text()
    for forbidden in (
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
        "new Function",
        "srcdoc",
        "DOMParser",
    ):
        assert forbidden not in source, forbidden
    addresses = set(re.findall(r"https?://[^\s'\"`)]+", source))
    assert addresses <= {"http://www.w3.org/2000/svg"}
    assert len(source.splitlines()) < 400


@pytest.mark.parametrize("name", ["index.html", "local.html"])
def test_the_document_has_no_script_or_style_of_its_own(name: str) -> None:
    document = (WEB / name).read_text()
    assert not re.search(r"<script(?![^>]*\bsrc=\"/web/)|<style|\bstyle=|\son\w+=", document)
    assert not re.search(r"(?:src|href)=\"(?!/web/)", document)


def test_colours_can_be_read() -> None:
    """WCAG AA: text on what it stands on has a contrast of at least 4.5, in light and in dark."""
    css = (WEB / "style" / "base.css").read_text()
    named = re.findall(r"--([a-z-]+): light-dark\((#[0-9a-f]{6}), (#[0-9a-f]{6})\);", css)
    light, dark = {name: colour for name, colour, _ in named}, {name: colour for name, _, colour in named}
    pairs = [(text, ground) for text in ("ink", "ink-soft", "accent") for ground in ("ground", "surface", "raised", "sunken")]
    pairs += [("ink-soft", "tag"), ("on-accent", "accent"), ("on-accent", "accent-strong"), ("accent-strong", "accent-soft")]
    pairs += [(name, f"{name}-soft") for name in ("danger", "warning", "added")] + [
        (name, "raised") for name in ("danger", "added")
    ]
    for colours in (light, dark):
        for text, ground in pairs:
            assert contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
        assert contrast(colours["line-strong"], colours["surface"]) >= 3  # the edges of fields


def contrast(one: str, other: str) -> float:
    bright, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


# How they are served.


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes


async def refusal(_request: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)
    return refused(error)


def ask(path: str, **headers: str) -> Answer:
    """What the routes answer, asked as a server asks an application; the path is not tidied up by any client."""
    scope = {
        "type": "http",
        "method": "GET",
        "path": unquote(path),
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(name.replace("_", "-").lower().encode(), value.encode()) for name, value in headers.items()],
    }
    sent: list[MutableMapping[str, Any]] = []

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.request", "body": b""}

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    asyncio.run(Starlette(routes=pages.ROUTES, exception_handlers={Refusal: refusal})(scope, receive, send))
    found = {name.decode().lower(): value.decode() for name, value in sent[0]["headers"]}
    return Answer(sent[0]["status"], found, b"".join(message.get("body", b"") for message in sent[1:]))


@pytest.mark.parametrize(
    ("path", "type"),
    [
        ("/", "text/html; charset=utf-8"),
        ("/anna/home", "text/html; charset=utf-8"),
        ("/web/shell.js", "text/javascript; charset=utf-8"),
        ("/web/style/base.css", "text/css; charset=utf-8"),
        ("/web/style/icon.svg", "image/svg+xml"),
        ("/web/vendor/zstddec.wasm", "application/wasm"),
    ],
)
def test_files_come_with_their_types(path: str, type: str) -> None:
    answer = ask(path)
    assert (answer.status, answer.headers["content-type"]) == (200, type)
    again = ask(path, If_None_Match=answer.headers["etag"])
    assert (again.status, again.body) == (304, b"")


@pytest.mark.parametrize(
    "path", ["/web/../app.py", "/web/%2e%2e/app.py", "/web/..%2fapp.py", "/web//etc/passwd", "/web/", "/web/no.js", "/api/v1/no"]
)
def test_nothing_else_comes(path: str) -> None:
    assert ask(path).status == 404


def test_the_policy_lets_only_our_own_code_run() -> None:
    policy = dict(part.strip().split(" ", 1) for part in SECURITY["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == "'self' 'wasm-unsafe-eval'"
    assert policy["style-src"] == policy["connect-src"] == "'self'"
    assert (policy["frame-src"], policy["base-uri"], policy["frame-ancestors"]) == ("blob:", "'none'", "'none'")
