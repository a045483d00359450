"""Wrong input, and where the repository and the key come from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_program import Program

from safehold.codec import passphrase
from safehold.core.errors import SafeholdError


@pytest.fixture(autouse=True)
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passphrase, "STANDARD", passphrase.FLOOR)


@pytest.fixture
def secret(program: Program) -> Program:
    """A repository with the passphrase ``secret``."""
    program.set(SAFEHOLD_PASSWORD="secret", SAFEHOLD_REPO=str(program.repository))
    program.do("init")
    program.set(SAFEHOLD_PASSWORD=None)
    return program


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "No command was given."),
        (("bakcup", "x"), "There is no command `bakcup`. Did you mean `backup`?"),
        (("key",), "`safehold key` needs another word: list, add, remove, rotate, recovery, writer."),
        (("key", "lst"), "There is no command `key lst`. Did you mean `list`?"),
        (("backup",), "`safehold backup` needs SOURCE."),
        (("backup", "x", "--exlude", "y"), "`safehold backup` has no option `--exlude`. Did you mean `--exclude`"),
        (("backup", "x", "--level", "high"), "--level wants a number, not 'high'."),
        (("backup", "x", "--level", "77"), "--level is a number from 1 to 19."),
        (("backup", "x", "--exclude", "/"), "would leave out everything"),
        (("backup", "x", "--exclude-file", "none"), "The exclude file none cannot be read"),
        (("restore", "latest"), "`safehold restore` needs -t/--target."),
        (("restore", "latest", "-t", "x", "--overwrite", "maybe"), "--overwrite is one of"),
        (("snapshots", "extra"), "`safehold snapshots` does not take `extra`."),
        (("--jsno", "snapshots"), "`safehold` has no option `--jsno`. Did you mean `--json`?"),
        (("snapshots", "--key-file", "a", "--recovery"), "only one can be meant"),
        (("-r",), "The option -r/--repo needs a value."),
    ],
)  # fmt: skip
def test_wrong_use_ends_with_2_and_one_sentence(secret: Program, words: tuple[str, ...], said: str) -> None:
    ran = secret(*words)
    assert (ran.status, ran.out) == (2, "")
    assert said in ran.err and ran.err.count("\n") == 1 and ran.err.startswith("safehold: ")


def test_no_repository_named(program: Program) -> None:
    ran = program("snapshots")
    assert ran.status == 2 and "SAFEHOLD_REPO" in ran.err


def test_no_repository_there(program: Program, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    for place in (tmp_path / "folder", tmp_path / "absent"):
        ran = program("-r", place, "snapshots")
        assert ran.status == 10 and "safehold init" in ran.err
    assert program("-r", tmp_path / "drive" / "absent", "snapshots").status == 14
    assert program("-r", "volumes:usb", "snapshots").status == 2
    (tmp_path / "file").touch()
    for words in (("init", tmp_path / "file" / "x"), ("-r", tmp_path / "file", "snapshots")):
        ran = program(*words, "--key-file", "new.key")
        assert ran.status in (1, 14) and str(tmp_path / "file") in ran.err
    assert not (tmp_path / "new.key").exists()


def test_one_is_there_already(secret: Program) -> None:
    assert secret("init").status == 11
    assert secret("init", "elsewhere", "--repo", "other").status == 2


def test_wrong_passphrase_and_wrong_key(secret: Program, tmp_path: Path) -> None:
    secret.set(SAFEHOLD_PASSWORD="Secret")
    ran = secret("snapshots", "--json")
    assert ran.status == 12
    assert ran.events[-1]["code"] == "wrong-key" and ran.events[-1]["status"] == 12
    (tmp_path / "no.key").write_text("rubbish")
    assert secret("--key-file", tmp_path / "no.key", "snapshots").status == 12
    assert secret("--key-file", tmp_path / "absent.key", "snapshots").status == 12
    secret.set(SAFEHOLD_PASSWORD="")
    assert secret("snapshots").status == 2


def test_a_newer_repository_is_left_alone(secret: Program) -> None:
    for name in ("config", "config-copy"):
        config = secret.repository / name
        line, _, rest = config.read_bytes().partition(b"\n")
        config.chmod(0o600)
        config.write_bytes(json.dumps({**json.loads(line), "version": 99}).encode() + b"\n" + rest)
    secret.set(SAFEHOLD_PASSWORD="secret")
    ran = secret("snapshots")
    assert ran.status == 1 and "newer Safehold" in ran.err


def test_where_the_passphrase_comes_from(secret: Program, tmp_path: Path) -> None:
    (tmp_path / "right").write_text("secret\n")
    (tmp_path / "wrong").write_text("other\r\n")
    assert secret("snapshots", "--password-file", tmp_path / "right").status == 0
    secret.set(SAFEHOLD_PASSWORD_FILE=str(tmp_path / "right"))
    assert secret("snapshots").status == 0
    secret.set(SAFEHOLD_PASSWORD="other")
    assert secret("snapshots").status == 12, "the passphrase itself goes before the file"
    assert secret("--password-file", tmp_path / "right", "snapshots").status == 0, "options go before variables"
    secret.set(SAFEHOLD_PASSWORD=None, SAFEHOLD_PASSWORD_FILE=None, SAFEHOLD_PASSWORD_COMMAND="printf 'sec%s' ret")
    assert secret("snapshots").status == 0
    secret.set(SAFEHOLD_PASSWORD_COMMAND="false")
    ran = secret("snapshots")
    assert ran.status == 2 and "failed with status 1" in ran.err
    secret.set(SAFEHOLD_PASSWORD_COMMAND=None)
    assert secret("--password-file", tmp_path / "absent", "snapshots").status == 2


def test_the_keyring_is_asked(secret: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    import keyring

    asked = []

    def answer(service: str, account: str) -> str:
        asked.append((service, account))
        return "secret"

    monkeypatch.setattr(keyring, "get_password", answer)
    assert secret("snapshots").status == 0
    assert asked == [("safehold", str(secret.repository))]


def test_configuration(secret: Program, tmp_path: Path) -> None:
    folder = tmp_path / "config" / "safehold"
    folder.mkdir(parents=True)
    (folder / "pass").write_text("secret")
    secret.set(SAFEHOLD_REPO=None)
    text = f'repository = "home"\n\n[repositories.home]\nlocation = "{secret.repository}"\npassword-file = "pass"\n'
    (folder / "config.toml").write_text(text)
    assert secret("snapshots").status == 0
    assert secret("snapshots", "-r", "home").status == 0
    (tmp_path / "other.toml").write_text('cache-dir = "c"\n')
    assert secret("--config", "other.toml", "snapshots").status == 2
    assert secret("--config", "absent.toml", "snapshots").status == 2
    secret.set(SAFEHOLD_PASSWORD="secret")
    assert secret("--config", "other.toml", "-r", secret.repository, "snapshots").status == 0
    assert (tmp_path / "c" / "CACHEDIR.TAG").read_bytes().startswith(b"Signature: 8a477f597d28d172789f06886806bc55")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('repo = "x"\n', "line 1: `repo` is no setting."),
        ("\nrepository = 3\n", "line 2: `repository` must be a text in quotes."),
        ('[repositories.a]\nlocation = "x"\n\n[repositories.b]\nlocation = "x"\npasword-file = "y"\n',
         "line 6: `pasword-file` is no setting. Did you mean `password-file`?"),
        ('[repositories.a]\nkey-file = "x"\n', "line 1: repositories.a has no `location`."),
        ('[repositories]\na = "x"\n', "line 2: repositories.a must be a table."),
        ("repository = \n", "this is not TOML"),
    ],
)  # fmt: skip
def test_configuration_errors_name_file_line_and_key(program: Program, tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "c.toml").write_text(text)
    ran = program("--config", "c.toml", "snapshots")
    assert ran.status == 2 and said in ran.err and "c.toml" in ran.err


def test_options_stand_before_or_after_the_command(secret: Program) -> None:
    secret.set(SAFEHOLD_PASSWORD="secret", SAFEHOLD_REPO=None)
    r = str(secret.repository)
    for words in (("-r", r, "key", "list"), ("key", "-r", r, "list"), ("key", "list", "-r", r), (f"--repo={r}", "key", "list")):
        assert secret(*words).status == 0, words
    assert secret("-r", "/nowhere/at/all", "snapshots", "-r", r).status == 0, "the last one counts"


def test_a_bug_is_one_sentence(secret: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    from safehold.cli import call

    def break_down(*_: object) -> None:
        raise ZeroDivisionError("no\nway")

    monkeypatch.setattr(call.Call, "repository", break_down)
    ran = secret("snapshots")
    assert ran.status == 1
    assert "(ZeroDivisionError: no way); this is a bug." in ran.err and ran.err.count("\n") == 1


def test_store_errors_keep_their_status(secret: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    from safehold.cli import call
    from safehold.core.errors import StoreFull, StoreUnreachable

    errors: list[SafeholdError] = [StoreFull("Full.", "Buy more."), StoreUnreachable("Gone.")]
    for error, status in zip(errors, (15, 14), strict=True):

        def fail(*_: object, error: SafeholdError = error) -> None:
            raise error

        monkeypatch.setattr(call.Call, "repository", fail)
        assert secret("snapshots").status == status


def test_quiet(secret: Program, tmp_path: Path) -> None:
    secret.set(SAFEHOLD_PASSWORD="secret")
    ran = secret.do("-q", "init", tmp_path / "new") if secret.set(SAFEHOLD_REPO=None) is None else None
    assert ran is not None and ran.err == "" and "Made a repository" in ran.out


def test_validate_a_store(secret: Program) -> None:
    before = sorted(secret.repository.rglob("*"))
    ran = secret.do("store", "validate", secret.repository, "--json")
    assert len(ran.lines) > 10 and all(line["ok"] for line in ran.lines)
    assert [path for path in sorted(secret.repository.rglob("*")) if path not in before and path.is_file()] == []


def test_a_target_that_takes_no_file_is_one_sentence(secret: Program, tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source/file").write_bytes(b"x")
    secret.set(SAFEHOLD_PASSWORD="secret")
    secret("backup", tmp_path / "source")
    for path in ("", f":{tmp_path}/source", f":{tmp_path}/source/file"):
        ran = secret("restore", f"latest{path}", "--target", "/proc")
        assert ran.status == 1
        assert any("/proc" in line and "takes no files" in line for line in ran.err.splitlines())
        assert "could not be restored; all others were" not in ran.err
