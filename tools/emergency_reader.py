#!/usr/bin/env python3
"""Reads a Safehold repository, format 1, without Safehold: for the day when nothing else is left.

    python emergency_reader.py [--key-file FILE | --words-file FILE] REPOSITORY list
    python emergency_reader.py [--key-file FILE | --words-file FILE] REPOSITORY restore SNAPSHOT TARGET

REPOSITORY is the folder with ``config``, SNAPSHOT the beginning of an id or ``latest``, TARGET a new or empty folder; nothing
outside it is written.  The passphrase is asked for, or taken from SAFEHOLD_PASSWORD.  Status 0: everything came back.
It needs Python 3.11 on Linux, macOS or a BSD, ``pip install cryptography msgpack`` and one zstd: Python 3.14's own,
``backports.zstd`` or ``zstandard``; with ``blake3`` it also checks the name of every chunk (the seals it always checks).
Written from ``docs/format/``; each part names its page.  It needs no index: the packs say where every chunk lies.  Owners are
restored by number, as root; inode flags, creation times and Windows' security descriptors are not.
"""
# fmt: off

import argparse, base64, bisect, functools, getpass, hashlib, hmac, importlib, io, json, os, re, resource  # noqa: E401, I001
import stat, struct, sys, time, unicodedata, zlib  # noqa: E401
from contextlib import suppress
from pathlib import Path

import msgpack as messages
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

found = {}
for module in ("zstandard", "backports.zstd", "compression.zstd", "blake3"):
    with suppress(ImportError):
        found[module.split(".")[0]] = importlib.import_module(module)
zstd = found.get("compression") or found.get("backports") or found["zstandard"]
blake3 = getattr(found.get("blake3"), "blake3", None)

DATA, TREE, MAP = 1, 2, 3  # README.md: kinds of chunks
FILE, FOLDER, SYMLINK, *_ = range(7)  # trees.md: kinds of entries; then those that mknod makes
NODES = {3: stat.S_IFIFO, 4: stat.S_IFSOCK, 5: stat.S_IFCHR, 6: stat.S_IFBLK}

BROKEN = (OSError, ValueError, TypeError, LookupError, AttributeError, OverflowError, RecursionError, struct.error,
          zstd.ZstdError, messages.UnpackException, InvalidTag, InvalidSignature)  # what reading something damaged raises


def require(condition, problem):
    """Raise ``ValueError`` unless ``condition``."""
    if not condition:
        raise ValueError(problem)


msgpack = functools.partial(messages.unpackb, strict_map_key=False)  # README.md, "Conventions"


