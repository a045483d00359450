"""README.TXT of a disc or floppy: what a person reads who finds it in ten years."""

from __future__ import annotations

from safehold.storage.volumes.catalogue import Volume, VolumeSet
from safehold.storage.volumes.profiles import Profile


def readme(volume_set: VolumeSet, volume: Volume, media: Profile, has_program: bool) -> bytes:
    """The text, in ASCII with lines that every system ends."""
    what = "parity across the other volumes, and no data of its own" if volume.parity else "a part of the backups"
    parts = [
        f"""SAFEHOLD BACKUP VOLUME

This is volume {volume.number} of the backup set "{volume_set.name}", a {media.title}.  It holds {what}, encrypted.
The backups of the set are spread over several volumes: find them all, they have the same name
and set number, and other volume numbers.

HOW TO RESTORE

1. You need the passphrase, or the printed recovery words, or a key file of this backup.
   Without one of them nobody can read it.
2. On a computer with Python 3.11 or newer, install the program Safehold:  pip install safehold
   (source and documentation are in the Python Package Index, under the name "safehold").
3. Copy the volumes into files of one folder, or insert the newest, and let the program read what is there:

       safehold volumes recover FOLDER --name {volume_set.name}
       safehold -r volumes:{volume_set.name} snapshots
       safehold -r volumes:{volume_set.name} restore latest --target restored --media-dir FOLDER

   FOLDER may also be a drive, such as /dev/sr0: it asks for each volume that it needs.
   Volumes that are lost or scratched are made up for by the
   parity of the others ({_parity(volume_set)}).
""",
        _without() if has_program else "",
        f"""IF NO PROGRAM CAN BE FOUND ANY MORE

The format is written down byte by byte in Safehold's documentation, docs/format/volumes.md.  In short:
the volume, from its first byte on, is divided into slots of {media.frame} bytes.  A slot that begins with "SHVD"
and has a right CRC-32 (bytes 4-7, little-endian, of bytes 8 to the end of the slot) is a frame of data:
bytes 32-39 say which object it belongs to, 40-47 where in it, 48-51 how many bytes count, and these begin
at byte 64.  The first 224 bytes of an object say its size (8 bytes), the length of its name (2 bytes)
and its name.  Put all objects of all volumes into files by these names: that is a repository of
Safehold, whose parts docs/format describes (AES-256-GCM, Argon2id, Zstandard, MessagePack).

set      {volume_set.id}
volume   {volume.uuid}
""",
    ]
    return "\n".join(filter(None, parts)).encode("ascii", "replace").replace(b"\n", b"\r\n")


def _parity(volume_set: VolumeSet) -> str:
    across = f"{volume_set.parity} volumes" if volume_set.parity else "no parity volumes"
    return f"{across}; inside each {volume_set.inner or 'none'}"


def _without() -> str:
    return """WITHOUT SAFEHOLD

RESTORE.PYZ on this volume is a program of two files of Python (it is a zip file: look inside).  On Linux, macOS or a BSD:

    pip install cryptography msgpack zstandard zfec
    python3 RESTORE.PYZ collect WORK /dev/sr0          again for each disc, in any order; or name image files, or a folder of them
    python3 RESTORE.PYZ list WORK
    python3 RESTORE.PYZ restore WORK latest restored

WORK is a new folder on a disk with room for everything.  "cryptography" (50 or newer), "msgpack" and "zstandard" are
needed to restore; "zfec" mends scratched discs by the parity on each.
"""
