#!/usr/bin/env python3
"""Restores from Safehold's discs, floppies and their images, without Safehold: for the day when nothing else is left.

    python3 RESTORE.PYZ collect WORK VOLUME...           once, or again for each disc, in any order
    python3 RESTORE.PYZ list WORK                        the snapshots that were collected
    python3 RESTORE.PYZ restore WORK SNAPSHOT TARGET     SNAPSHOT: the beginning of an id, or latest; TARGET: a new folder

WORK is a folder with room for all that the discs hold; it becomes a Safehold repository, WORK/repository.  VOLUME is a device
(/dev/sr0, /dev/fd0), an image file, a folder of such, or where a disc is mounted.  The passphrase is asked for, or taken from
SAFEHOLD_PASSWORD; --key-file FILE or --words-file FILE before list or restore opens with a key file or the 24 recovery words.
`collect` needs Python 3.11 alone; with `pip install zfec` it also mends damaged discs by the parity that is on each.  `list` and
`restore` need `pip install cryptography msgpack zstandard`.  Status 0: all is well.  Written from docs/format/volumes.md.
"""
# fmt: off

import argparse, importlib, json, os, re, struct, sys, zlib  # noqa: E401, I001
from contextlib import suppress
from pathlib import Path

zfec = None
with suppress(ImportError):
    zfec = importlib.import_module("zfec")

PREFIX = struct.Struct("<4sIBBHI8sII")  # volumes.md, "Frame"
FIELDS = struct.Struct("<QQIHHII")
HEAD, HEAD_SIZE = struct.Struct("<QH"), 224
KINDS = DATA, INSIDE, ACROSS = b"SHVD", b"SHVI", b"SHVA"
KEY = re.compile(r"(?!tmp/)[a-z0-9-][a-z0-9.-]*(/[a-z0-9-][a-z0-9.-]*)*")


