"""The cases: what each prepares, what it times and how often.

In every case the programs take turns (A B C A B C ...), so that whatever else
the machine does meanwhile falls on all of them alike.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Concatenate, ParamSpec

import data
from measure import Command, Cost, run_checked, run_measured
from peers import Program, restored

P = ParamSpec("P")


@dataclass(frozen=True)
class Sample:
    """One timed run of one program."""

    phase: str
    program: str
    round: int
    cost: Cost
    repo_size: int | None = None
    growth: int | None = None


@dataclass
class Bench:
    """One run of one case: who takes part, how often and what came out."""

    programs: list[Program]
    runs: int
    work: Path
    samples: list[Sample] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def each(
        self,
        step: Callable[Concatenate[Program, P], None],
        *arguments: P.args,
        **named: P.kwargs,
    ) -> None:
        """Do ``step`` with every program; one that fails drops out."""
        for program in list(self.programs):
            try:
                step(program, *arguments, **named)
            except (RuntimeError, OSError) as error:
                self.note(f"{program.name} dropped out: {error}")
                self.programs.remove(program)

    def note(self, text: str) -> None:
        """Say something now and in the results."""
        print(f"  ! {text}", file=sys.stderr, flush=True)
        self.notes.append(text)

    def backup(self, program: Program, tree: Path, phase: str, number: int) -> None:
        """A timed backup."""
        before = program.repo_size()
        cost = self._run(program.name, program.backup([tree]))
        after = program.repo_size()
        self._add(Sample(phase, program.name, number, cost, after, after - before))

    def base(self, name: str, phase: str, number: int, *argv: str) -> None:
        """A timed everyday command, for comparison."""
        self._add(Sample(phase, name, number, self._run(name, Command(argv))))

    def restore(self, program: Program, tree: Path, target: Path, phase: str, number: int) -> None:
        """A timed restore into the empty folder ``target``."""
        command = program.restore(tree, target)
        self._add(Sample(phase, program.name, number, self._run(program.name, command)))

    def _run(self, name: str, command: Command) -> Cost:
        cost = run_measured(command, self.work / f"{name}.log")
        if cost.status != 0:
            raise RuntimeError(f"ended with {cost.status}: {cost.stderr}")
        return cost

    def _add(self, sample: Sample) -> None:
        self.samples.append(sample)
        cost = sample.cost
        print(
            f"  {sample.phase} #{sample.round} {sample.program:9} "
            f"{cost.wall:8.2f} s wall {cost.cpu:8.2f} s cpu "
            f"(others {cost.other_cpu:.2f} cores)",
            file=sys.stderr,
            flush=True,
        )


def first(bench: Bench) -> None:
    """The first backup of a source tree into an empty repository."""
    _first_backups(bench, data.kernel("6.1"), "first")


def media(bench: Bench) -> None:
    """The first backup of what can't be compressed, beside hashing it."""
    tree = data.media()
    data.warm(tree)
    pipe = f"cat {shlex.quote(str(tree))}/* | sha256sum"
    for number in range(bench.runs):
        bench.base("cat|sha256sum", "media", number, "sh", "-c", pipe)
        bench.each(_fresh_backup, bench, tree, "media", number)


def unchanged(bench: Bench) -> None:
    """A backup when nothing changed, beside only listing the tree."""
    _unchanged(bench, data.kernel("6.1"), "unchanged")


def million(bench: Bench) -> None:
    """The same with a million small files."""
    _unchanged(bench, data.million(), "million")


def following(bench: Bench) -> None:
    """The next kernel's tree where the backed-up one was."""
    old, new = data.kernel("6.1"), data.kernel("6.12")
    tree = bench.work / "tree"
    with data.bound_at(tree) as bind:
        data.warm(old)
        bind(old)
        bench.each(_prepare, tree)
        bench.each(Program.save)
        data.warm(new)
        bind(new)
        for number in range(bench.runs):
            bench.each(_reloaded_backup, bench, tree, number)
    bench.each(Program.drop_saved)


