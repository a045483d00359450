"""From the kinds of source on the command line to the operation that backs them up."""

from __future__ import annotations

import os
import re
import sys
from typing import TYPE_CHECKING

import msgspec

from safehold.cli.databases import SCHEMES, engine
from safehold.core.errors import SourceMissing, UsageError

if TYPE_CHECKING:
    from safehold.cli.call import Call
    from safehold.ops.backup.options import BackupOptions
    from safehold.ops.backup.record import Result
    from safehold.repo.repository import Repository

_LATER = {"device": "disks and images"}
_STREAMS = ("-", "command")


def kind_of(source: str) -> str:
    """``files``, or the word before the colon of another kind (``-`` for standard input)."""
    if source == "-":
        return "-"
    match = re.match(r"([a-z]+):", source)
    return match[1] if match and match[1] in (*_LATER, *_STREAMS, *SCHEMES) and not os.path.lexists(source) else "files"


def back_up(call: Call, options: BackupOptions) -> Result:
    """Back up what ``options.paths`` name.  Raises ``UsageError`` for kinds that don't go together, or that are not known."""
    kinds = {kind_of(source) for source in options.paths}
    if len(kinds) > 1:
        raise UsageError("Sources of different kinds do not go into one snapshot.", "Back them up one after the other.")
    kind = kinds.pop()
    if call.values.check and kind != "sqlite":
        raise UsageError("--check is for SQLite databases.", "Leave it out.")
    if call.values.method and kind not in SCHEMES:
        raise UsageError("--method is for databases.", "Leave it out.")
    if kind in _STREAMS:
        return _stream(call, options, kind)
    if kind in SCHEMES:
        if len(options.paths) > 1:
            raise UsageError(f"{options.paths[0]} must be the only source.", "Back the others up one after the other.")
        chosen = "dumps" if call.values.method == "dump" and SCHEMES[kind] != "sqlite" else SCHEMES[kind]
        result: Result = engine(chosen).back_up(call, options)
        return result
    if kind != "files":
        what = f"{_LATER[kind]} ({options.paths[0]})"
        raise UsageError(f"This version of Safehold can't yet back up {what}.", "Name files or folders.")
    return _files(call, options)


def _files(call: Call, options: BackupOptions) -> Result:
    from safehold.ops.backup.run import back_up

    if call.values.name:
        raise UsageError("--name is for standard input and commands.", "Files keep their names.")
    for source in options.paths:
        if not os.path.lexists(source):
            raise SourceMissing(f"There is no {source} to back up.", "Check the name; nothing was backed up.")
    repository = writable(call)
    if options.parent:
        from safehold.ops.resolve import resolve

        options = msgspec.structs.replace(options, parent=resolve(repository, options.parent).id)
    return back_up(repository, options)


def _stream(call: Call, options: BackupOptions, kind: str) -> Result:
    from safehold.ops.backup.streams import StreamOptions, back_up_command, back_up_stream

    source = options.paths[0]
    if len(options.paths) > 1:
        raise UsageError(f"{source} must be the only source.", "Back the others up one after the other.")
    if options.excludes or options.parent or options.one_file_system or options.exclude_caches:
        raise UsageError("Standard input and commands have nothing to exclude or compare with.", "Leave those options out.")
    command = source.removeprefix("command:")
    name = call.values.name or (_command_name(command) if kind == "command" else "stdin")
    stream = StreamOptions(name=name, tags=options.tags, host=options.host, writer=options.writer, dry_run=options.dry_run)
    repository = writable(call)
    if kind == "command":
        return back_up_command(repository, command, stream)
    return back_up_stream(repository, sys.stdin.buffer, stream)


def _command_name(command: str) -> str:
    """The program's name: ``pg_dump -Fc mydb`` becomes ``pg_dump``."""
    words = command.split()
    if not words:
        raise UsageError("After `command:` there is no command.", "Write, for instance, 'command:pg_dump mydb'.")
    return os.path.basename(words[0]) or "command"


def writable(call: Call) -> Repository:
    """The repository, or with --dry-run one that changes nothing."""
    if not call.values.dry_run:
        return call.repository()
    from safehold.storage.wrappers.discarding import Discarding
    from safehold.storage.wrappers.dryrun import DryRunStore

    return call.repository(lambda store: DryRunStore(store, Discarding()))
