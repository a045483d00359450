"""People: the first account, logging in, second factors, and what strangers may try."""

from __future__ import annotations

import hashlib
import hmac
import unicodedata

import pyotp
import pytest
from argon2.low_level import Type, hash_secret_raw
from online_servers import Client, Person, ServerInThread, text

from safehold.cli.accounts import LOGIN, WRAP, Prelogin, login_key
from safehold.core.errors import FormatError


def test_the_first_account_needs_the_code_that_was_printed(server: ServerInThread) -> None:
    anna = Person(server.url, "anna")
    assert anna("GET", "/api/v1/state").json["first_run"] is True
    assert anna.register("0000-0000-0000-0000").status == 403
    assert anna.register(server.setup.code).status == 200
    assert anna("GET", "/api/v1/state").json["first_run"] is False
    assert anna("GET", "/api/v1/me").json["is_operator"] is True
    assert Person(server.url, "eve").register(server.setup.code).status == 403


@pytest.mark.parametrize("name", ["", "A", "a b", "-a", "a-", "a" * 64, "api", "ä", "../x", "<b>"])
def test_names_that_cannot_be(server: ServerInThread, name: str) -> None:
    answer = Person(server.url, name).register(server.setup.code)
    assert answer.status == 400 and "name" in answer.json["message"]


def test_logins_of_nobody_look_like_those_of_somebody(server: ServerInThread) -> None:
    server.owner()
    known = Client(server.url)("POST", "/api/v1/prelogin", {"name": "anna"}).json
    unknown = [Client(server.url)("POST", "/api/v1/prelogin", {"name": "nobody"}).json for _ in range(2)]
    assert unknown[0] == unknown[1] and unknown[0].keys() == known.keys()
    assert len(unknown[0]["salt"]) == len(known["salt"]) and unknown[0]["salt"] != known["salt"]
    wrong, nobody = Person(server.url, "anna", "wrong").log_in(), Person(server.url, "nobody", "wrong").log_in()
    assert wrong.status == nobody.status == 401 and wrong.json == nobody.json


def test_logins_are_limited(server: ServerInThread) -> None:
    anna = server.owner()
    eve = Person(server.url, "anna", "guess")
    statuses = [eve.log_in().status for _ in range(12)]
    assert statuses == [401] * 10 + [429] * 2
    refused = anna.log_in(code=pyotp.TOTP(anna.totp).now())
    assert refused.status == 429 and int(refused.headers["Retry-After"]) > 500
    server.clock.pass_days(0.01)
    assert anna.log_in(code=anna.recovery[0]).status == 200  # type: ignore[attr-defined]


