"""Plans as a user has them: made, run, changed, listed, and run by the agent, whatever happens to it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from cli_program import Program
from disks import memory_disk

SLOW = "command:sleep 30; echo done"


@pytest.fixture
def planned(safehold: Program, source: Path) -> Program:
    """The program with a plan `home` of the source, without a time."""
    safehold.do("plan", "add", "home", source)
    return safehold


def listed(program: Program, name: str = "home") -> dict[str, Any]:
    plans: Any = program.do("plan", "list", "--json").value["plans"]
    return next(each for each in plans if each["name"] == name)


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def until(condition: Callable[[], object], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def ended(process: subprocess.Popen[bytes], number: int = signal.SIGTERM) -> tuple[int, str]:
    process.send_signal(number)
    out, _ = process.communicate(timeout=60)
    return process.returncode, out.decode()


def test_a_plan_from_nothing_to_a_restore(planned: Program, source: Path, tmp_path: Path) -> None:
    planned.do("plan", "edit", "home", "--every", "6h", "--keep-last", "1", "--check", "1w", "--drill", "30d", "--prune", "1d")
    first = planned.do("plan", "run", "home", "--json").lines[-1]
    assert [step["name"] for step in first["steps"]] == ["backup", "forget", "prune", "check", "drill"]  # type: ignore[attr-defined]
    (source / "new").write_bytes(b"new")
    second = planned.do("plan", "run", "home")
    assert "1 new" in second.err and "prune" not in second.err, "that is not due again"
    value = listed(planned)
    assert value["state"] == "fine" and value["last"]["by_hand"] and value["when"] == "every 6 h" and value["next"]
    shown = planned.do("plan", "show", "home").out
    assert shown.count("by hand") == 2 and "1 new, 0 changed" in shown
    assert len(planned.do("snapshots", "--json").value["snapshots"]) == 1, "the older one is forgotten"  # type: ignore[arg-type]
    planned.do("restore", f"latest:home:{source}", "--target", tmp_path / "out")
    assert tree(tmp_path / "out") == tree(source)
    assert "is whole" in planned.do("drill", "home").out


def test_only_its_own_snapshots_are_forgotten(planned: Program, source: Path) -> None:
    planned.do("backup", source, "--tag", "mine")
    planned.do("backup", source, "--tag", "home", "--host", "elsewhere")
    planned.do("plan", "edit", "home", "--keep-last", "1")
    planned.do("plan", "run", "home")
    (source / "new").write_bytes(b"new")
    planned.do("plan", "run", "home")
    snapshots: Any = planned.do("snapshots", "--json").value["snapshots"]
    assert sorted((each["host"] == "elsewhere", *each["tags"]) for each in snapshots) == [
        (False, "home"),
        (False, "mine"),
        (True, "home"),
    ]


def test_programs_around_it_know_how_it_went(planned: Program, source: Path, tmp_path: Path) -> None:
    told = tmp_path / "told"
    say = f'echo "$SAFEHOLD_PLAN $SAFEHOLD_STATUS $SAFEHOLD_MESSAGE" >> {told}'
    planned.do("plan", "edit", "home", "--before", f"cat {tmp_path}/mounted", "--after", say, "--failed", f"echo failed; {say}")
    ran = planned("plan", "run", "home")
    assert ran.status == 1 and "nothing was backed up" in ran.out
    assert (
        told.read_text().splitlines()[0].startswith("home 1 before: It ended with 1: cat:")
        and len(told.read_text().splitlines()) == 2
    )
    assert planned.do("snapshots", "--json").value["snapshots"] == [], "what has to be there before a backup was not"
    (tmp_path / "mounted").touch()
    planned.do("plan", "run", "home")
    assert told.read_text().splitlines()[2:] == ["home 0 "]


def test_nothing_is_forgotten_after_a_backup_that_failed(planned: Program, source: Path) -> None:
    planned.do("plan", "run", "home")
    (source / "new").write_bytes(b"new")
    planned.do("plan", "run", "home")
    shutil.move(source, source.with_name("away"))
    planned.do("plan", "edit", "home", "--keep-last", "1", "--every", "1h")
    ran = planned("plan", "run", "home", "--json")
    assert ran.status == 1 and [step["name"] for step in ran.lines[-1]["steps"]] == ["backup"]  # type: ignore[attr-defined]
    assert len(planned.do("snapshots", "--json").value["snapshots"]) == 2  # type: ignore[arg-type]
    value = listed(planned)
    assert value["state"] == "failed" and "There is no" in value["message"]
    late = planned("plan", "list", "--overdue")
    assert late.status == 1 and "failed" in late.out


def test_a_step_that_fails_does_not_stop_those_after_it(planned: Program, source: Path, tmp_path: Path) -> None:
    planned.do("plan", "edit", "home", "--copy-to", tmp_path / "nowhere", "--check", "1w")
    ran = planned("plan", "run", "home", "--json")
    assert ran.status == 10
    steps: Any = ran.lines[-1]["steps"]
    assert [(step["name"], step["status"]) for step in steps] == [("backup", 0), ("copy", 10), ("check", 0)]
    planned.do("init", tmp_path / "nowhere", "--key-file", tmp_path / "second.key")
    planned.set(SAFEHOLD_TO_KEY_FILE=str(tmp_path / "second.key"))
    planned.do("plan", "run", "home")
    copied = planned.do("snapshots", "-r", tmp_path / "nowhere", "--key-file", tmp_path / "second.key", "--json").value[
        "snapshots"
    ]
    assert len(copied) == 1  # type: ignore[arg-type]


def test_a_source_that_cannot_be_read_whole_counts_with_a_warning(safehold: Program, tmp_path: Path) -> None:
    database = tmp_path / "a.db"
    with sqlite3.connect(database) as made:
        made.execute("CREATE TABLE t (x)")
    made.close()
    safehold.do("plan", "add", "db", f"sqlite:{database.name}", "--every", "1h")
    safehold.do("plan", "run", "db")
    assert listed(safehold, "db")["sources"] == [f"sqlite:{database}"], "as it can be named from anywhere"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["plan", "add", "home", "/x"], "already"),
        (["plan", "add", "latest", "/x"], "looks like a snapshot"),
        (["plan", "add", "x", "-"], "standard input"),
        (["plan", "add", "x", "/x", "--every", "6 hours"], "no span of time"),
        (["plan", "add", "x", "/x", "--at", "2:30", "--every", "6h"], "either"),
        (["plan", "add", "x", "/x", "--exclude", "/"], "leave out everything"),
        (["plan", "run", "hoem"], "Did you mean `home`"),
        (["plan", "show", "../home"], "There is no plan"),
        (["plan", "edit", "home", "--pause", "--resume"], "contradict"),
        (["plan", "edit", "home", "--unset", "evry"], "no setting"),
        (["plan", "remove", "other"], "There is no plan"),
        (["plan", "rnu", "home"], "Did you mean"),
    ],
)
def test_what_is_typed_wrongly(planned: Program, words: list[str], said: str) -> None:
    ran = planned(*words)
    assert ran.status == 2 and said in ran.err and ran.err.count("\n") == 1
    assert [each["name"] for each in planned.do("plan", "list", "--json").value["plans"]] == ["home"]  # type: ignore[attr-defined]


def test_what_will_be_missing_is_said_at_once(program: Program, tmp_path: Path) -> None:
    ran = program.do("plan", "add", "home", tmp_path / "nothing")
    assert "There is no" in ran.err and "does not say where to" in ran.err
    ran = program.do("-r", "store", "plan", "add", "other", tmp_path)
    assert "passphrase is not kept" in ran.err
    assert f'repository = "{tmp_path}/store"' in (program.folder / "config" / "safehold" / "plans" / "other.toml").read_text()


def test_an_editor_takes_only_what_is_right(planned: Program, tmp_path: Path) -> None:
    editor = tmp_path / "editor"
    editor.write_text(f'#!/bin/sh\necho "$LINE" >> "$1"\ncp "$1" {tmp_path}/seen\n')
    editor.chmod(0o755)
    planned.set(VISUAL=str(editor), LINE='every = "often"')
    ran = planned("plan", "edit", "home")
    assert ran.status == 2 and "no span of time" in ran.err and listed(planned)["when"] == ""
    planned.set(LINE='every = "1h"')
    assert "not TOML" in planned("plan", "edit", "home").err, "the work so far is not lost"
    assert 'every = "often"\nevery = "1h"' in (tmp_path / "seen").read_text()
    planned.set(VISUAL='sh -c \'printf "sources = [\\"/x\\"]\\nevery = \\"1h\\"\\n" > "$0"\'')
    planned.do("plan", "edit", "home")
    assert listed(planned)["when"] == "every 1 h" and listed(planned)["sources"] == ["/x"]


def test_a_plan_is_removed_and_its_snapshots_stay(planned: Program) -> None:
    planned.do("plan", "run", "home")
    assert "stay" in planned.do("plan", "remove", "home").out
    assert "no plans" in planned.do("plan", "list").out and len(planned.do("snapshots", "--json").value["snapshots"]) == 1  # type: ignore[arg-type]


def test_the_agent_runs_what_is_due_and_takes_up_new_plans(planned: Program, source: Path) -> None:
    planned.do("plan", "edit", "home", "--every", "6h")
    broken = planned.folder / "config" / "safehold" / "plans" / "broken.toml"
    broken.write_text("sources = [\n")
    ran = planned.start("agent", "run", "--once", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    out, err = ran.communicate(timeout=60)
    assert out.decode().startswith("home: backup: 2 new") and b"not TOML" in err and ran.returncode == 2
    assert listed(planned)["state"] == "fine" and listed(planned, "broken")["state"] == "broken"
    broken.unlink()
    again = planned.start("agent", "run", "--once", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert again.communicate(timeout=60)[0] == b"" and again.returncode == 0, "nothing is due any more"


def test_a_full_disk_of_the_agent_does_not_hinder_a_backup(planned: Program, tmp_path: Path) -> None:
    """What cannot be written down is said, the backup is made, and it is not made again and again."""
    planned.do("plan", "edit", "home", "--every", "1m")
    with memory_disk(tmp_path / "state", "1M"):
        planned.set(SAFEHOLD_STATE_DIR=str(tmp_path / "state"))
        (tmp_path / "state" / "plans").mkdir()
        for name in ("agent.lock", "home.lock"):
            (tmp_path / "state" / "plans" / name).touch()
        with suppress(OSError), (tmp_path / "state" / "all").open("wb", 0) as file:
            while file.write(bytes(4096)):
                pass
        agent = planned.start("agent", "run", "--once", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        out, err = agent.communicate(timeout=60)
        assert out.count(b"home: backup") == 1 and b"cannot be written: No space" in err
    assert len(planned.do("snapshots", "--json").value["snapshots"]) == 1  # type: ignore[arg-type]


def test_one_agent_and_one_run_at_a_time(safehold: Program, tmp_path: Path) -> None:
    safehold.do("plan", "add", "slow", SLOW, "--every", "1h")
    agent = safehold.start("agent", "run", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    until(lambda: listed(safehold, "slow")["state"] == "running")
    for words in (["agent", "run"], ["plan", "run", "slow"], ["plan", "remove", "slow"]):
        busy = safehold.start(*words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        _, err = busy.communicate(timeout=60)
        assert busy.returncode == 1 and b"already" in err
    assert safehold.do("plan", "list", "--json").value["agent"] is True
    status, _ = ended(agent)
    assert status == 130 and not children_of(tmp_path)
    assert safehold.do("plan", "list", "--json").value["agent"] is False
    assert listed(safehold, "slow")["state"] == "failed" and "was cut off" in safehold.do("plan", "show", "slow").out


def children_of(folder: Path) -> list[str]:
    """Processes that work on a repository below a folder, or that one of them started."""
    found = []
    for each in Path("/proc").glob("[0-9]*"):
        try:
            environ, words = (each / "environ").read_bytes(), (each / "cmdline").read_bytes()
        except OSError:
            continue
        if str(folder).encode() in environ and (b"backup" in words or b"sleep" in words):
            found.append(words.decode())
    return found


def test_a_killed_agent_makes_up_for_it(safehold: Program, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    safehold.do("plan", "add", "slow", f"command:sh -c 'while [ ! -e {gate} ]; do sleep 0.05; done; echo done'", "--every", "1h")
    agent = safehold.start("agent", "run", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    until(lambda: children_of(tmp_path))
    ended(agent, signal.SIGKILL)
    gate.touch()  # what the agent had begun ends by itself
    until(lambda: not children_of(tmp_path))
    agent = safehold.start("agent", "run", "--once", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert b"slow: backup" in agent.communicate(timeout=60)[0] and agent.returncode == 0
    assert listed(safehold, "slow")["state"] == "fine" and safehold.do("cat", "latest:slow:/sh").raw == b"done\n"


def test_ctrl_c_ends_a_run_by_hand_in_order(safehold: Program, tmp_path: Path) -> None:
    safehold.do("plan", "add", "slow", SLOW)
    ran = safehold.start("plan", "run", "slow", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    until(lambda: any("sleep 30" in each and "backup" not in each for each in children_of(tmp_path)))
    status, _ = ended(ran, signal.SIGINT)
    assert status == 130 and not children_of(tmp_path)
    assert list((safehold.repository / "tmp").iterdir()) == []


def test_the_service(planned: Program, tmp_path: Path) -> None:
    shown = planned.do("agent", "install", "--show").out
    planned.do("agent", "install", "--root", tmp_path / "root")
    (unit,) = (tmp_path / "root").rglob("safehold-agent.service")
    text = unit.read_text()
    assert text in shown and "agent run" in text and f"SAFEHOLD_KEY_FILE={planned.key}" in text
    if shutil.which("systemd-analyze"):
        checked = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False)
        assert "safehold-agent" not in checked.stderr, checked.stderr


def test_the_settings_of_a_plan_are_json(planned: Program) -> None:
    value = planned.do("plan", "show", "home", "--json").value
    assert json.loads(json.dumps(value))["settings"]["sources"] == [str(planned.folder / "source")] and os.path.isfile(
        str(value["file"])
    )
