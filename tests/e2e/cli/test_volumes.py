"""Sets of drives as a user has them: real file systems that come and go."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_program import Program
from loop_drives import LoopDrives


@pytest.fixture
def drives(tmp_path: Path) -> Iterator[LoopDrives]:
    made = LoopDrives(tmp_path / "drives")
    yield made
    made.close()


@pytest.fixture
def home(program: Program, drives: LoopDrives, monkeypatch: pytest.MonkeyPatch) -> Program:
    """The program with a set of two drives, A and B, both plugged in."""
    monkeypatch.setenv("SAFEHOLD_STATE_DIR", str(program.folder / "state"))
    program.do("volumes", "create", "home", "--key-file", program.key)
    program.set(SAFEHOLD_REPO="volumes:home", SAFEHOLD_KEY_FILE=str(program.key))
    program.do("volumes", "add", "home", drives.new("A"), "--label", "Stick A", "--place", "safe")
    program.do("volumes", "add", "home", drives.new("B"), "--label", "Stick B")
    return program


def state_of(program: Program) -> dict[str, dict[str, object]]:
    """The drives of the set by label."""
    volumes = program.do("volumes", "list", "home", "--json").value["volumes"]
    assert isinstance(volumes, list)
    return {str(each["label"]): each for each in volumes}


def held(program: Program) -> dict[str, list[str]]:
    """Snapshot -> labels of the drives that hold it."""
    listed = program.do("snapshots", "--json").value["snapshots"]
    assert isinstance(listed, list)
    return {str(each["id"]): each["volumes"] for each in listed}


def back_up(program: Program, source: Path) -> str:
    return str(program.do("backup", source, "--json").value["snapshot"])


def restored(program: Program, snapshot: str, name: str, *, view: str = "") -> Path:
    target = program.folder / name
    program.do("-r", f"volumes:home{view}", "restore", snapshot, "--target", target)
    return target


def test_two_drives_rotate_and_catch_up(home: Program, drives: LoopDrives, source: Path, tmp_path: Path) -> None:
    both = back_up(home, source)
    assert held(home) == {both: ["Stick A", "Stick B"]}
    drives.unplug("A")
    (source / "new").write_bytes(os.urandom(100_000))
    on_b = back_up(home, source)
    assert held(home) == {both: ["Stick A", "Stick B"], on_b: ["Stick B"]}
    shown = home.do("volumes", "status", "home").out
    assert "1 snapshot is on one drive only" in shown and "Stick A" in shown
    drives.unplug("B")

    waiting = home("backup", source)
    assert waiting.status == 14 and "Waiting for a drive of home: Stick A (safe) or Stick B." in waiting.err
    assert not any((drives.media / name).iterdir() for name in "AB" if any((drives.media / name).iterdir()))
    assert held(home)[on_b] == ["Stick B"]  # listed with no drive there

    drives.plug("A")
    elsewhere = home("restore", "latest", "--target", tmp_path / "x")
    assert elsewhere.status == 14 and f"Snapshot {on_b[:8]} is on Stick B, which is not here." in elsewhere.err
    (source / "newer").write_bytes(b"newer")
    on_a = back_up(home, source)  # deduplicated against what is on A alone
    drives.plug("B")
    synced = home.do("volumes", "sync", "home", "--json").lines
    assert {line["label"]: line["snapshots"] for line in synced} == {"Stick A": [on_b], "Stick B": [on_a]}
    assert all(places == ["Stick A", "Stick B"] for places in held(home).values())
    for view in "@1", "@Stick B":
        out = restored(home, on_b, f"out{view[-1]}", view=view)
        assert (out / str(source)[1:] / "new").read_bytes() == (source / "new").read_bytes()
    assert home.do("volumes", "verify", "home").out.count("is verified.") == 2
    assert "Everything is as it should be." in home.do("volumes", "status", "home").out


def test_what_is_forgotten_and_pruned_goes_from_every_drive(home: Program, drives: LoopDrives, source: Path) -> None:
    first = back_up(home, source)
    (source / "letters" / "one.txt").write_bytes(os.urandom(50_000))
    second = back_up(home, source)
    drives.unplug("A")
    home.do("forget", first)
    home.do("forget", second)
    home.do("undelete", second[:8])
    assert list(held(home)) == [second]
    home.do("prune", "--empty-trash", "--confirm-large")
    (source / "letters" / "two.txt").write_bytes(b"two")
    third = back_up(home, source)
    drives.plug("A")
    home.do("volumes", "sync", "home")
    assert held(home) == {second: ["Stick A", "Stick B"], third: ["Stick A", "Stick B"]}  # and not the first again
    direct = Program(home.folder, home._monkeypatch, home._capture)
    on_a = direct.do("-r", drives.media / "A" / "safehold", "snapshots", "--json").value["snapshots"]
    assert isinstance(on_a, list) and {each["id"] for each in on_a} == {second, third}
    trash = direct.do("-r", drives.media / "A" / "safehold", "snapshots", "--trash", "--json").value["snapshots"]
    assert isinstance(trash, list) and [each["id"] for each in trash] == [first]
    home.do("prune", "--empty-trash", "--confirm-large")
    assert not (drives.media / "A" / "safehold" / "snapshots" / first).exists()
    # What was forgotten directly on one drive goes from the others, too.
    direct.do("-r", drives.media / "A" / "safehold", "forget", second)
    home.do("volumes", "sync", "home")
    assert list(held(home)) == [third]
    assert home.do("check").status == 0


def test_a_machine_that_never_saw_them_recovers_all(home: Program, drives: LoopDrives, source: Path) -> None:
    first = back_up(home, source)
    drives.unplug("B")
    second = back_up(home, source)
    home.do("volumes", "label", "home", "2", "--place", "mother's house")
    home.do("volumes", "sync", "home")
    drives.unplug("A")
    for name in "state", "cache":
        shutil.rmtree(home.folder / name)
    drives.plug("A")
    found = home.do("volumes", "recover", drives.media / "A", "--json").value
    assert (found["name"], found["volumes"], found["here"], found["snapshots"]) == ("home", 2, 1, 2)
    assert set(held(home)) == {first, second}
    assert state_of(home)["Stick B"]["place"] == "mother's house"
    assert (restored(home, "latest", "out") / str(source)[1:] / "letters" / "one.txt").read_bytes() == b"one\n"
    # And without Safehold, by what is on the drive.
    alone = drives.media / "A" / "safehold"
    words = [sys.executable, alone / "RESTORE.PYZ", "--key-file", home.key, alone, "restore", "latest", home.folder / "alone"]
    subprocess.run(words, check=True, capture_output=True)
    assert (home.folder / "alone" / str(source)[1:] / "letters" / "one.txt").read_bytes() == b"one\n"
    again = home("volumes", "recover", drives.media / "A")
    assert again.status == 2 and "knows a volume set home already" in again.err
    # Without any catalogue, the drives themselves tell.
    (drives.media / "A" / "safehold" / "CATALOG.BIN").write_bytes(b"rotten")
    drives.plug("B")
    (drives.media / "B" / "safehold" / "CATALOG.BIN").unlink()
    both = [drives.media / "A", drives.media / "B" / "safehold"]
    ran = home.do("volumes", "recover", *both, "--name", "other", "--json")
    assert (ran.value["volumes"], ran.value["snapshots"]) == (2, 2)
    assert any(event.get("code") == "catalogue-damaged" for event in ran.events)
    assert home("volumes", "recover", source).status == 2


def test_wrong_drives_are_named_and_left_alone(home: Program, drives: LoopDrives, source: Path, tmp_path: Path) -> None:
    back_up(home, source)
    home.do("volumes", "create", "other", "--key-file", tmp_path / "other.key")
    # A mount point without a drive is this machine's own disk.
    refused = home("volumes", "add", "home", tmp_path / "drives")
    assert refused.status == 1 and "no drive is mounted there" in refused.err
    foreign = home("volumes", "add", "other", drives.media / "A", "--key-file", tmp_path / "other.key")
    assert foreign.status == 2 and "is a drive of another set: 'Stick A' of 'home'" in foreign.err
    # A repository of somebody else's is never taken over.
    place = drives.new("C")
    home.do("init", place / "safehold", "--key-file", tmp_path / "third.key")
    taken = home("volumes", "add", "home", place)
    assert taken.status == 2 and "already is a repository" in taken.err
    assert home("volumes", "add", "home", drives.new("D"), "--label", "stick a").status == 2
    # In the place of B is now something else.
    drives.unplug("A")
    drives.unplug("B")
    (drives.media / "B" / "safehold").mkdir()
    waiting = home("backup", source)
    assert waiting.status == 14 and "is now something else" in waiting.err
    assert not any((drives.media / "B" / "safehold").iterdir())


def test_a_copy_of_a_drive_is_found_out(home: Program, drives: LoopDrives, source: Path) -> None:
    back_up(home, source)
    drives.unplug("A")
    drives.clone("A", "copy")
    drives.plug("A")
    drives.plug("copy")
    refused = home("backup", source)
    assert refused.status == 1 and "Two drives say that they are Stick A (safe)" in refused.err
    assert "one is a copy of the other" in home("volumes", "add", "home", drives.media / "copy").err
    home.do("volumes", "add", "home", drives.media / "copy", "--renew", "--label", "Stick C")
    snapshot = back_up(home, source)
    assert held(home)[snapshot] == ["Stick A", "Stick B", "Stick C"]


def test_keys_reach_every_drive_when_it_appears(home: Program, drives: LoopDrives, source: Path, tmp_path: Path) -> None:
    back_up(home, source)
    drives.unplug("A")
    home.do("key", "add", "--new-key-file", tmp_path / "new.key", "--label", "new")
    home.do("key", "rotate")
    drives.unplug("B")
    slots = home.do("key", "list", "--json").value["keys"]
    assert isinstance(slots, list)
    old = next(each["id"] for each in slots if each["label"] == "owner")
    home.do("key", "remove", old, "--key-file", tmp_path / "new.key")  # with no drive there
    home.set(SAFEHOLD_KEY_FILE=str(tmp_path / "new.key"))
    drives.plug("A")
    back_up(home, source)
    assert home("-r", drives.media / "A" / "safehold", "snapshots", "--key-file", home.key).status == 12
    home.do("-r", drives.media / "A" / "safehold", "snapshots")
    drives.plug("B")
    home.do("volumes", "sync", "home")
    assert home("-r", drives.media / "B" / "safehold", "snapshots", "--key-file", home.key).status == 12
    assert len(held(home)) == 2


def test_a_backup_waits_and_runs_when_a_drive_comes(home: Program, drives: LoopDrives, source: Path) -> None:
    drives.unplug("A")
    drives.unplug("B")
    noted = home.do("backup", source, "--when-present", "--json").value
    assert noted["event"] == "waiting"
    assert "No drive is here" in home.do("volumes", "run", "home").out
    assert held(home) == {}
    watching = subprocess.Popen(
        [sys.executable, "-m", "safehold", "volumes", "watch", "home", "--once", "--poll", "10"], stderr=subprocess.PIPE
    )
    assert watching.stderr is not None and b"Waiting for drives" in watching.stderr.readline()
    drives.plug("B")
    assert watching.wait(30) == 0
    watching.stderr.close()
    (snapshot,) = held(home)
    assert held(home)[snapshot] == ["Stick B"]
    assert "Nothing is due on Stick B" in home.do("volumes", "run", "home").out
    drives.plug("A")  # A has not had it yet
    assert home.do("volumes", "run", "home", "--json").value["status"] == 0
    assert len(held(home)) == 2
    job = str(noted["job"])
    home.do("volumes", "run", "home", "--forget", job)
    assert "No backup is noted" in home.do("volumes", "run", "home").out


def test_ejected_drives_and_plain_folders(home: Program, drives: LoopDrives, source: Path, tmp_path: Path) -> None:
    back_up(home, source)
    assert "Stick A (safe) is safe to remove." in home.do("volumes", "eject", "home", "Stick A").out
    drives.ejected("A")
    assert not any((drives.media / "A").iterdir())
    with (drives.media / "B" / "open").open("wb"):
        busy = home("volumes", "eject", "home")
    assert busy.status == 1 and "Stick B could not be unmounted" in busy.err and "do not unplug" in busy.err
    assert home("volumes", "eject", "home", "1").status == 14
    folder = tmp_path / "plain"
    folder.mkdir()
    home.do("volumes", "add", "home", folder, "--plain-folder", "--label", "Folder")
    home.do("backup", source)
    assert all("Folder" in places for places in held(home).values())
    assert "is a plain folder" in home.do("volumes", "eject", "home", "Folder").out
    home.do("volumes", "label", "home", "Stick A", "--lost")
    assert state_of(home)["Stick A"]["state"] == "lost"
    assert all("Stick A" not in places for places in held(home).values())
    assert home("volumes", "label", "home", "2", "--label", "folder").status == 2
    home.do("volumes", "label", "home", "2", "--label", "Blue stick")
    assert b"Blue stick" in (drives.media / "B" / "safehold" / "README.TXT").read_bytes()


def test_enrolling_writes_a_rule_and_a_unit(home: Program, tmp_path: Path) -> None:
    home.do("volumes", "enroll", "home", "--root", tmp_path / "root")
    rule = (tmp_path / "root/etc/udev/rules.d/90-safehold-home.rules").read_text()
    uuid = state_of(home)["Stick A"]["fs_uuid"]
    assert uuid and f'ENV{{ID_FS_UUID}}=="{uuid}", TAG+="systemd"' in rule and "RUN" not in rule
    unit = (tmp_path / "root/etc/systemd/system/safehold-volumes-home.service").read_text()
    assert "volumes run home --wait 20 --mount" in unit and f"SAFEHOLD_KEY_FILE={home.key}" in unit
    assert "ENV{SYSTEMD_WANTS}" in home.do("volumes", "enroll", "home", "--show").out
    if shutil.which("systemd-analyze"):
        units = tmp_path / "root/etc/systemd/system"
        subprocess.run(["systemd-analyze", "verify", units / "safehold-volumes-home.service"], check=True, capture_output=True)


def test_enrolling_for_a_user_finds_what_is_the_user_s(home: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `sudo safehold volumes enroll home --user me` does, with HOME=/root."""
    assert home("volumes", "enroll", "home", "--user", "nobody-of-that-name").status == 2
    me = pwd.getpwnam("nobody")
    account = pwd.struct_passwd((me.pw_name, "", me.pw_uid, me.pw_gid, "", str(tmp_path / "me"), ""))
    monkeypatch.setattr(pwd, "getpwnam", lambda _: account)
    (tmp_path / "me/.local/state").mkdir(parents=True)
    Path(os.environ["SAFEHOLD_STATE_DIR"]).rename(tmp_path / "me/.local/state/safehold")
    monkeypatch.delenv("SAFEHOLD_STATE_DIR")
    monkeypatch.setenv("HOME", "/nonexistent")
    monkeypatch.setenv("XDG_CACHE_HOME", "/nonexistent")
    shown = home.do("volumes", "enroll", "home", "--user", "me", "--show").out
    assert "User=me\n" in shown and f"Environment=HOME={tmp_path / 'me'}\n" in shown and "/nonexistent" not in shown
    assert f"Environment=SAFEHOLD_STATE_DIR={tmp_path / 'me/.local/state/safehold'}\n" in shown


