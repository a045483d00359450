"""Every command: its words, what it is for, and the module that is imported when it is called (and not before)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class Command(NamedTuple):
    """One command of the program."""

    words: str
    group: str
    summary: str

    @property
    def module(self) -> str:
        """Where it is defined: see ``safehold.cli.commands``."""
        return "safehold.cli.commands." + self.words.replace(" ", "_").replace("-", "_")


BACK_UP = "Back up"
LOOK = "Look"
RESTORE = "Restore"
TIDY = "Keep tidy"
CHECK = "Check"
IMAGES = "Image copies of databases"
KEYS = "Keys"
STORES = "Stores"
DATABASES = "Databases"
VOLUMES = "Drives and discs"
SHARES = "Share"
ONLINE = "Online"
PLANS = "By themselves"

COMMANDS = (
    Command("init", BACK_UP, "Make a repository"),
    Command("backup", BACK_UP, "Back up files and folders"),
    Command("db watch", BACK_UP, "Follow databases: everything that is committed, seconds later"),
    Command("snapshots", LOOK, "List the backups there are"),
    Command("ls", LOOK, "List what a snapshot holds"),
    Command("cat", LOOK, "Write a file of a snapshot to standard output"),
    Command("find", LOOK, "Find files by name in all snapshots"),
    Command("diff", LOOK, "Show what changed between two snapshots"),
    Command("stats", LOOK, "Show how much is stored, and what it would be without Safehold"),
    Command("ui", LOOK, "Look through backups in the browser, on this machine"),
    Command("restore", RESTORE, "Bring back a snapshot, or a part of it, into a folder"),
    Command("mount", RESTORE, "Show all snapshots as folders, read-only"),
    Command("forget", TIDY, "Put snapshots into the trash, by name or by a policy"),
    Command("undelete", TIDY, "Take snapshots out of the trash"),
    Command("prune", TIDY, "Free the space of what nothing needs any more"),
    Command("copy", TIDY, "Copy snapshots into another repository"),
    Command("tag add", TIDY, "Give a snapshot tags"),
    Command("tag remove", TIDY, "Take tags from a snapshot"),
    Command("plan add", PLANS, "Make a plan: what is backed up, when, where to, and what is kept"),
    Command("plan list", PLANS, "List the plans, when they run next, and whether all is well"),
    Command("plan show", PLANS, "Show a plan, and what became of its last runs"),
    Command("plan edit", PLANS, "Change a plan, by options or in an editor"),
    Command("plan remove", PLANS, "Remove a plan; its snapshots stay"),
    Command("plan run", PLANS, "Run a plan now"),
    Command("plan hand", PLANS, "Hand plans to a device, over an online server"),
    Command("agent run", PLANS, "Run plans when they are due"),
    Command("agent install", PLANS, "Have the system run the agent"),
    Command("check", CHECK, "Prove that everything is stored as it was"),
    Command("drill", CHECK, "Prove a backup by restoring it, for a while, and checking what came back"),
    Command("repair", CHECK, "Put right what can be put right after damage"),
    Command("image-copy create", IMAGES, "Copy a database to another disk, ready to open"),
    Command("image-copy update", IMAGES, "Roll an image copy forward with the changes in the original"),
    Command("image-copy list", IMAGES, "List the image copies, and what they show"),
    Command("image-copy open", IMAGES, "Open an image copy for reading, or a clone of it for writing"),
    Command("image-copy verify", IMAGES, "Check an image copy's pages, or everything in it"),
    Command("image-copy remove", IMAGES, "Give up an image copy"),
    Command("volumes create", VOLUMES, "Make a set of drives that rotate, or of discs"),
    Command("volumes add", VOLUMES, "Make a drive one of a set"),
    Command("volumes list", VOLUMES, "List the sets, or the volumes of one"),
    Command("volumes status", VOLUMES, "Say what is protected by how many copies, and what is overdue"),
    Command("volumes sync", VOLUMES, "Have the drives that are here catch up from each other"),
    Command("volumes verify", VOLUMES, "Read everything back from volumes, and prove it"),
    Command("volumes label", VOLUMES, "Change a volume's label or place, or say that it is lost"),
    Command("volumes burn", VOLUMES, "Burn discs or floppies, read them back, and compare"),
    Command("volumes print", VOLUMES, "Make labels to print"),
    Command("volumes eject", VOLUMES, "Unmount a drive, and say that it is safe to remove"),
    Command("volumes enroll", VOLUMES, "Have backups run by themselves when a drive is plugged in"),
    Command("volumes run", VOLUMES, "Run the backups that wait for a drive"),
    Command("volumes watch", VOLUMES, "Wait for drives, and run the backups that wait for them"),
    Command("volumes close", VOLUMES, "Close the open disc of a set, and make the parity of its group"),
    Command("volumes repair", VOLUMES, "Write a lost or damaged disc anew, from parity"),
    Command("volumes recover", VOLUMES, "Learn a set from its volumes and the passphrase alone"),
    Command("share create", SHARES, "Share a file, a folder or a snapshot, by a link or as a file"),
    Command("share list", SHARES, "List what is shared, and how often it was opened"),
    Command("share revoke", SHARES, "Take a share back"),
    Command("share refresh", SHARES, "Bring shares of the latest backup up to date"),
    Command("share request", SHARES, "Ask somebody for files, by a link"),
    Command("share receive", SHARES, "Fetch the files that were sent in"),
    Command("send", SHARES, "Send files to somebody who asked for them"),
    Command("open", SHARES, "Open what somebody shared: a link or a share file"),
    Command("key list", KEYS, "List who can open the repository"),
    Command("key add", KEYS, "Add a passphrase or key file"),
    Command("key remove", KEYS, "Remove a key"),
    Command("key rotate", KEYS, "Make a new read key for all backups from now on"),
    Command("key recovery", KEYS, "Make a recovery key to print: words and a QR code"),
    Command("key writer", KEYS, "Make a key file for a machine that may add backups and read none"),
    Command("pg archive-push", DATABASES, "Take a WAL file of PostgreSQL into the spool (archive_command)"),
    Command("pg archive-upload", DATABASES, "Bring WAL files from the spool into the repository"),
    Command("pg archive-get", DATABASES, "Give a recovering PostgreSQL a WAL file (restore_command)"),
    Command("pg receive", DATABASES, "Stream the log of a PostgreSQL server into the repository"),
    Command("db status", DATABASES, "Say of every database how far back and how close to now it can be recovered"),
    Command("login", ONLINE, "Let this machine use a repository on an online server"),
    Command("logout", ONLINE, "Forget a login, and withdraw its token"),
    Command("account confirm", ONLINE, "Give your second factor, so that things can be deleted on the server"),
    Command("account key", ONLINE, "Show the words by which others know that what they share reaches you"),
    Command("account trust", ONLINE, "Remember whose key is whose, by the words that they said"),
    Command("account release", ONLINE, "Release the brake on deleting much at once, for an hour"),
    Command("device list", ONLINE, "List the devices of an online repository, and how their backups went"),
    Command("device approve", ONLINE, "Admit a device by the six words that it shows"),
    Command("device revoke", ONLINE, "Shut a device out"),
    Command("device allow-restores", ONLINE, "Let an owner order restores onto this machine from the browser"),
    Command("device run-restores", ONLINE, "Run the restores that were ordered onto this machine"),
    Command("device allow-plans", ONLINE, "Let an owner hand this machine plans"),
    Command("device take-plans", ONLINE, "Take the plans that were handed to this machine"),
    Command("server run", ONLINE, "Run an online server"),
    Command("server add-user", ONLINE, "Make an account on a server of this machine"),
    Command("store validate", STORES, "Check that a place keeps what it is given, as a repository needs"),
)
BY_WORDS = {command.words: command for command in COMMANDS}
FAMILIES = {words.split()[0] for words in BY_WORDS if " " in words}
"""First words that need a second one."""


def grouped(commands: Iterable[Command] = COMMANDS) -> dict[str, list[Command]]:
    """The commands under their groups, in order."""
    groups: dict[str, list[Command]] = {}
    for command in commands:
        groups.setdefault(command.group, []).append(command)
    return groups


def family(first: str) -> list[Command]:
    """The commands that begin with this word."""
    return [command for command in COMMANDS if command.words.split()[0] == first]
