"""Files of plans: what stands in them, what is wrong in them, and changing them."""

from __future__ import annotations

from pathlib import Path

import pytest

from safehold.core.errors import ConfigError, UsageError
from safehold.jobs.plan import Plan
from safehold.jobs.plan_files import SETTINGS, PlanFiles, changed, made, parse
from safehold.jobs.running import backup_words, common_words

DOCUMENTED = (Path(__file__).parents[3] / "docs" / "plans.md").read_text()


def test_every_setting_is_documented() -> None:
    table = DOCUMENTED.partition("## What a plan says")[2].partition("\n## ")[0]
    assert [name for name in SETTINGS if f"`{name}`" not in table and not name.startswith("keep-")] == []


def test_a_plan_is_written_and_read(tmp_path: Path) -> None:
    files = PlanFiles(tmp_path)
    settings = {"sources": ["/home/anna/häuser", '/a "b"'], "every": "6h", "keep-daily": 7, "exclude-caches": True, "tag": ["x"]}
    path = files.write("home", made(settings), new=True)
    assert path == tmp_path / "plans" / "home.toml" and [each.name for each in files.all()] == ["home"]
    assert files.find("home").use() == Plan(
        sources=["/home/anna/häuser", '/a "b"'], every="6h", keep_daily=7, exclude_caches=True, tag=["x"]
    )
    with pytest.raises(UsageError, match="already"):
        files.write("home", made(settings), new=True)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('sources = ["/x"]\nevrey = "6h"', "line 2: `evrey` is no setting"),
        ('sources = ["/x"]\n\nevery = 6', "line 3: `every` must be a text"),
        ('sources = "/x"', "line 1: `sources` must be a list of texts"),
        ("sources = [1]", "line 1: `sources` must be a list of texts"),
        ('sources = ["/x"]\nkeep-daily = true', "line 2: `keep-daily` must be a number"),
        ('sources = ["/x"]\npaused = 1', "line 2: `paused` must be true or false"),
        ('every = "6h"', "`sources` is missing"),
        ("sources = []", "needs `sources`"),
        ("sources = [", "not TOML"),
        ('sources = ["/x"]\nevery = "6h"\nat = ["02:30"]', "either"),
        ('sources = ["/x"]\nprune = "often"', "`prune`: 'often' is no span"),
        ('sources = ["/x"]\ncheck-data = "5%"', "not how often"),
        ('sources = ["/x"]\ncheck = "1w"\ncheck-data = "200%"', "no share"),
        ('sources = ["/x"]\nkeep-last = -2', "keep-last"),
        ('sources = ["/x"]\nkeep-within = "x"', "no duration"),
        ('sources = ["/x"]\nexclude = ["/"]', "leave out everything"),
    ],
)
def test_what_is_wrong_is_named_and_the_others_go_on(tmp_path: Path, text: str, said: str) -> None:
    files = PlanFiles(tmp_path)
    files.write("good", made({"sources": ["/x"]}), new=True)
    (tmp_path / "plans" / "wrong.toml").write_text(text)
    with pytest.raises(ConfigError, match=said):
        files.find("wrong").use()
    with pytest.raises(ConfigError, match=said):
        files.write("good", text, new=False)
    assert [each.plan is None for each in files.all()] == [False, True]
    assert files.find("good").use().sources == ["/x"]


@pytest.mark.parametrize("name", ["", "a b", "../x", "latest", "cafe", "0123abcd", ".hidden", "x" * 65])
def test_names_that_no_plan_can_have(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError):
        PlanFiles(tmp_path).write(name, made({"sources": ["/x"]}), new=True)
    with pytest.raises(UsageError, match="no plan"):
        PlanFiles(tmp_path).find(name)


def test_changes_keep_comments_and_order() -> None:
    text = '# mine\nsources = ["/x"]  # the photos\nevery = "6h"\nprune = "1w"\n'
    new = changed(text, {"every": "1h"}, ["prune"])
    assert new == '# mine\nsources = ["/x"]  # the photos\nevery = "1h"\n'
    with pytest.raises(UsageError, match="no setting"):
        changed(text, {}, ["evry"])


def test_a_name_that_is_no_utf8_is_refused() -> None:
    with pytest.raises(UsageError, match="UTF-8"):
        made({"sources": ["/x/\udcff"]})


def test_files_that_are_named_lie_beside_the_plan() -> None:
    plan = parse(Path("/etc/safehold/plans/home.toml"), 'sources = ["/x"]\nkey-file = "../a.key"\nexclude-file = ["no"]')
    assert plan.key_file == "/etc/safehold/plans/../a.key" and plan.exclude_file == ["/etc/safehold/plans/no"]


def test_words_of_the_backup() -> None:
    plan = Plan(sources=["/x", "/y"], repository="nas", key_file="/k", exclude=["-a"], tag=["t"], host="h", options=["--paged"])
    assert common_words(plan, "/c.toml") == ["--repo", "nas", "--key-file", "/k", "--config", "/c.toml"]
    words = ["backup", "--exclude=-a", "--tag=home", "--tag=t", "--host=h", "--paged", "--", "/x", "/y"]
    assert backup_words("home", plan) == words