def test_a_code_is_good_once(server: ServerInThread) -> None:
    anna = server.owner()
    needs = Person(server.url, "anna").log_in()
    assert needs.status == 401 and needs.headers["X-Safehold-Needs"] == "code"
    server.clock.offset_ns += 60 * 10**9
    code = pyotp.TOTP(anna.totp).at(server.clock.now_ns() // 10**9)
    assert anna.log_in(code=code).status == 200
    assert anna.log_in(code=code).status == 401
    recovery = anna.recovery[3]  # type: ignore[attr-defined]
    assert anna.log_in(code=f" {recovery[:5].upper()}-{recovery[5:]} ").status == 200
    assert anna.log_in(code=recovery).status == 401


def test_sessions_end(server: ServerInThread) -> None:
    anna = server.owner()
    assert anna("GET", "/api/v1/me").status == 200
    server.clock.pass_days(0.4)
    assert anna("GET", "/api/v1/me").status == 200  # used within twelve hours
    server.clock.pass_days(0.6)
    assert anna("GET", "/api/v1/me").status == 401
    anna.log_in(code=anna.recovery[0])  # type: ignore[attr-defined]
    before = dict(anna.headers)
    assert anna("POST", "/api/v1/logout").status == 204
    anna.headers = before
    assert anna("GET", "/api/v1/me").status == 401


def test_a_session_is_new_at_every_login(server: ServerInThread) -> None:
    """Session fixation: a cookie that somebody planted is not taken up."""
    anna = server.owner()
    planted = "safehold=" + "A" * 43
    answer = Client(server.url, Cookie=planted, X_Safehold="1")(
        "POST",
        "/api/v1/login",
        {"name": "anna", "login": text(anna.login), "code": anna.recovery[0]},  # type: ignore[attr-defined]
    )
    cookie = answer.headers["Set-Cookie"]
    assert answer.status == 200 and planted not in cookie
    assert "HttpOnly" in cookie and "SameSite=strict" in cookie and "Path=/" in cookie


@pytest.mark.parametrize(
    "changed",
    [
        {"Origin": "https://evil.example"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"X-Safehold": ""},
        {"Origin": "null"},
    ],
)
def test_other_sites_can_change_nothing(server: ServerInThread, changed: dict[str, str]) -> None:
    anna = server.owner()
    before = dict(anna.headers)
    anna.headers = {**before, **changed}
    assert anna("POST", "/api/v1/repositories", {"name": "forged"}).status == 403
    anna.headers = before
    assert anna("GET", "/api/v1/me").json["repositories"] == []


def test_every_answer_carries_what_guards_a_browser(server: ServerInThread) -> None:
    for path in ("/api/v1/state", "/api/v1/me", "/nowhere"):
        headers = Client(server.url)("GET", path).headers
        assert (
            "default-src 'none'" in headers["Content-Security-Policy"]
            and "unsafe-inline" not in headers["Content-Security-Policy"]
        )
        assert headers["Referrer-Policy"] == "no-referrer" and headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cache-Control"] == "no-store"
        assert "server" not in headers


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'{"name": 5}', b"\xff\xfe", b"[" * 100_000, b'{"name": "' + b"a" * (1 << 21) + b'"}']
)
def test_bodies_that_make_no_sense(server: ServerInThread, body: bytes) -> None:
    answer = Client(server.url)("POST", "/api/v1/prelogin", data=body)
    assert answer.status in (400, 413) and answer.json["message"]


def test_a_client_refuses_a_cheap_derivation() -> None:
    """A hostile server must not be able to make the password cheap to guess."""
    for cheap in (Prelogin(bytes(16), 8, 1, 1), Prelogin(bytes(16), 65536, 2, 1), Prelogin(bytes(16), 1 << 30, 3, 1)):
        with pytest.raises(FormatError):
            login_key("password", cheap)


ANSWERS = {
    "login": "bbcb11d9d62c1ea73eb0100bc88c7fb7675d0728417ae324525596460cbf6dbf",
    "wrap": "50e90c63f9789969adba6fba9c639c0e117532b8d1e9ea08e4cdffe2c5f6d24c",
}


def test_known_answer_of_a_password() -> None:
    """Made with the reference implementation of Argon2 and with HMAC by itself; tests/web compares the pages with the same."""
    name, salt = "\u00c4pfel & Birnen \u82f9\u679c", bytes(range(16))
    master = hash_secret_raw(name.encode(), salt, 3, 65536, 1, 32, Type.ID, 0x13)
    expanded = {info: hmac.new(master, info + b"\x01", hashlib.sha256).hexdigest() for info in (LOGIN, WRAP)}
    assert expanded == {LOGIN: ANSWERS["login"], WRAP: ANSWERS["wrap"]}
    assert login_key(name, Prelogin(salt, 65536, 3, 1)).hex() == ANSWERS["login"]
    decomposed = unicodedata.normalize("NFD", name)  # as macOS types it
    assert decomposed != name and login_key(decomposed, Prelogin(salt, 65536, 3, 1)).hex() == ANSWERS["login"]


def test_tokens_make_no_tokens_and_scopes_are_checked(server: ServerInThread) -> None:
    anna = server.owner()
    anna.repository()
    token = Client(server.url, anna.token("admin"))
    assert token("POST", "/api/v1/tokens", {"scope": "read"}).status == 403
    for scope in ("", "root", "read+root", "READ"):
        assert anna("POST", "/api/v1/tokens", {"scope": scope}).status == 400, scope
    assert anna("POST", "/api/v1/tokens", {"scope": "read", "networks": "nonsense"}).status == 400
    assert token("DELETE", f"/api/v1/tokens/{'0' * 32}").status == 403
