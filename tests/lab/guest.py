"""A small hardware lab: a QEMU guest with Debian's standard kernel, which has USB sticks that can be pulled, CD drives, floppies,
vfat, isofs and udev, whatever the machine that runs it has.  It is emulated in software, so it needs no KVM.

``lab(folder)`` makes the guest once and keeps it; ``Lab.run`` boots it, runs a script with the real safehold, and throws away what it
changed.  A line ``LAB: device_del stick`` that the script prints (any command of QEMU's monitor) is carried out: so a stick is pulled.
"""

from __future__ import annotations

import compileall
import fcntl
import hashlib
import importlib.metadata
import shutil
import socket
import subprocess
import sys
import sysconfig
import time
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement

PROJECT = Path(__file__).parents[2]
PACKAGES = (
    "linux-image-amd64",
    "busybox-static",
    "udev",
    "kmod",
    "e2fsprogs",
    "dosfstools",
    "exfatprogs",
    "util-linux",
    "mount",
    "procps",
    "smartmontools",
    "python3",
)
BOOT_MODULES = ("virtio_pci", "virtio_blk", "ext4")
"""Of the first file system; all others are loaded from the second."""
LATER_MODULES = (
    "vfat",
    "exfat",
    "nls_ascii",
    "nls_cp437",
    "nls_utf8",
    "isofs",
    "udf",
    "usb-storage",
    "xhci-pci",
    "ehci-pci",
    "floppy",
    "sd_mod",
    "sr_mod",
    "ata_piix",
    "loop",
)
SECONDS = 280.0
"""For a run; a boot takes 10 to 30 seconds of it."""
_INIT = """#!/bin/bash
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 PYTHONDONTWRITEBYTECODE=1
mount -t proc p /proc; mount -t sysfs s /sys; mount -t devtmpfs d /dev 2>/dev/null
mount -t tmpfs t /run; mount -t tmpfs t /tmp; mkdir -p /site
mount -t ext4 -o ro /dev/vdc /mnt && exec bash /mnt/start.sh
"""
"""The guest's first program; the rest comes with each run, so that the guest itself seldom changes."""
_START = """
exec >/dev/ttyS0 2>&1 </dev/null
stty -F /dev/ttyS0 -onlcr
mount -t ext4 -o ro /dev/vdb /site
ln -sfn /proc/self/fd /dev/fd
install -m 755 /mnt/safehold /usr/local/bin/safehold
/lib/systemd/systemd-udevd --daemon
modprobe -aq MODULES
udevadm trigger; udevadm settle
echo LAB-START
bash /mnt/script.sh 2>&1 | cat; echo "LAB-END ${PIPESTATUS[0]}"
sync; echo o >/proc/sysrq-trigger; sleep 10
"""
_FIRST = """#!/bin/busybox sh
/bin/busybox mount -t devtmpfs d /dev
for m in MODULES; do /bin/busybox insmod /modules/$m; done
n=0; until [ -b /dev/vda ] || [ $n -gt 100 ]; do /bin/busybox sleep 0.1; n=$((n+1)); done
/bin/busybox mount -t ext4 /dev/vda /root && exec /bin/busybox switch_root /root /lab.sh
"""
_SAFEHOLD = """#!/usr/bin/python3
import sys
sys.path[:0] = ["/mnt/src", "/site"]
from safehold.__main__ import main
sys.exit(main())
"""


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    status: int
    """That of the script; 124: it took too long, 125: the guest ended without an end of the script."""
    output: str
    seconds: float