def restore(bench: Bench) -> None:
    """The restore of the whole tree, beside copying it."""
    tree = data.kernel("6.1")
    data.warm(tree)
    bench.each(_prepare, tree)
    target = bench.work / "restored"
    for number in range(bench.runs):
        copy = _new_folder(target)
        bench.base("cp -a", "restore", number, "cp", "-a", str(tree), str(copy))
        _hollow(copy)
        bench.each(_restore, bench, tree, target, number)
    shutil.rmtree(target)


def image(bench: Bench) -> None:
    """A disk image at first, and again with 1 % of its blocks changed."""
    tree = data.image()
    data.warm(tree)
    for number in range(bench.runs):
        bench.each(_fresh_backup, bench, tree, "image first", number)
        data.change_image(tree, time.time_ns())  # never the same blocks as in an earlier run, which left them changed
        bench.each(bench.backup, tree, "image 1 % changed", number)


CASES: dict[str, Callable[[Bench], None]] = {
    "first": first,
    "unchanged": unchanged,
    "next": following,
    "restore": restore,
    "image": image,
    "media": media,
    "million": million,
}


def run_case(name: str, programs: Sequence[Program], runs: int, work: Path) -> Bench:
    """Run the case called ``name`` and clear up after it."""
    work.mkdir(parents=True, exist_ok=True)
    bench = Bench(list(programs), runs, work)
    try:
        CASES[name](bench)
    finally:
        for program in programs:
            program.clear()
            program.drop_saved()
    return bench


def _first_backups(bench: Bench, tree: Path, phase: str) -> None:
    data.warm(tree)
    for number in range(bench.runs):
        bench.each(_fresh_backup, bench, tree, phase, number)


def _fresh_backup(program: Program, bench: Bench, tree: Path, phase: str, number: int) -> None:
    program.reset()
    bench.backup(program, tree, phase, number)


def _unchanged(bench: Bench, tree: Path, phase: str) -> None:
    data.warm(tree)
    bench.each(_prepare, tree)
    for number in range(bench.runs):
        bench.base("find", phase, number, "find", str(tree), "-printf", r"%s %T@\n")
        bench.each(bench.backup, tree, phase, number)


def _reloaded_backup(program: Program, bench: Bench, tree: Path, number: int) -> None:
    program.load()
    bench.backup(program, tree, "next", number)


def _prepare(program: Program, tree: Path) -> None:
    """A repository with one backup of ``tree``, not timed."""
    print(f"  preparing {program.name}", file=sys.stderr, flush=True)
    program.reset()
    run_checked(program.backup([tree]))


def _restore(program: Program, bench: Bench, tree: Path, target: Path, number: int) -> None:
    copy = _new_folder(target)
    try:
        bench.restore(program, tree, copy, "restore", number)
        if number == 0:
            _verify(bench, program.name, tree, restored(tree, copy))
    finally:
        _hollow(copy)


def _verify(bench: Bench, name: str, tree: Path, copy: Path) -> None:
    """Contents must be equal; other differences (times, owners) are noted."""
    different = _lines("diff", "-rq", "--no-dereference", str(tree), str(copy))
    if different:
        raise RuntimeError(f"restored {len(different)} entries wrong: {different[0]}")
    listing = _lines("rsync", "-nai", "--delete", f"{tree}/", f"{copy}/")
    if listing:
        bench.note(f"{name} restored {len(listing)} attributes wrong: {listing[0]}")


def _lines(*argv: str) -> list[str]:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    return (done.stdout + done.stderr).splitlines()


def _new_folder(target: Path) -> Path:
    """A new folder in ``target`` to restore into."""
    target.mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=target))
    folder.chmod(0o755)
    return folder


def _hollow(tree: Path) -> None:
    """Free the space of ``tree``'s files but keep the files till later.

    ext4 without a journal doesn't reuse inodes freed in the last minutes and
    searches past every one of them for each new file: removing one program's
    tree would make the next one's restore several times slower.
    """
    for name in data.files(tree):
        os.truncate(name, 0)
