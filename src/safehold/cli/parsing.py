"""From the words on the command line to a command and its values.

Built on argparse and not on typer or click: those take 0.13 s to import where argparse takes 0.02 s, more than half of what a
backup of nothing new takes altogether.  Options of the whole program may stand before or after the command.
"""

from __future__ import annotations

import argparse
import importlib
import re
from collections.abc import Sequence
from types import ModuleType
from typing import NamedTuple, NoReturn

from safehold.cli import helptext
from safehold.cli.catalog import BY_WORDS, FAMILIES, Command, family
from safehold.core.errors import UsageError
from safehold.core.suggest import did_you_mean


class Parsed(NamedTuple):
    """A command, ready to run."""

    command: Command
    module: ModuleType
    values: argparse.Namespace


class HelpWanted(Exception):
    """Show this text and end well."""


class _Ask(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        raise HelpWanted(parser.format_help())


class _Version(argparse.Action):
    def __call__(self, *_: object) -> None:
        from safehold import __version__

        raise HelpWanted(f"safehold {__version__}\n")


class Parser(argparse.ArgumentParser):
    """Raises instead of printing; help is an exception too."""

    def __init__(self, prog: str, usage: str | None = None, description: str | None = None, epilog: str | None = None) -> None:
        super().__init__(
            prog=prog,
            usage=usage,
            description=description,
            epilog=epilog,
            add_help=False,
            allow_abbrev=False,
            formatter_class=helptext.Formatter,
        )

    def error(self, message: str) -> NoReturn:
        raise UsageError(_sentence(self.prog, message), f"`{self.prog} --help` shows what it takes.")


class _Program(Parser):
    """What stands before the command."""

    def __init__(self) -> None:
        super().__init__("safehold")
        _add_common(self)
        self.add_argument("-V", "--version", action=_Version, nargs=0)
        self.add_argument("words", nargs=argparse.PARSER, metavar="a command")

    def format_help(self) -> str:
        return helptext.overview()


def parse(words: Sequence[str]) -> Parsed:
    """The command that these words call.  Raises ``UsageError``, or ``HelpWanted``."""
    if not words:
        raise UsageError("No command was given.", "`safehold --help` lists them.")
    before, unknown = _Program().parse_known_args([*words[1:], "--help"] if words[0] == "help" else words)
    if unknown:
        raise _unknown(_Program(), unknown)
    command, rest = _command(before.words)
    del before.words
    module = importlib.import_module(command.module)
    parser = command_parser(command, module)
    values, unknown = parser.parse_known_intermixed_args(rest)
    if unknown:
        raise _unknown(parser, unknown)
    for name, value in vars(before).items():
        if not hasattr(values, name):
            setattr(values, name, value)
    for name, default in _DEFAULTS.items():
        if not hasattr(values, name):
            setattr(values, name, default)
    return Parsed(command, module, values)


def command_parser(command: Command, module: ModuleType) -> Parser:
    """The parser of one command, with its help."""
    parser = Parser(
        f"safehold {command.words}",
        usage=f"safehold {command.words} {module.USAGE}".rstrip(),
        description=module.__doc__,
        epilog=helptext.epilog(module.EXAMPLES, module.STATUSES),
    )
    module.arguments(parser)
    _add_common(parser)
    return parser


def _command(words: list[str]) -> tuple[Command, list[str]]:
    first = words[0]
    if first in FAMILIES:
        return _member(first, words[1:])
    if first not in BY_WORDS:
        known = {word for words in BY_WORDS for word in words.split()[:1]}
        raise UsageError(f"There is no command `{first}`.", did_you_mean(first, known) or "`safehold --help` lists the commands.")
    return BY_WORDS[first], words[1:]


def _member(first: str, words: list[str]) -> tuple[Command, list[str]]:
    """A command of two words, such as ``key list``; options may stand between them."""
    names = [command.words.split()[1] for command in family(first)]
    place = next((place for place, word in enumerate(words) if word in names), None)
    if place is not None:
        return BY_WORDS[f"{first} {words[place]}"], words[:place] + words[place + 1 :]
    if "--help" in words or "-h" in words:
        raise HelpWanted(helptext.family_overview(first))
    typed = next((word for word in words if not word.startswith("-")), "")
    if not typed:
        raise UsageError(f"`safehold {first}` needs another word: {', '.join(names)}.", f"`safehold {first} --help` explains.")
    raise UsageError(f"There is no command `{first} {typed}`.", did_you_mean(typed, names) or f"There are: {', '.join(names)}.")


def _unknown(parser: Parser, unknown: list[str]) -> UsageError:
    word = unknown[0]
    if not word.startswith("-"):
        return UsageError(f"`{parser.prog}` does not take `{word}`.", f"`{parser.prog} --help` shows what it takes.")
    name = word.split("=")[0]
    known = [option for action in parser._actions for option in action.option_strings]
    hint = did_you_mean(name, known) or f"`{parser.prog} --help` lists its options."
    return UsageError(f"`{parser.prog}` has no option `{name}`.", hint)


_DEFAULTS: dict[str, object] = {
    "repository": "",
    "config": "",
    "password_file": "",
    "key_file": "",
    "recovery": False,
    "limit_upload": "",
    "limit_download": "",
    "quiet": False,
    "json": False,
}


def _add_common(parser: Parser) -> None:
    """The options of every command.  They have no defaults here, so that one before the command is not undone after it."""
    nothing = argparse.SUPPRESS
    where = parser.add_argument_group("Where, and with which key")
    where.add_argument("-r", "--repo", dest="repository", metavar="REPO", default=nothing,
                       help="a folder or other place, or a name from the configuration ($SAFEHOLD_REPO)")  # fmt: skip
    where.add_argument("--password-file", metavar="F", default=nothing, help="read the passphrase from this file")
    where.add_argument("--key-file", metavar="F", default=nothing, help="use this key file ($SAFEHOLD_KEY_FILE)")
    where.add_argument("--recovery", action="store_true", default=nothing, help="ask for the words of the recovery key")
    where.add_argument("--config", metavar="F", default=nothing, help="use this configuration file ($SAFEHOLD_CONFIG)")
    where.add_argument(
        "--limit-upload", metavar="RATE", default=nothing, help="to a distant store: bytes a second, such as 500K or 2M"
    )
    where.add_argument("--limit-download", metavar="RATE", default=nothing, help="from a distant store: the same")
    output = parser.add_argument_group("Output")
    output.add_argument("-q", "--quiet", action="store_true", default=nothing, help="no progress and no notes, only what matters")
    output.add_argument("--json", action="store_true", default=nothing, help="results and events as JSON (docs/json.md)")
    output.add_argument("-h", "--help", action=_Ask, nargs=0, help="show this")


_REWORD = (
    (r"the following arguments are required: (.*)", "`{prog}` needs {0}."),
    (r"argument (.*?): expected one argument", "The option {0} needs a value."),
    (r"argument (.*?): expected at least one argument", "`{prog}` needs {0}."),
    (r"argument (.*?): ignored explicit argument (.*)", "The option {0} takes no value."),
    (r"argument (.*?): invalid int value: (.*)", "{0} wants a number, not {1}."),
    (r"argument (.*?): invalid choice: (.*?) \(choose from (.*)\)", "{0} is one of {2}, not {1}."),
    (r"(?s)argument (.*?): (.*?)\.?", "{0}: {1}."),
)
"""What argparse says, and our words for it."""


def _sentence(prog: str, message: str) -> str:
    """What argparse says, as a sentence of ours."""
    for pattern, words in _REWORD:
        match = re.fullmatch(pattern, message)
        if match:
            return words.format(*match.groups(), prog=prog)
    return message[:1].upper() + message[1:].rstrip(".") + "."