@dataclass(frozen=True)
class Lab:
    """A guest that was made, in ``folder``."""

    folder: Path

    def run(self, script: str, work: Path, *options: str, files: Path | None = None, seconds: float = SECONDS) -> Outcome:
        """Boot, run a bash script, power off.  In the guest ``/mnt/files`` is ``files``, and ``safehold`` is the program;
        ``options`` are QEMU's: drives, devices."""
        work.mkdir(parents=True, exist_ok=True)
        for left in ("serial", "monitor"):
            (work / left).unlink(missing_ok=True)
        share = _share(work, script, files)
        process = subprocess.Popen([*self._machine(work, _libraries(self.folder), share), *options], stdin=subprocess.DEVNULL)
        try:
            return _follow(process, work, seconds)
        finally:
            process.kill()
            process.wait()
            share.unlink()

    def _machine(self, work: Path, *images: Path) -> list[str]:
        return [
            *("qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "max", "-m", "1500", "-smp", "2", "-display", "none"),
            *(
                "-serial",
                f"file:{work / 'serial'}",
                "-monitor",
                f"unix:{work / 'monitor'},server,nowait",
                "-no-reboot",
                "-net",
                "none",
            ),
            *("-kernel", str(self.folder / "vmlinuz"), "-initrd", str(self.folder / "initrd")),
            *("-append", "console=ttyS0 quiet panic=-1 mitigations=off random.trust_cpu=on"),
            *("-drive", f"file={self.folder / 'guest.img'},format=raw,if=virtio,snapshot=on"),
            *(word for image in images for word in ("-drive", f"file={image},format=raw,if=virtio,readonly=on")),
        ]


def lab(folder: Path) -> Lab:
    """The lab in a folder, made if it is not there yet, or is another than this file makes."""
    folder.mkdir(parents=True, exist_ok=True)
    wanted = hashlib.sha256(repr((PACKAGES, BOOT_MODULES, _INIT, _FIRST)).encode()).hexdigest()
    stamp = folder / "made-by"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not stamp.exists() or stamp.read_text() != wanted:
            stamp.unlink(missing_ok=True)
            _build(folder)
            stamp.write_text(wanted)
    return Lab(folder)


def _build(folder: Path) -> None:
    root = folder / "root"
    shutil.rmtree(root, ignore_errors=True)
    left_out = [f"--dpkgopt=path-exclude=/usr/share/{each}/*" for each in ("doc", "man", "locale", "info")]
    command = ["mmdebstrap", "--quiet", "--variant=minbase", *left_out, f"--include={','.join(PACKAGES)}"]
    subprocess.run([*command, "bookworm", str(root)], check=True)
    start = root / "lab.sh"
    start.write_text(_INIT)
    start.chmod(0o755)
    shutil.copy(next(root.glob("boot/vmlinuz-*")), folder / "vmlinuz")
    (folder / "initrd").write_bytes(_first_files(root))
    for left in (*root.glob("boot/*"), *root.glob("var/cache/apt/*"), *root.glob("var/lib/apt/lists/*")):
        shutil.rmtree(left) if left.is_dir() else left.unlink()
    _make_image(folder / "guest.img", root, 2 << 30)
    shutil.rmtree(root)


def _make_image(image: Path, tree: Path, size: int, *options: str) -> None:
    image.unlink(missing_ok=True)
    with image.open("wb") as file:
        file.truncate(size)
    subprocess.run(["mkfs.ext4", "-q", "-F", *options, "-d", str(tree), str(image)], check=True)


def _first_files(root: Path) -> bytes:
    """The first file system, as a cpio archive: it finds the second.  (Debian's own takes an emulated machine 20 seconds.)"""
    tree = next(root.glob("lib/modules/*"))
    depends = dict(line.split(":", 1) for line in (tree / "modules.dep").read_text().splitlines())
    by_name = {Path(path).name.split(".")[0].replace("-", "_"): path for path in depends}
    wanted: list[str] = []

    def need(path: str) -> None:
        for each in reversed(depends[path].split()):
            need(each)
        if path not in wanted:
            wanted.append(path)

    for name in (*BOOT_MODULES, "crc32c_generic"):
        if name in by_name:
            need(by_name[name])
    files = {"init": _FIRST.replace("MODULES", " ".join(Path(path).name for path in wanted)).encode()}
    files["bin/busybox"] = next(path for path in (root / "bin/busybox", root / "usr/bin/busybox") if path.exists()).read_bytes()
    files |= {f"modules/{Path(path).name}": (tree / path).read_bytes() for path in wanted}
    folders = [_record(name, 0o040755) for name in ("bin", "modules", "dev", "root")]
    console = _record("dev/console", 0o020600, device=(5, 1))
    records = [*folders, console, *(_record(name, 0o100755, data) for name, data in files.items())]
    return b"".join([*records, _record("TRAILER!!!", 0)])


def _record(name: str, mode: int, data: bytes = b"", device: tuple[int, int] = (0, 0)) -> bytes:
    fields = (0, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(name) + 1, 0)
    head = b"070701" + b"".join(b"%08X" % field for field in fields) + name.encode() + b"\0"
    return head + bytes(-len(head) % 4) + data + bytes(-len(data) % 4)


def _share(work: Path, script: str, files: Path | None) -> Path:
    tree = work / "share"
    shutil.rmtree(tree, ignore_errors=True)
    tree.mkdir()
    (tree / "script.sh").write_text(script)
    (tree / "start.sh").write_text(_START.replace("MODULES", " ".join(LATER_MODULES)))
    (tree / "safehold").write_text(_SAFEHOLD)
    shutil.copytree(PROJECT / "src/safehold", tree / "src/safehold", ignore=shutil.ignore_patterns("node_modules"))
    shutil.copytree(PROJECT / "tools", tree / "tools", ignore=shutil.ignore_patterns("__pycache__"))
    # Emulated, compiling takes most of a program's start.  The guest's Python has this one's minor version, or compiles on its own.
    # What was compiled here already is copied, too, and known by its source's time.
    compileall.compile_dir(tree / "src", quiet=2, workers=2)
    if files is not None:
        shutil.copytree(files, tree / "files", symlinks=True)
    image = work / "share.img"
    _make_fitting(image, tree, "LABFILES")
    return image


def _libraries(folder: Path) -> Path:
    """An image of the libraries that safehold needs, made anew when others are."""
    made_of = hashlib.sha256((PROJECT / "requirements.lock").read_bytes()).hexdigest()[:16]
    image, tree = folder / f"site-{made_of}.img", folder / "site"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not image.exists():
            shutil.rmtree(tree, ignore_errors=True)
            for old in folder.glob("site-*.img"):
                old.unlink()
            for path, name in _needed_files():
                place = tree / name
                place.parent.mkdir(parents=True, exist_ok=True)
                if not place.exists():
                    shutil.copy2(path, place)
            _make_fitting(folder / "site.new", tree, "LABSITE")
            (folder / "site.new").rename(image)
    return image


def _make_fitting(image: Path, tree: Path, label: str) -> None:
    """An image that has room for a tree, which goes."""
    size = int(subprocess.run(["du", "-sm", tree], check=True, capture_output=True, text=True).stdout.split()[0])
    _make_image(image, tree, (size * 5 // 4 + 32) << 20, "-L", label, "-O", "^has_journal")
    shutil.rmtree(tree)


def _needed_files() -> Iterator[tuple[Path, str]]:
    """The files of all libraries that safehold needs, compiled, as this environment has them."""
    library = Path(sysconfig.get_paths()["purelib"])
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    todo, seen = [project["dependencies"]], set()
    while todo:
        for need in map(Requirement, todo.pop()):
            if (need.marker is None or need.marker.evaluate({"extra": ""})) and need.name not in seen:
                seen.add(need.name)
                todo.append(importlib.metadata.requires(need.name) or ())
    for name in sorted(seen):
        for each in importlib.metadata.distribution(name).files or ():
            path = Path(str(each.locate()))
            if ".." not in each.parts and path.is_relative_to(library) and path.is_file():
                yield path, str(each)


def _follow(process: subprocess.Popen[bytes], work: Path, seconds: float) -> Outcome:
    start, at, lines, running, status = time.monotonic(), 0, [], False, 125
    while True:
        ended = process.poll() is not None
        serial = work / "serial"
        text = serial.read_bytes() if serial.exists() else b""
        end = len(text) if ended else text.rfind(b"\n") + 1
        for line in text[at:end].decode(errors="replace").splitlines():
            if line == "LAB-START":
                running = True
            elif line.startswith("LAB-END "):
                status, running = int(line.split()[1]), False
                return Outcome(status, "\n".join(lines), time.monotonic() - start)
            elif line.startswith("LAB: "):
                _tell(work / "monitor", line[5:])
            elif running:
                lines.append(line)
        at = max(at, end)
        if ended:
            return Outcome(status, "\n".join(lines) or text[-3000:].decode(errors="replace"), time.monotonic() - start)
        if time.monotonic() - start > seconds:
            return Outcome(124, "\n".join(lines) or text[-3000:].decode(errors="replace"), seconds)
        time.sleep(0.1)


def _tell(monitor: Path, command: str) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(monitor))
        connection.recv(999)
        connection.sendall(command.encode() + b"\n")
        time.sleep(0.3)


if __name__ == "__main__":
    made = lab(Path(sys.argv[1]))
    _libraries(made.folder)
    if len(sys.argv) > 3:
        ended = made.run(Path(sys.argv[2]).read_text(), Path(sys.argv[3]), *sys.argv[4:])
        print(ended.output)
        print(f"status {ended.status} after {ended.seconds:.0f} s", file=sys.stderr)
        sys.exit(ended.status)