class Volume:
    """What lies on one disc: whole frames by session, kind and index, and where each is."""

    def __init__(self, place):
        """``place``: a device, an image, or a folder with DATA in it."""
        folder = next((place / name for name in ("DATA", "data") if (place / name).is_dir()), None)
        files = sorted(folder.iterdir()) if folder else [place]
        self.sessions, self.numbers, self.total = {}, set(), 0  # session -> (kind, index) -> (descriptor, offset, slot)
        self.descriptors = [os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0)) for path in files]
        for self.size in (65536, 8192):
            for descriptor in self.descriptors:
                self.scan(descriptor)
            if self.sessions:
                break

    def close(self):
        """Let go of the disc."""
        for descriptor in self.descriptors:
            os.close(descriptor)

    def scan(self, descriptor):
        """Look at every slot.  What cannot be read is passed over."""
        end = os.lseek(descriptor, 0, os.SEEK_END)
        for offset in range(0, end, self.size):
            found = self.frame(descriptor, offset)
            if found:
                kind, _, k, m, session, volume, set_id, slot, index = PREFIX.unpack_from(found)
                self.numbers.add((set_id, volume))
                self.sessions.setdefault((session, k, m), {})[kind, index] = descriptor, offset, slot

    def frame(self, descriptor, offset):
        """The frame at a place, or None where there is no whole one."""
        with suppress(OSError):
            os.lseek(descriptor, offset, os.SEEK_SET)
            data = os.read(descriptor, self.size)
            if data[:4] in KINDS and len(data) == self.size and zlib.crc32(data[8:]) == int.from_bytes(data[4:8], "little"):
                return data
        return None

    def objects(self):
        """Fields and payload of every data frame, mended ones too."""
        for (_, k, m), found in self.sessions.items():
            for kind, index in sorted(found):
                if kind == DATA:
                    yield self.opened(self.frame(*found[kind, index][:2])[32:])
            if m and zfec and any(kind == INSIDE for kind, _ in found):
                yield from map(self.opened, self.mended(k, m, found))

    def opened(self, coded):
        """Object, offset, payload."""
        number, offset, length, *_ = FIELDS.unpack_from(coded)
        return number, offset, coded[32 : 32 + length]

    def mended(self, k, m, found):  # volumes.md, "Parity inside"
        """The coded parts of the data frames that are missing, as far as the parity of their rows brings them back."""
        starts = {slot - index for (kind, index), (_, _, slot) in found.items() if kind != INSIDE}
        behind = {slot - index for (kind, index), (_, _, slot) in found.items() if kind == INSIDE}
        if not starts or any(kind == ACROSS for kind, _ in found):
            return  # a whole session lost, or a disc of parity across others: that is for Safehold itself
        n = behind.pop() - starts.pop()
        rows = -(-n // k)
        for row in range(rows):
            members = range(row, n, rows)
            lost = [index for index in members if (DATA, index) not in found]
            have = {index // rows: found[DATA, index] for index in members if (DATA, index) in found}
            have |= {k + t // rows: at for (kind, t), at in found.items() if kind == INSIDE and t % rows == row}
            zeros = [column for column in range(k) if column >= len(members)]
            if lost and len(have) + len(zeros) >= k:
                numbers = [*zeros, *sorted(have)][:k]
                blocks = [bytes(self.size - 32) if b in zeros else self.frame(*have[b][:2])[32:] for b in numbers]
                data = zfec.Decoder(k, max(numbers) + 1 if max(numbers) >= k else k + 1).decode(blocks, numbers)
                yield from (data[index // rows] for index in lost if any(data[index // rows][:32]))


class Collection:
    """Objects in the making, in WORK/parts, and those that are whole, in WORK/repository."""

    def __init__(self, work):
        self.parts, self.repository = work / "parts", work / "repository"
        for folder in (self.parts, self.repository):
            folder.mkdir(parents=True, exist_ok=True)
        self.whole = self.frames = 0

    def take(self, volume):
        """Take over what lies on a volume."""
        current, data, got = None, None, set()
        for number, offset, payload in volume.objects():
            if number != current:
                self.leave(current, data, got, volume)
                current, data, got = number, (self.parts / f"{number:016x}.data"), set()
            with data.open("r+b" if data.exists() else "w+b") as file:
                if offset:
                    file.seek(offset - HEAD_SIZE)
                    file.write(payload)
                else:
                    size, length = HEAD.unpack_from(payload)
                    head = {"size": size, "key": payload[HEAD.size : HEAD.size + length].decode()}
                    data.with_suffix(".head").write_text(json.dumps(head))
                    file.write(payload[HEAD_SIZE:])
            got.add(offset)
            self.frames += 1
        self.leave(current, data, got, volume)

    def leave(self, number, data, got, volume):
        """After the frames of an object that a volume has: if they are all there, it is whole."""
        if number is None:
            return
        notes = data.with_suffix(".got")
        got |= set(json.loads(notes.read_text())) if notes.exists() else set()
        notes.write_text(json.dumps(sorted(got)))
        head = data.with_suffix(".head")
        found = json.loads(head.read_text()) if head.exists() else None
        payload = volume.size - 64
        if found and len(got) == -(-(found["size"] + HEAD_SIZE) // payload):
            self.publish(data, found)
            for path in (notes, head):
                path.unlink()

    def publish(self, data, found):
        """Put a whole object where its key says."""
        os.truncate(data, found["size"])
        if not KEY.fullmatch(found["key"]):  # the volumes' own catalogue, or nothing of ours
            if found["key"] == "tmp/catalogue":
                self.first(data.read_bytes())
            data.unlink()
            return
        place = self.repository / found["key"]
        place.parent.mkdir(parents=True, exist_ok=True)
        os.replace(data, place)
        self.whole += 1

    def first(self, catalogue):
        """The config and keys, which lie on the first volume, and in each catalogue."""
        try:
            from msgpack import unpackb
        except ImportError:  # `list` and `restore` say that it is needed
            return
        if catalogue.startswith(b"SHVCAT1\n"):
            for key, data in unpackb(zlib.decompress(catalogue[8:]), strict_map_key=False).get("first", {}).items():
                place = self.repository / key
                if KEY.fullmatch(key) and not place.exists():
                    place.parent.mkdir(parents=True, exist_ok=True)
                    place.write_bytes(data)


def volumes_at(places):
    """The places, and of a folder that is no mounted disc the files in it."""
    for place in places:
        if place.is_dir() and not any((place / name).is_dir() for name in ("DATA", "data")):
            yield from sorted(each for each in place.iterdir() if each.is_file())
        else:
            yield place


def collect(work, places):
    """Take over what lies on volumes; how many could not be read."""
    collection, bad = Collection(work), 0
    for place in volumes_at(places):
        try:
            volume = Volume(place)
        except OSError as error:
            print(f"{place}: {error.strerror}.", file=sys.stderr)
            bad += 1
            continue
        collection.take(volume)
        volume.close()
        names = ", ".join(f"volume {number} of set {set_id.hex()}" for set_id, number in sorted(volume.numbers))
        print(f"{place}: {names or 'nothing of Safehold'}.")
        bad += not volume.numbers
    unfinished = len(list(collection.parts.glob("*.data")))
    print(f"{collection.whole} objects came over; {unfinished} are not yet complete.")
    return bad


def main():
    """The command line.  Exit status: 0 all is well."""
    parser = argparse.ArgumentParser(usage=__doc__)
    for name in ("--key-file", "--words-file"):
        parser.add_argument(name)
    parser.add_argument("command", choices=("collect", "list", "restore"))
    parser.add_argument("work", type=Path)
    parser.add_argument("what", nargs="*")
    options = parser.parse_args()
    if options.command == "collect":
        return 1 if collect(options.work, map(Path, options.what)) else 0
    if not (options.work / "repository" / "snapshots").is_dir():
        sys.exit(f"Error: {options.work} has no snapshot yet.  Collect the discs that are missing, the newest first.")
    given = [("--key-file", options.key_file), ("--words-file", options.words_file)]
    keys = [word for name, value in given if value for word in (name, value)]
    sys.argv[1:] = [*keys, str(options.work / "repository"), options.command, *options.what]
    return importlib.import_module("emergency_reader").main()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (KeyError, OSError, ValueError) as error:
        sys.exit(f"Error: {error!r}")
    except ImportError as error:
        sys.exit(f"{error}.  Do this first: pip install cryptography msgpack zstandard")