def test_only_verified_copies_count_for_a_policy(home: Program, drives: LoopDrives, source: Path) -> None:
    """What is on no drive that was read back is kept, and makes none that is go."""
    first = back_up(home, source)
    drives.unplug("B")
    second = back_up(home, source)
    for state, forgotten in (("--found", []), ("", [first])):
        if state:
            home.do("volumes", "label", "home", "Stick A", "--lost")
            home.do("volumes", "label", "home", "Stick A", state)
        else:
            assert "SMART: " in home.do("volumes", "verify", "home").out
        said = home.do("forget", "--keep-last", "1", "--json").value
        assert said["forgotten"] == forgotten
        reasons = {each["id"]: each["reasons"] for each in said["kept"]}  # type: ignore[union-attr]
        assert reasons[second] == (["no verified copy"] if state else ["last"]) and (not state or reasons[first] == ["last"])


def test_a_drive_that_is_gone_in_the_middle_loses_nothing(home: Program, drives: LoopDrives, source: Path) -> None:
    first = back_up(home, source)
    (source / "large").write_bytes(os.urandom(9_000_000))
    for delay in (0.15, 0.3, 0.45):
        running = home.start("backup", source)
        time.sleep(delay)
        for name in "AB":
            drives.unplug(name)
        out, err = running.communicate(timeout=60)
        assert running.returncode in (0, 14), (out, err)
        if running.returncode:
            assert b"is gone: it was unplugged" in err or b"Waiting for a drive" in err, err
        for name in "AB":
            assert not any((drives.media / name).iterdir())  # nothing was written to the mount point
            drives.plug(name)
    running = home.start("backup", source)
    time.sleep(0.3)
    running.send_signal(signal.SIGKILL)
    running.communicate()
    last = back_up(home, source)
    assert set(held(home)) >= {first, last}
    assert home.do("volumes", "verify", "home").status == 0
    assert (restored(home, last, "out") / str(source)[1:] / "large").read_bytes() == (source / "large").read_bytes()


