"""One run of a plan: its steps in order, each a program of its own, and what became of them.  ``docs/plans.md``."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Mapping, Sequence

import msgspec

from safehold.core.clock import Clock
from safehold.core.errors import Interrupted, SafeholdError
from safehold.core.events import Note, Reporter, Warn
from safehold.jobs.children import Children, Said
from safehold.jobs.due import is_step_due
from safehold.jobs.history import INCOMPLETE, Histories, History, Run, Step
from safehold.jobs.plan import KEEPS, Plan

Describe = Callable[[str, Sequence[Mapping[str, object]]], str]
"""Step and what it wrote as JSON -> a few words."""


class Means(msgspec.Struct, frozen=True):
    """What a run works with."""

    children: Children
    clock: Clock
    report: Reporter
    describe: Describe
    common: Sequence[str] = ()
    """The words before every command: which repository, which key."""


class Runner:
    """Runs one plan."""

    def __init__(self, name: str, plan: Plan, means: Means) -> None:
        self._name = name
        self._plan = plan
        self._means = means
        self._children = means.children
        self._clock = means.clock
        self._run = Run(means.clock.now_ns())

    def run(self, histories: Histories, *, by_hand: bool) -> Run:
        """Do it, and write down what became of it.

        Raises ``PlanBusy``, ``SafeholdError``; ``Interrupted``, which leaves it cut off.
        """
        with histories.running(self._name):
            history = histories.read(self._name)
            self._run.by_hand = by_hand
            history.runs.append(self._run)
            self._keep(histories, history)
            for step in self._steps(history.done):
                self._run.steps.append(step)
                if step.status in (0, INCOMPLETE):
                    history.done[step.name] = self._run.began_ns
                self._keep(histories, history)
            self._run.ended_ns = self._clock.now_ns()
            self._keep(histories, history)
        return self._run

    def _keep(self, histories: Histories, history: History) -> None:
        """A disk that is full here must not keep the files from being backed up."""
        try:
            histories.write(self._name, history)
        except SafeholdError as error:
            self._means.report(Warn(code=error.code, message=str(error), hint=error.hint))

    def _steps(self, done: dict[str, int]) -> Iterator[Step]:
        """Each as it ends; ``after`` and ``failed`` whatever became of the others."""
        yield from self._work(done)
        if self._plan.after:
            yield self._command("after", self._plan.after)
        if self._plan.failed and self._has_failed:
            yield self._command("failed", self._plan.failed)

    @property
    def _has_failed(self) -> bool:
        return self._run.status not in (0, INCOMPLETE)

    def _work(self, done: dict[str, int]) -> Iterator[Step]:
        plan = self._plan
        if plan.before:
            yield self._command("before", plan.before)
            if self._has_failed:
                return
        yield self._backup()
        if not self._run.has_backup:
            return
        for place in plan.copy_to:
            yield self._own("copy", ["copy", self._run.snapshot, "--to", place])
        if plan.keeps:
            yield self._own("forget", self._forget_words())
        for name, words in (("prune", ["prune"]), ("check", self._check_words()), ("drill", ["drill", self._run.snapshot])):
            if is_step_due(plan.periods()[name], done.get(name, 0), self._run.began_ns):
                yield self._own(name, words)

    def _backup(self) -> Step:
        step, said = self._ran("backup", backup_words(self._name, self._plan))
        made = next((value for value in said.results if value.get("event") == "backup"), None)
        if made is not None:
            self._run.snapshot, self._run.added = str(made["snapshot"]), int(str(made["bytes_stored"]))
        elif not step.status:  # it was put off, or left no word
            step.status, step.code, step.message = 1, "failed", step.message or "No snapshot was made."
        return step

    def _forget_words(self) -> list[str]:
        plan = self._plan
        kept = [f"--keep-{word}={plan.kept(word)}" for word in KEEPS if plan.kept(word)]
        within = [f"--keep-within={plan.keep_within}"] if plan.keep_within else []
        return ["forget", *kept, *within, "--tag", self._name, "--host", plan.host or socket.gethostname()]

    def _check_words(self) -> list[str]:
        return ["check", *([f"--read-data={self._plan.check_data}"] if self._plan.check_data else [])]

    def _own(self, name: str, words: list[str]) -> Step:
        return self._ran(name, words)[0]

    def _ran(self, name: str, words: list[str]) -> tuple[Step, Said]:
        begun = self._clock.monotonic()
        said = self._children.own([*self._means.common, *words])
        result = self._means.describe(name, said.results) if said.status in (0, INCOMPLETE) else ""
        step = self._ended(name, said, result, begun)
        return step, said

    def _command(self, name: str, command: str) -> Step:
        begun = self._clock.monotonic()
        worst = self._run.worst
        variables = {
            "SAFEHOLD_PLAN": self._name,
            "SAFEHOLD_STATUS": str(self._run.status),
            "SAFEHOLD_MESSAGE": f"{worst.name}: {worst.message}" if worst is not None else "",
        }
        return self._ended(name, self._children.of_user(command, variables), "", begun)

    def _ended(self, name: str, said: Said, result: str, begun: float) -> Step:
        if said.status == Interrupted.status:
            raise Interrupted("Interrupted.")
        step = Step(name, said.status, said.code, said.message, result, round(self._clock.monotonic() - begun, 3))
        self._means.report(Note(message=f"{name}: {result or said.message or 'done'}"))
        return step


def backup_words(name: str, plan: Plan) -> list[str]:
    """The call of ``safehold backup``, without the options that say where to."""
    listed = (("--exclude", plan.exclude), ("--exclude-file", plan.exclude_file), ("--tag", [name, *plan.tag]))
    words = ["backup", *(f"{option}={value}" for option, values in listed for value in values)]
    words += ["--exclude-caches"] * plan.exclude_caches + ["--one-file-system"] * plan.one_file_system
    words += [f"--host={plan.host}"] if plan.host else []
    return [*words, *plan.options, "--", *plan.sources]


def common_words(plan: Plan, config: str) -> list[str]:
    """The words before each command: which repository, which key, which configuration."""
    given = (
        ("--repo", plan.repository),
        ("--password-file", plan.password_file),
        ("--key-file", plan.key_file),
        ("--config", config),
    )
    return [word for option, value in given if value for word in (option, value)]