def derive(key, info, length=32):  # keys.md, "Primitives": HKDF-Expand with SHA-256 (RFC 5869, 2.3)
    out = block = b""
    while len(out) < length:
        block = hmac.new(key, block + info + bytes([len(out) // 32 + 1]), "sha256").digest()
        out += block
    return out[:length]


def unseal(key, sealed, bound):  # keys.md, "Primitives": AES-256-GCM with a nonce of zeros
    return AESGCM(key).decrypt(bytes(12), sealed, bound)


def unwrap(private, wrapped, info):  # keys.md, "Primitives": HPKE (RFC 9180), base mode, single shot, no associated data
    suite = hpke.Suite(hpke.KEM.X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)
    return suite.decrypt(wrapped, X25519PrivateKey.from_private_bytes(private), info)


def unpack(payload, limit):  # segments.md, "Packed payload"
    """The raw bytes of a payload, at most ``limit``."""
    method, raw, length = struct.unpack_from("<BII", payload)
    body = payload[9 : 9 + length]
    require(method in (0, 1, 2) and raw <= limit and len(body) == length, "a payload is not of this format")
    if method:
        unpacker, package = zstd.ZstdDecompressor(), hasattr(zstd.ZstdDecompressor, "stream_reader")  # the package zstandard
        body = unpacker.stream_reader(body).read(raw + 1) if package else unpacker.decompress(body, max_length=raw + 1)
    require(len(body) == raw, "a payload has another length than it claims")
    columns, data = io.BytesIO(body), bytearray(body)
    for first in range(16 if method == 2 else 0):  # "Columns"
        data[first::16] = columns.read(len(data[first::16]))
    return bytes(data)


def secret_of_words(text):  # keys.md, "Recovery key"
    """The 32 bytes behind 24 words.  WORDS: four letters of each of BIP-39, as how many it shares with the last, and the rest."""
    listed, before = {}, ""
    for shared, rest in re.findall(r"(\d)([a-z]+)", zlib.decompress(base64.b64decode(WORDS)).decode()):
        before = before[: int(shared)] + rest
        listed[before] = len(listed)
    typed = [word[:4] for word in re.findall(r"[a-z]+", text.lower())]
    strange = sorted(set(typed) - set(listed))
    require(len(typed) == 24 and not strange, f"24 words are needed; these are {len(typed)}, and not in the list: {strange}")
    both = sum(listed[word] << 11 * (23 - place) for place, word in enumerate(typed)).to_bytes(33, "big")
    require(both[32:] == hashlib.sha256(both[:32]).digest()[:1], "the recovery words do not fit together")
    return both[:32]


def secret_of_key_file(text):  # keys.md, "Key file"
    """Slot id and secret."""
    values = dict(re.findall(r"^\s*(repository|slot|secret|checksum):\s*(\S+)", text, re.MULTILINE))
    body = "safehold key file 1\n" + "".join(f"{name}: {values[name]}\n" for name in ("repository", "slot", "secret"))
    require(hashlib.sha256(body.encode()).hexdigest()[:16] == values["checksum"].lower(), "the key file is damaged")
    return bytes.fromhex(values["slot"]), base64.b64decode(values["secret"])


class Keys:  # keys.md
    """What an opened slot gives.  ``method``: passphrase, keyfile, recovery; ``secret``: text, (slot id, secret), or secret."""
    def __init__(self, folder, repository_id, method, secret):
        self.repository_id, self.sessions = repository_id, {}
        objects = list(attempts(sorted((folder / "keys").iterdir()), self.read))
        slots = [body for kind, body, _, _ in objects if kind == "slot"]
        opened = next(filter(None, attempts(slots, lambda body: self.open(body, method, secret))), None)
        require(opened, "no key slot of this repository opens with that key")
        self.slot_id, (self.id_key, self.index_key, self.exchange_private, _, self.admin, _, _, self.privates, _) = opened
        genuine = list(attempts(objects, lambda item: self.verify(self.admin, item[0], *item[2:]) or item))
        retired = {body[0]: body[3] for kind, body, *_ in genuine if kind == "retired"}
        slots = [msgpack(body[0]) for kind, body, *_ in genuine if kind == "slot"]
        epochs = sorted((body for kind, body, *_ in genuine if kind == "epoch"), reverse=True)
        self.devices = {**retired, **{slot[0]: slot[6] for slot in slots}}
        gone = set(retired).union(*(epoch[6] for epoch in epochs))
        require(self.slot_id in self.devices and self.slot_id not in gone, "this key was removed from the repository")
        require(self.privates, "this is a writer's key, which reads nothing")
        list(attempts(epochs, self.collect))

    def read(self, path):  # "Objects"
        """Kind, body, encoded body and signature of a key object."""
        kind, data = path.suffix[1:], path.read_bytes()
        start = self.domain(kind)
        require(len(data) <= 1 << 20 and data.startswith(start), "it is no key object of this repository")
        body = msgpack(data[len(start) : -64])
        name = f"{body[0]:08}" if kind == "epoch" else (msgpack(body[0]) if kind == "slot" else body)[0].hex()
        require(name == path.stem, "it belongs elsewhere")
        return kind, body, data[len(start) : -64], data[-64:]

    def open(self, body, method, secret):  # "Slot body", "From credential to KEK"
        """Slot id and secrets, or None where the key does not fit."""
        slot_id, _, _, _, how, _, _, commitment = msgpack(body[0])
        if how[0] != method or (method == "keyfile" and secret[0] != slot_id):
            return None
        master = secret[1] if method == "keyfile" else secret
        if method == "passphrase":
            _, salt, memory, passes, lanes = how
            require(65536 <= memory <= 1 << 20 and 3 <= passes <= 16 and 1 <= lanes <= 16, "a forbidden derivation")
            argon = Argon2id(salt=salt, length=32, iterations=passes, lanes=lanes, memory_cost=memory)
            master = argon.derive(unicodedata.normalize("NFC", secret).encode())
        both = derive(master, self.domain("kek/" + method) + slot_id, 64)
        if not hmac.compare_digest(both[32:], commitment):
            return None
        return slot_id, msgpack(unseal(both[:32], body[1], self.domain("slot") + body[0]))

    def collect(self, epoch):  # "Epoch body", "Opening": keep an epoch's private key, and that of the epoch before
        number, previous, wrapped = epoch[0], epoch[3], dict(epoch[5])
        context = number.to_bytes(4, "big")
        if number not in self.privates and self.slot_id in wrapped:
            info = self.domain("epoch") + context + self.slot_id
            self.privates[number] = unwrap(self.exchange_private, wrapped[self.slot_id], info)
        if number in self.privates and number - 1 not in self.privates:
            self.privates[number - 1] = unwrap(self.privates[number], previous, self.domain("previous-epoch") + context)

    def domain(self, kind):  # "Primitives": what stands before everything that is signed
        return b"safehold/1/" + kind.encode() + b"\0" + self.repository_id

    def verify(self, public, kind, message, signature):  # raises InvalidSignature
        Ed25519PublicKey.from_public_bytes(public).verify(signature, self.domain(kind) + message)

    def session_key(self, reference):  # README.md, "Session reference"
        session_id, epoch, wrapped = reference[:3]
        if wrapped not in self.sessions:
            info = self.domain("session") + epoch.to_bytes(4, "big") + session_id
            self.sessions[wrapped] = unwrap(self.privates[epoch], wrapped, info)
        return self.sessions[wrapped]


def attempts(items, action):
    """What ``action`` makes of each item; what is broken is reported and left out."""
    for item in items:
        try:
            yield action(item)
        except BROKEN as error:
            print(f"Ignored {item if isinstance(item, Path) else 'a key object'}: {error!r}", file=sys.stderr)


class Repository:  # a repository, opened
    def __init__(self, folder, method, secret):  # config.md
        self.folder, self.rows, self.segments, self.opened = Path(folder), [], [], {}
        tries = attempts(sorted(self.folder.glob("config*")), lambda path: self.open(path, method, secret))
        require(None in tries, "neither config nor config-copy can be read and opens with that key")

    def open(self, path, method, secret):  # config.md, "Reading"
        line, _, signature = path.read_bytes().partition(b"\n")
        config = json.loads(line)
        require(config["version"] == 1 and config["requires"] == [], "this format is unknown to this program")
        self.id = bytes.fromhex(config["id"])
        self.keys = Keys(self.folder, self.id, method, secret)
        self.keys.verify(self.keys.admin, "config", line, bytes.fromhex(signature.decode().strip()))
        self.names = {kind: derive(self.keys.id_key, b"safehold/1 names " + bytes([kind])) for kind in (DATA, TREE, MAP)}

    def snapshots(self):  # snapshots.md: (Id, snapshot), oldest first
        paths = (self.folder / "snapshots").iterdir()
        return sorted(attempts(paths, lambda path: (path.name, self.snapshot(path))), key=lambda found: found[1]["time_ns"])

    def snapshot(self, path):  # objects.md: the body of the sealed object of a snapshot
        data = path.read_bytes()
        magic, length = struct.unpack_from("<8sI", data)
        header = data[12 : 12 + length]
        kind, repository, object_id, signer, session = msgpack(header)[:5]
        require(hashlib.sha256(data).hexdigest() == path.name, "its bytes are not those of its name")
        require((magic, kind, repository) == (b"SHOBJ01\n", "snapshot", self.id), "it is no snapshot of this repository")
        self.keys.verify(self.keys.devices[signer], "object", hashlib.sha256(data[:-64]).digest(), data[-64:])
        key = derive(self.keys.session_key(session), b"safehold/1 object " + object_id)
        return msgpack(unpack(unseal(key, data[12 + length : -64], b"safehold/1 object\0" + header), 1 << 28))

    def survey(self):  # packs.md, "Rebuilding the index": sorted rows of name, segment's number, offset, length
        list(attempts(sorted((self.folder / "packs").glob("*/*")), self.survey_pack))
        self.rows.sort()

    def survey_pack(self, path):  # packs.md; segments.md, "Table of a segment": take in one pack
        with path.open("rb") as file:
            magic, kind = struct.unpack("<8sB7x", file.read(16))
            end = file.seek(-92, os.SEEK_END)
            _, _, length, end_magic = struct.unpack("<16s64sI8s", file.read(92))
            require((magic, end_magic) == (b"SHPACK1\n", b"SHPEND1\n"), "it does not begin and end as a pack does")
            require(length <= min(1 << 26, end - 16), "its footer is too long")
            file.seek(end - length)
            sessions, segments = msgpack(file.read(length))[:2]
            for segment_id, session, offset, size, table_offset, table_size, _ in segments:
                file.seek(table_offset)
                key = derive(self.keys.index_key, b"safehold/1 table " + segment_id)
                bound = b"safehold/1 table\0" + self.id + bytes([kind]) + segment_id
                at = 0
                for name, chunk in struct.iter_unpack("<24sI", unseal(key, file.read(min(table_size, end)), bound)):
                    self.rows.append(name + struct.pack(">III", len(self.segments), at, chunk))
                    at += chunk
                self.segments.append((path, kind, segment_id, offset, size, sessions[session]))

    def chunk(self, kind, name):  # the bytes of a chunk, from the first place where it is whole
        problem = f"chunk {name.hex()} is in no pack"
        at = bisect.bisect_left(self.rows, name)
        while at < len(self.rows) and self.rows[at].startswith(name):
            number, offset, length = struct.unpack(">III", self.rows[at][24:])
            at += 1
            try:
                data = self.segment(kind, number)[offset : offset + length]
                require(not blake3 or blake3(data, key=self.names[kind]).digest(24) == name, "not what its name says")
                return data
            except BROKEN as error:
                problem = f"chunk {name.hex()}: {error!r}"
        raise ValueError(problem)

    def segment(self, kind, number):  # segments.md: the raw bytes of a segment that should be of this kind; the last few are kept
        path, _, segment_id, offset, size, session = self.segments[number]
        if (kind, number) not in self.opened:
            with path.open("rb") as file:
                file.seek(offset)
                sealed = file.read(min(size, (1 << 24) + 1024))
            key = derive(self.keys.session_key(session), b"safehold/1 segment " + segment_id)
            if len(self.opened) > 7:
                del self.opened[next(iter(self.opened))]
            bound = b"safehold/1 segment\0" + self.id + bytes([kind]) + segment_id
            self.opened[kind, number] = unpack(unseal(key, sealed, bound), 1 << 24)
        return self.opened[kind, number]

    def entries(self, tree):  # trees.md: the entries of a folder
        entries, _, _, parts = msgpack(self.chunk(TREE, tree))[:4]
        entries += [entry for part in parts for entry in msgpack(self.chunk(TREE, part))[0]]
        before = b""
        for name in (entry[0] for entry in entries):
            require(before < name not in (b".", b"..") and not {47, 0} & {*name}, f"a folder holds the name {name!r}")
            before = name
        return entries

    def content(self, entry, more):  # contents.md
        """Offset and bytes of each piece of a file; what lies between them is zeros."""
        if more.get("p"):
            return (yield from self.pages(more["m"]))
        names = [entry[9][at : at + 24] for at in range(0, len(entry[9]), 24)]
        if "m" in more:
            parts = struct.iter_unpack("<24sQ", self.chunk(MAP, more["m"]))
            names = (name for part, _ in parts for name, _ in struct.iter_unpack("<24sI", self.chunk(MAP, part)))
        edges = [0]
        for offset, length in zip(more.get("h", [])[::2], more.get("h", [])[1::2], strict=True):
            edges += [offset, offset + length]
        require(edges == sorted(edges), "its holes are out of order")
        data, chunks = b"", (self.chunk(DATA, name) for name in names)
        for at, end in zip(edges[::2], [*edges[1::2], entry[7]], strict=True):
            while at < end:
                data = data or next(chunks, b"")
                require(data, "it has less content than its size says")
                yield at, data[: end - at]
                at, data = at + len(data[: end - at]), data[end - at :]
        require(not data and next(chunks, None) is None, "it has more content than its size says")

    def pages(self, top):  # paged.md: offset and bytes of each piece of a paged file
        at = 0
        for group, length in struct.iter_unpack("<24sQ", self.chunk(MAP, top)):
            for number, (_, extents) in enumerate(msgpack(self.chunk(MAP, group))):
                for offset, name, begin, size in extents:
                    yield at + (number << 20) + offset, self.chunk(DATA, name)[begin : begin + size]
            at += length


class Restore:  # trees.md
    """Brings back a snapshot.  Every step is one name below an open folder, so that no link that lies there leads elsewhere."""
    def __init__(self, repository, target):
        self.repository, self.target, self.links, self.problems, self.is_root = repository, target, {}, 0, os.geteuid() == 0

    def attempt(self, path, action, *arguments, **options):
        """Do it; what fails is reported and counted."""
        try:
            action(*arguments, **options)
        except BROKEN as error:
            self.problems += 1
            print(f"Not as it was: {os.fsdecode(path)!r}: {error!r}", file=sys.stderr)

    def folder(self, fd, path, tree):  # fill the open, empty folder ``fd``, which lies at ``path`` below the target
        for entry in self.repository.entries(tree):
            self.attempt(os.path.join(path, entry[0]), self.entry, fd, os.path.join(path, entry[0]), entry, entry[10] or {})

    def entry(self, fd, path, entry, more):  # bring back one entry into the folder ``fd``
        name, kind, mode, uid, gid, mtime = entry[:6]
        link = (kind, *more["l"]) if "l" in more and kind != FOLDER else None
        if link in self.links:
            return os.link(self.links[link], name, src_dir_fd=self.target, dst_dir_fd=fd, follow_symlinks=False)
        own = self.make(fd, name, kind, more)
        if link:
            self.links[link] = path
        if kind == FOLDER:
            self.attempt(path, self.folder, own, path, entry[9])
        elif kind == FILE:
            self.attempt(path, self.fill, own, entry, more)
        if self.is_root:
            self.attempt(path, os.chown, name, uid, gid, dir_fd=fd, follow_symlinks=False)
        for key, value in more.get("x", {}).items():
            where = b"/proc/self/fd/%d/%b" % (fd, name) if own is None else own
            self.attempt(path, os.setxattr, where, key, value, follow_symlinks=own is not None)
        if kind != SYMLINK:  # without set-id bits where the owner could not be restored
            self.attempt(path, os.chmod, name, mode & (0o7777 if self.is_root else 0o1777), dir_fd=fd)
        self.attempt(path, os.utime, name, ns=(mtime, mtime), dir_fd=fd, follow_symlinks=False)
        return own is not None and os.close(own)

    def make(self, fd, name, kind, more):  # make what the entry is, new and empty; a descriptor of it if it is a file or a folder
        if kind == FILE:
            return os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600, dir_fd=fd)
        if kind == FOLDER:
            os.mkdir(name, 0o700, dir_fd=fd)
            return os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=fd)
        if kind == SYMLINK:
            return os.symlink(more["t"], name, dir_fd=fd)
        return os.mknod(name, 0o600 | NODES[kind], os.makedev(*more.get("d", (0, 0))), dir_fd=fd)

    def fill(self, fd, entry, more):  # write the content of a file; what is not written stays a hole
        os.ftruncate(fd, entry[7])
        for at, data in self.repository.content(entry, more):
            require(at + len(data) <= entry[7], "its content passes its end")
            while written := os.pwrite(fd, data, at):
                at, data = at + written, data[written:]


def main():
    """The command line.  Exit status: 0 all is well, 1 something did not come back."""
    parser = argparse.ArgumentParser(usage=__doc__)
    for name in ("--key-file", "--words-file", "repository", "command"):
        parser.add_argument(name, **({"choices": ("list", "restore")} if name == "command" else {}))
    parser.add_argument("what", nargs="*", help="of restore: SNAPSHOT TARGET")
    options = parser.parse_args()
    require(len(options.what) == (2 if options.command == "restore" else 0), "restore takes SNAPSHOT and TARGET, list nothing")
    if options.key_file:
        method, secret = "keyfile", secret_of_key_file(Path(options.key_file).read_text("utf-8-sig"))
    elif options.words_file:
        method, secret = "recovery", secret_of_words(Path(options.words_file).read_text("utf-8-sig"))
    else:
        method, secret = "passphrase", os.environ.get("SAFEHOLD_PASSWORD") or getpass.getpass("Passphrase: ")
    repository = Repository(options.repository, method, secret)
    snapshots = repository.snapshots()
    if options.command == "list":
        for name, found in snapshots:
            when = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(found["time_ns"] // 10**9))
            print(name, when, repr(found["host"]), *found["source"].get("paths", []), "incomplete" * found.get("incomplete", 0))
        return 0
    wanted, target = options.what
    wanted = [found for name, found in snapshots if name.startswith(wanted)] if wanted != "latest" else [snapshots[-1][1]]
    require(len(wanted) == 1, f"{len(wanted)} snapshots are called {options.what[0]}")
    os.makedirs(target, 0o700, exist_ok=True)
    require(not os.listdir(target), "the target is not empty")
    repository.survey()
    sys.setrecursionlimit(50_000)  # a folder in a folder costs four calls, and an open file
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    restore = Restore(repository, os.open(target, os.O_RDONLY | os.O_DIRECTORY))
    restore.attempt(b"", restore.folder, restore.target, b"", wanted[0]["tree"])
    print(f"{restore.problems} problems." if restore.problems else "Everything came back.")
    return 1 if restore.problems else 0


WORDS = "eNpNWGuCrKwO3JKEFaGickTwgLTjrP5WBft899dM+wh5VCoVBze6JCFK9JKb/Uj1NtvLNmnVTJO3AT+bbEHCjAfkb5OS5dLLxTYzu1Nm/Cryp8kRpEX5OBuML9ksi7NZijOrC+JtkuLN5p0JhxR7So0muiJjkymLLxK8RIvT5ciSk5wbnpeKw7zczhzusr+43j1LLsq02SCrtxGHw+QeJdHVfEm98RJu/gR5zIkzcpSzP1iCKXjxEu/g0AqfeaR9GFtxVuNFePx7m7rjNan9cpNrM9cWJR9y9UvFtOmSOdBOunCfuTIfxJIn5OB2O3L0iK+yNNlv8xPqMLrxoetZ5lVWic5ONsoxSqJDBXZXuFlpfpfrMt5NlkFPzKVfZMmyBtmQY4kswiVpsnASxxfU7ZYnmzA9MsvuJc0Mvcx4CqYiTM32gLnK8KuEJDnbypR6eFpNdrAh80NA0CXPfO54svQa1wo70pL8ILEF5gKNATUw5yXQPP3nAcjAjn+y+oSKtXGUebarLIvCbcRtVGxGlDC+4o0Kaw/tP15+f4fJjSOuoM4XqsxoYrSHHB7QSZZpm9X+By+dSAccL3a0tHVahoEcbrzMyunzHhcbTsKfjze+g/5Alnil4K7ZHA7UDGU1UjtQ+OrCnwyRODokEyfohMbqFBNWJwnlm+RiEJ+AZAc1cRMADv98+suLmj+ZH3XFNuZnxFX8QAEmnIJ+mH1PFDCBsInrY9S3A548WfMZPzTVsPFhlYDxE4cpihOLdWmx6KDGgqAJjuL6u8f77o22goOs3E0X1RHJJ3FB1yaFekfNY1lIVOKS045oJiaapMGOurx5pjjMbpbDdR9XPIKbyLrcCZDxaNsRySCaaZWRFfb+4rX4a2FDBL4fJLF2WtsvJdFYd2dHSJe2IaJiz5rgVi0dbHt0HO4if2tg/lDhxGqx/rVXc8OTWW301wE4kyeesTLfJzxgQ+64k9mNqBAxUxxzzgzdbwctOJT5RQVOaQdibNPee0fdhZOTfUAFxTzJDd6RsKTwJTijEZppwym4YmbgPLBkoM5s1hWw2sg6cVRA+EkP52GB8DYHcvkmEKx3MpsXqHG0Ezg5ki+YDzIG87k5+ZNBGkp1jLk2pUk8gtDOUM3fRuouDCzP7Hrg+zR1csqBSLe5cNQWzCfAvmLO/ABOB3KuvRaRQHhZOj8BvQqlq9fwW26ciWR4Ow6LG1kuvIToAjOC3Fe2ON1LqBT68iCA2MCke46XDBhdgjeZEktHWKyp55ogv00ARkEbPpKZo0fSLpazs1MgEg4SzmRpGWyGbu1lJZg9fFnZoYRKZgsEQh+9iTgJEBKHxk9eLZMa3d9OroyYBIk0wqT4v0QJh1/uzcp2a8E0+JZI+Imc14bVYRyAjwH/SE462cdkM5JNhTfImvbRL5gradW0JSpIK1egP8kCnlwlrXwzsqTRkSGVtmZS1qgz+8OIPKIB0c8I5C01sHp2jrgTfAeGlNzP/6P3WRkUxKW8kEzDZPVqPDK/5jmGzY2oO7p4kYMpxgA6EQoDoZ1L7e/y61BDvkZaZODadUpsAJ0JcAzIj5FT9VQZAGrEAEFrxblDSYkbmmXmiC49zKqkgGZVRKNl0U8H05g5aFZWa+6jYTTPWIYAqshoO9UC0Zs1ZROpQRLkxsomOwjO071iJ2FudwzPX2EEicNG2zRBl/zh84QjdcypcumVD1++wvWXsQqOrtFxQteGzjrMJ5fhj0OQQG0hJYEvdQDIjYKNxMeu0YFlmLVJDmRsValQr2F3aTXec7qgER7IgB08kDR2Hd3vDLyDSQT5wlreQ3SjuoXp/NC+2pQTyVq7jMLMTFB1cvcZgOn8aPkWLR/6jMizmoFK8Zb6PAchdr2AWgQKPd/JeaEPKC+PGsnzO+UeM3X1pwmPTOzKWDkpdioeZHSlSY403uIwc0q2AH2XT5P8NPOUMBxu2iCAlP0VnYnMx/MOlQ7qHwsbCU2yKicKeH5Xwrr6hCBQoCDZcNpIvEW7Kr0ovA4Flg6mbqNwEFaWeSOGWTqOZcjiNL94Ka6rOxr7YTVQ16BwohLlzOs+ICN9kEv9S2FJQmxJGxQU3eAHxlvUida9pf65EH7ltWsbkgsfJRLoq64FIGERSWET+ZkjIRKxlNkfvc+m7g1a5ecybI51g3tRyxrYauVQXdWBTD5Wtm2TqsWCyIfsdjP6B43ASUPf8DD10ATq9E6ubOZcMN/YFJQMIZrdPQY8BH+fwxwBI4wjXAKHFcbj6almgP0TypzjCbgIWgmagPAKhMa5mXoVCHQ0/kWOAHOZD/QG3zZ3st78PCvyc5nfnIbTTcp/nLgqOg7WyGsaSSgMcO9cUQmIrTMulKwi73h1OVkHcaoeJTpJdosOF/IyJ1px8nR+nvjTT2gVlbL5Bf7p38mFfo9qtKruoSaj+kLzmeyZ+D4eGHRiq3KpAaBURtTOLr18iKOLc9QZTXq+cy181T8l/4fL1Gi/MvLPq4e6IP2AO6NOh8hrygiTnCAxIj3oNQ5luvwUN0A3RJWcXhWyLmrXgCECxiY69940VLPMV+wG2YYwSnrX4UbX5Te/k6GSL9pXKHJDm8G2XQqvrEVTjPXbD2n+VQ3vlDq76GCeSS3Ta+bkNtBfb0mbicvl9gDvIxQtdQxxhTUF2oEIBxVSwIDLsI41LrdeyQn+0RWKPVD4ArAcvTOULuEB2Yk7j6ekRGejvZCqildJDItXGeE076SQvtfMdE63io4zM/XMEjlJNtI00A5uLfbfvsqufneVKb+ywHOvWg8yROefDhHIvk8nZTwDWt6UxbkX+7nv0VwxXj07qe7m6sDvAoUbcFs4VoANThb06MoccXRymcNDR/in+zuqGzZFEOgOseEBYNth0rj5j1RHJDjFJbUSFNK7LB5OnVGJmaFouUueOrBuJP8kqoKiiqMnktCDOklNsCp3aq/Gd/W5DNrd9vX4Xec4E7Z3Zd3VKQrjoN1RtG210R7VxKTcy41vr/RlqHyb1KskLzRFo3l6e4yz8ftFganTnUueCFSw224GsbHJuKc42+UG5xN75PRqs3g98VRjVDdYJOJ7XtdkfY8D3iGpMY/QoJyjA7zVInWxyg5M+i0DIx1DTufsT1AOO1Rmgb/SK7Yvkv/mlKy+kTxU51UXh95lDXe6vvCk0KjDEMl/XrkGiEVUCk3i2Puz6GPwZVdFlnWcI7+ZyvG0L7Okl24dNc7dx9/zb2Fd/xOk38wDPJR3717EpbX1hTW+a+yj6yoz+/3AwmIjjT525GlY5kG+w9DW+GCnKrpCoT7kjpktp9+xsD4h23+VSndgnsOojwNzAohYXbf85XPwLwJfvamQkV69j9KwPoU4fBw4reliErRpEvKA0da3RbSG36AvPiQylRb8CFIRMBNDITVy9Zk4p9iB96uS+ZlH9wHXP1XpzM3Y3IhwiROvUTENNzfQzJRQm1AdXn1kqXh5BbRSD8Xn9yMIv92I33VW9k0LEIn960j/2hA4b8NM7gW36X6U3oVr79hCXvgbcwMDjQuC0+9TfLLMSiDs1IL29qS/0GXQ8Lgyq26JQFSjqeHXIwXYEzIXgP8B/AT1YQ=="  # noqa: E501

if __name__ == "__main__":
    try:
        sys.exit(main())
    except (InvalidSignature, KeyError, OSError, ValueError) as error:
        sys.exit(f"Error: {error!r}")
