"""Makes the golden repositories anew:  ``python tests/golden/make.py``  (as root, on Linux).

Only before the first release.  From then on, what lies in ``repositories/`` is never made again and never edited: a change of
the format adds repositories, under new names, and every program since opens all of them.
"""

from __future__ import annotations

import hashlib
import io
import json
import lzma
import os
import shutil
import struct
import sys
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from describing import Record, describe

from safehold.codec.chunker import ChunkerSizes
from safehold.codec.keyfile import KeyFile
from safehold.codec.passphrase import Passphrase
from safehold.codec.recovery import RecoveryKey
from safehold.core.clock import ManualClock
from safehold.ops.backup.options import BackupOptions
from safehold.ops.backup.run import back_up
from safehold.repo import condemned, config, repository
from safehold.repo.keys.admin import add_slot, remove_slot, rotate
from safehold.repo.keys.format import slot_key
from safehold.repo.keys.unlock import Credential
from safehold.storage.local import LocalStore

HERE = Path(__file__).parent / "repositories"
SOURCE = Path("/golden")
"""What is backed up lies here, so that no snapshot holds anything of the machine on which it was made."""
DAY = 86400.0
PASSPHRASE = "correct horse bätteri staple"


class Golden:
    """One repository in the making."""

    def __init__(self, place: Path, **parameters: Any) -> None:
        self.place = place
        self.clock = ManualClock()
        self.id = os.urandom(16)
        self.store = LocalStore(place / "repository", create=True)
        self.credentials = {"passphrase": PASSPHRASE}
        self.snapshots: dict[str, dict[str, Record]] = {}
        self.trash: list[str] = []
        made = config.Config(id=self.id.hex(), **parameters)
        repository.create(self.store, Passphrase(PASSPHRASE), self._cache("owner"), parameters=lambda _: made, clock=self.clock)

    def _cache(self, who: str) -> Path:
        return self.place / f"cache-{who}"

    def open(self, credential: Credential | None = None, who: str = "owner") -> repository.Repository:
        return repository.open_repository(self.store, credential or Passphrase(PASSPHRASE), self._cache(who), clock=self.clock)

    def add_key(self, role: Any, name: str) -> KeyFile:
        key = KeyFile.new(self.id, os.urandom)
        add_slot(self.store, self.open().keyring, role, key, name, clock=self.clock)
        self.credentials[name] = key.text()
        return key

    def back_up(self, credential: Credential | None = None, who: str = "owner") -> str:
        self.clock.advance(DAY)
        opened = self.open(credential, who)
        made = back_up(opened, BackupOptions(paths=[str(SOURCE)], host=f"{who}-machine", tags=["golden"]))
        self.snapshots[made.id] = describe_source()
        return made.id

    def save(self, name: str) -> None:
        """Archive and manifest."""
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            for path in sorted((self.place / "repository").rglob("*")):
                if path.is_file() and path.parent.name != "tmp":
                    _add(tar, path, path.relative_to(self.place))
        manifest = {"credentials": self.credentials, "trash": self.trash, "snapshots": self.snapshots}
        _write(HERE / f"{name}.tar.xz", lzma.compress(archive.getvalue(), preset=9))
        _write(HERE / f"{name}.json.xz", lzma.compress(json.dumps(manifest, indent=1, sort_keys=True).encode(), preset=9))


def describe_source() -> dict[str, Record]:
    """Records of ``SOURCE`` and what lies in it, under the paths that a snapshot gives them."""
    top = {os.fsdecode(SOURCE.name): _one(SOURCE)}
    return top | {f"{SOURCE.name}/{path}": _shifted(record) for path, record in describe(SOURCE).items()}


def _one(path: Path) -> Record:
    st = path.lstat()
    owner = {"uid": st.st_uid, "gid": st.st_gid}
    return {"kind": "directory", **owner, "mtime_ns": st.st_mtime_ns, "mode": st.st_mode & 0o7777, "xattrs": {}}


def _shifted(record: Record) -> Record:
    return {"same_as": f"{SOURCE.name}/{record['same_as']}"} if "same_as" in record else record


def _add(tar: tarfile.TarFile, path: Path, name: Path) -> None:
    data = path.read_bytes()
    info = tarfile.TarInfo(str(name))
    info.size = len(data)
    info.mode = 0o600
    tar.addfile(info, io.BytesIO(data))