def test_what_interrupted_backups_left_on_a_drive_does_not_fill_it(home: Program, drives: LoopDrives, source: Path) -> None:
    back_up(home, source)
    leftover = drives.media / "A/safehold/tmp/dead.part"
    leftover.write_bytes(bytes(20_000_000))
    (source / "large").write_bytes(os.urandom(9_000_000))
    snapshot = back_up(home, source)
    assert not leftover.exists() and held(home)[snapshot] == ["Stick A", "Stick B"]


def test_a_full_drive_is_said_and_the_other_goes_on(home: Program, drives: LoopDrives, source: Path) -> None:
    back_up(home, source)
    (drives.media / "B" / "ballast").write_bytes(bytes(20_000_000))
    (source / "large").write_bytes(os.urandom(6_000_000))
    home._monkeypatch.setenv("SAFEHOLD_CACHE_DIR", str(home.folder / "cache2"))
    full = home("backup", source)
    assert full.status == 15 and "Stick B is full." in full.err
    assert home("-r", "volumes:home@Stick A", "backup", source).status == 0
    (drives.media / "B" / "ballast").unlink()
    home.do("volumes", "sync", "home")
    assert all(places == ["Stick A", "Stick B"] for places in held(home).values())


def test_what_has_rotted_on_one_drive_is_mended_from_another(home: Program, drives: LoopDrives, source: Path) -> None:
    snapshot = back_up(home, source)
    on_a, on_b = (drives.media / name / "safehold" for name in "AB")
    rotten = sorted(path.relative_to(on_a) for path in on_a.glob("packs/*/*"))
    for path in rotten:
        (on_a / path).chmod(0o600)
        data = bytearray((on_a / path).read_bytes())
        data[len(data) // 3] ^= 1
        (on_a / path).write_bytes(data)
    (on_a / "snapshots" / snapshot).unlink()
    assert home("volumes", "verify", "home", "Stick A").status == 4
    assert state_of(home)["Stick A"]["state"] == "damaged"
    assert "Stick A (safe) is damaged" in home.do("volumes", "status", "home").out
    mended = home.do("volumes", "verify", "home", "Stick A", "--mend", "--json").value
    assert set(mended["mended"]) >= {str(path) for path in rotten}  # type: ignore[call-overload]
    assert all((on_a / path).read_bytes() == (on_b / path).read_bytes() for path in rotten)
    assert state_of(home)["Stick A"]["state"] == "verified"
    home.do("volumes", "sync", "home")
    assert held(home)[snapshot] == ["Stick A", "Stick B"]
