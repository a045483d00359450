"""Documentation and help say what the program does."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from cli_program import Program

from safehold.cli.catalog import BY_WORDS, COMMANDS, FAMILIES, Command
from safehold.cli.statuses import COMMON, MEANINGS
from safehold.core import errors

ROOT = Path(__file__).parents[3]
DOCS = ROOT / "docs"


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.words)
def test_every_command_has_help(program: Program, command: Command) -> None:
    shown = program.do(*command.words.split(), "--help").out
    assert shown.startswith(f"Usage: safehold {command.words}")
    assert re.search(rf"Examples:\n(?:  .*\n)*?  safehold .*{command.words.split()[-1]}", shown)
    statuses = {int(number) for number in re.findall(r"^ +(\d+)  ", shown.split("Exit statuses:")[1], re.MULTILINE)}
    assert statuses >= set(COMMON)
    assert "-r REPO, --repo REPO" in shown and "--json" in shown


def test_the_program_has_help(program: Program) -> None:
    shown = program.do("--help").out
    for command in COMMANDS:
        assert re.search(rf"^  {command.words} +{re.escape(command.summary)}$", shown, re.MULTILINE)
    assert program.do("help").out == shown
    assert program.do("help", "backup").out == program.do("backup", "-h").out
    for first in FAMILIES:
        assert f"safehold {first}" in program.do(first, "--help").out


def test_every_error_is_in_the_table() -> None:
    text = (DOCS / "errors.md").read_text()
    tree = ast.parse(Path(errors.__file__).read_text())
    classes = [getattr(errors, node.name) for node in tree.body if isinstance(node, ast.ClassDef)]
    wanted = [(c.code, c.status, " ".join(c.__doc__.split("``str(error)``")[0].split()).replace("``", "`")) for c in classes]
    table = re.findall(r"^\| `([a-z-]+)` \| (\d+) \| (.*) \|$", text, re.MULTILINE)
    assert [(code, int(status), means) for code, status, means in table] == wanted
    statuses = {int(status): means for status, means in re.findall(r"^\| (\d+) \| (.*) \|$", text, re.MULTILINE)}
    assert statuses == MEANINGS
    assert {c.status for c in classes} <= set(MEANINGS)


def test_every_command_and_option_is_in_the_reference(program: Program) -> None:
    text = (DOCS / "cli.md").read_text()
    for command in COMMANDS:
        section = re.search(rf"^### safehold {command.words}\b(.*?)(?=^#|\Z)", text, re.MULTILINE | re.DOTALL)
        assert section, command.words
        shown = program.do(*command.words.split(), "--help").out
        own = shown.split("Where, and with which key")[0]
        for option in set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", own.split("Options:")[-1])) if "Options:" in own else ():
            assert f"`{option}" in section[1], f"{command.words} {option}"


def test_every_result_is_in_the_page_on_json() -> None:
    text = (DOCS / "json.md").read_text()
    for command in COMMANDS:
        assert f"`{command.words}`" in text, command.words


@pytest.mark.parametrize("page", [ROOT / "README.md", *sorted(DOCS.glob("*.md"))], ids=lambda page: page.name)
def test_commands_that_pages_name_exist(page: Path) -> None:
    known = {words.split()[0] for words in BY_WORDS}
    for line in re.findall(r"(?:^(?:    )?|`)safehold ([a-z-]+(?: [a-z][a-z-]*)?)", page.read_text(), re.MULTILINE):
        first, _, second = line.partition(" ")
        if first.startswith("-"):
            continue
        assert first in known, f"{page.name}: safehold {line}"
        if first in FAMILIES and second:
            assert line in BY_WORDS, f"{page.name}: safehold {line}"