def _write(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    print(f"{path.name}: {len(data)} bytes")


# What is backed up: the same bytes every time.


def text(seed: str, size: int) -> bytes:
    """Bytes that compress well and do not repeat."""
    lines = (f"{number:07} of {seed}: {'a long line that hardly adds anything, ' * 5}\n" for number in range(size))
    out = io.BytesIO()
    for line in lines:
        out.write(line.encode())
        if out.tell() >= size:
            break
    return out.getvalue()[:size]


def put(name: str | bytes, data: bytes, mode: int = 0o644, owner: tuple[int, int] = (0, 0)) -> bytes:
    path = os.path.join(os.fsencode(SOURCE), os.fsencode(name))
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(data)
    os.chown(path, *owner)
    os.chmod(path, mode)
    return path


def put_image(data: bytes) -> None:
    """A disk image that is a hole wherever a whole MiB is zeros."""
    put("disk.img", b"")
    with open(SOURCE / "disk.img", "r+b") as file:
        for at in range(0, len(data), 1 << 20):
            if data[at : at + (1 << 20)].strip(b"\0"):
                os.pwrite(file.fileno(), data[at : at + (1 << 20)], at)
        os.fsync(file.fileno())


def settle() -> None:
    """Fixed times for everything, each another, with odd nanoseconds."""
    for number, (here, folders, files) in enumerate(sorted(os.walk(os.fsencode(SOURCE)), reverse=True)):
        for place, name in enumerate(sorted(folders + files)):
            time = 1_600_000_000_123_456_789 + number * 10**9 + place * 1001
            os.utime(os.path.join(here, name), ns=(time, time), follow_symlinks=False)
    os.utime(SOURCE, ns=(1_650_000_000_000_000_001,) * 2)


def acl() -> bytes:
    """A POSIX ACL (acl(5)) in the kernel's form: owner rw, user 1234 r, group r, mask r, others none."""
    entries = [(1, 6, 0xFFFFFFFF), (2, 4, 1234), (4, 4, 0xFFFFFFFF), (16, 4, 0xFFFFFFFF), (32, 0, 0xFFFFFFFF)]
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


def fill_home() -> None:
    put("notes.txt", b"Remember the milk.\n", 0o600, (1234, 2345))
    put("empty", b"")
    put("runs", b"#!/bin/sh\n", 0o6755)
    put(b"caf\xe9 \xff\x01.txt", b"not UTF-8\n")
    put("Müllers Kuchen 🎂.txt", b"Zucker\n")
    put("-rf", b"a name like an option\n")
    put("new\nline", b"a name of two lines\n")
    put("a/b/c/d/deep.txt", text("deep", 300))
    put("medium.txt", text("medium", 100_000))
    put("large.bin", text("large", 400_000))
    twice = put("linked/one", b"one file, three names\n")
    os.link(twice, os.fsencode(SOURCE / "linked/two"))
    os.link(twice, os.fsencode(SOURCE / "zero"))
    os.symlink("../notes.txt", SOURCE / "linked/relative")
    os.symlink("/etc/passwd", SOURCE / "absolute")
    os.symlink(b"\xff gone", os.fsencode(SOURCE / "dangling"))
    os.lchown(SOURCE / "dangling", 1234, 2345)
    os.mkfifo(SOURCE / "pipe", 0o640)
    os.mknod(SOURCE / "null", 0o020666, os.makedev(1, 3))
    (SOURCE / "sticky").mkdir()
    os.chmod(SOURCE / "sticky", 0o3777)
    os.setxattr(SOURCE / "notes.txt", "user.comment", b"\x00\xffbytes")
    os.setxattr(SOURCE / "notes.txt", "user.empty", b"")
    os.setxattr(SOURCE / "notes.txt", b"user.no UTF-8: \xff", b"x")
    os.setxattr(SOURCE / "a/b", "user.folder", b"yes")
    os.setxattr(SOURCE / "medium.txt", "system.posix_acl_access", acl())
    sparse()


def sparse() -> None:
    """Two files with holes: in the middle and at the end; and nothing but a hole."""
    with open(SOURCE / "sparse", "wb") as file:
        file.write(b"begin".ljust(4096, b"."))
        file.seek(3 << 20)
        file.write(b"end".ljust(4096, b"."))
        file.truncate(5 << 20)
        os.fsync(file.fileno())
    with open(SOURCE / "all-hole", "wb") as file:
        file.truncate(20 << 20)


def family(golden: Golden) -> None:
    """Every sort of slot, entry and change; a writer's snapshots; rotation; the trash."""
    words = RecoveryKey.new(os.urandom)
    add_slot(golden.store, golden.open().keyring, "owner", words, "paper", clock=golden.clock)
    golden.credentials["recovery words"] = " ".join(words.words())
    reader, writer = golden.add_key("reader", "reader"), golden.add_key("writer", "writer")
    removed = golden.add_key("reader", "removed")
    fill_home()
    settle()
    golden.back_up()
    put("notes.txt", b"Remember the milk, and the bread.\n", 0o600, (1234, 2345))
    os.unlink(SOURCE / "a/b/c/d/deep.txt")
    put("large.bin", text("large", 200_000) + b"something in the middle" + text("large", 400_000)[200_000:])
    settle()
    forgotten = golden.back_up()
    golden.back_up(writer, "writer")
    key = slot_key(removed.slot_id)
    slot = golden.store.get(key)
    remove_slot(golden.store, golden.open().keyring, removed.slot_id, clock=golden.clock)
    golden.store.put(key, slot)  # a store that brings back what was deleted
    rotate(golden.store, golden.open().keyring, clock=golden.clock)
    put("after the rotation", text("rotated", 5000))
    settle()
    golden.back_up(reader, "reader")
    rotate(golden.store, golden.open().keyring, clock=golden.clock)
    late = golden.add_key("reader", "late reader")
    put("after two rotations", b"read by everybody who is left\n")
    settle()
    golden.back_up(writer, "writer")
    golden.back_up(late, "late")
    opened = golden.open()
    condemned.write(opened.seals, golden.store, condemned.Condemned(time_ns=golden.clock.now_ns(), trash=[forgotten]))
    golden.trash.append(forgotten)


def listed(golden: Golden) -> None:
    """A file of many chunks, and chunks that are padded; sizes of chunks other than the usual."""
    put("listed.txt", text("listed", 1_000_000))
    put("direct.txt", text("direct", 150_000))
    settle()
    golden.back_up()
    put("listed.txt", text("listed", 400_000) + b"INSERTED" + text("listed", 1_000_000)[400_000:])
    settle()
    golden.back_up()


def paged(golden: Golden) -> None:
    """A disk image that changes in place: blocks of zeros, blocks with other pages in them, a short last block; it grows."""
    image = bytearray(text("image", 3 << 20)) + bytes(3 << 20) + text("end", 700_001)
    put_image(bytes(image))
    put("small.img", b"too small to be paged")
    settle()
    golden.back_up()
    for place in (5, 70_000, 1 << 20, (6 << 20) + 700_000):
        image[place : place + 1] = b"!"
    put_image(bytes(image))
    settle()
    golden.back_up()
    put_image(bytes(image) + text("more", 100_000))
    settle()
    golden.back_up()


def columns(golden: Golden) -> None:
    """A database's pages, which are stored in columns: whole blocks, changed pages, and a last block that is no multiple of 16."""
    table = bytearray(
        b"".join(struct.pack("<QIHH", 0x1122334455 + row * 3, row, row // 7 & 0x7FFF, 0x4001) for row in range(400_000))
    )
    put("table.ibd", bytes(table) + b"the end")
    settle()
    golden.back_up()
    for row in range(5, 400_000, 9_000):
        table[row * 16 : row * 16 + 8] = struct.pack("<Q", row)
    put("table.ibd", bytes(table) + b"the END")
    settle()
    golden.back_up()


def split(golden: Golden) -> None:
    """A folder of so many names that its node is split (they are one file, so that the archive is small), and a deep one."""
    put("deep/" + "d/" * 400 + "bottom", b"the bottom")
    first = put("many/0000", b"x")
    for number in range(1, 9000):
        os.link(first, os.fsencode(SOURCE / f"many/{number:04x}"))
    settle()
    golden.back_up()
    put("many/0800 and a half", b"y")
    settle()
    golden.back_up()


SMALL_CHUNKS = ChunkerSizes((1024, 2048, 8192), (2048, 4096, 8192), 65536)
REPOSITORIES: dict[str, tuple[Callable[[Golden], None], dict[str, Any]]] = {
    "family": (family, {}),
    "listed": (listed, {"chunks": SMALL_CHUNKS, "pad": True}),
    "paged": (paged, {}),
    "split": (split, {}),
    "columns": (columns, {}),
}


def main() -> None:
    os.umask(0o022)
    for name in sys.argv[1:] or REPOSITORIES:
        fill, parameters = REPOSITORIES[name]
        if SOURCE.exists():
            sys.exit(f"{SOURCE} exists; it is made and removed by this program.")
        SOURCE.mkdir()
        place = Path(tempfile.mkdtemp())
        try:
            golden = Golden(place, **parameters)
            fill(golden)
            golden.save(name)
        finally:
            shutil.rmtree(SOURCE)
            shutil.rmtree(place)
    sums = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in sorted(HERE.glob("*.xz"))]
    (HERE.parent / "SHA256SUMS").write_text("".join(sums))


if __name__ == "__main__":
    main()
