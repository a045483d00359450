# Discs, a floppy, and what FAT32 can't: run in the lab's guest (guest.py), with a disc of two sessions in the CD drive, and a formatted floppy.
# /mnt/files has discs.second (the sector where its second session begins) and discs.sums (of all objects that are on it).
set -eu
fail() { echo "FAILED: $*"; exit 1; }
names() { (cd "$1" && find . -type f | sort | tr '\n' ' '); }

# The kernel shows each session's directory; the second has the files of both, and what is on the disc restores it.
plain="./readme.txt ./restore.pyz ./volume.jsn "
mkdir -p /run/disc
mount -o ro /dev/sr0 /run/disc
[ "$(names /run/disc)" = "./data/d0000001.shd $plain" ] || fail "the first session: $(names /run/disc)"
umount /run/disc
mount -o "ro,sbsector=$(cat /mnt/files/discs.second)" /dev/sr0 /run/disc
[ "$(names /run/disc)" = "./data/d0000001.shd ./data/d0000002.shd $plain" ] || fail "the second session: $(names /run/disc)"
python3 /run/disc/restore.pyz collect /tmp/collected /run/disc
umount /run/disc
(cd /tmp/collected/repository && sha256sum -c /mnt/files/discs.sums)

# A floppy is written in its drive, read back, and restored from.
export SAFEHOLD_STATE_DIR=/tmp/floppies XDG_CACHE_HOME=/tmp/floppies-cache SAFEHOLD_KEY_FILE=/tmp/floppy.key
mkdir -p /tmp/letters && head -c 100000 /dev/urandom >/tmp/letters/one
safehold volumes create box --media floppy --images /tmp/images --parity 0 --key-file $SAFEHOLD_KEY_FILE
safehold -r volumes:box backup /tmp/letters
status=0; safehold volumes burn box </dev/null 2>/tmp/said || status=$?
[ $status = 1 ] && grep -q "The medium in /dev/fd0 is not blank" /tmp/said || fail "a floppy that is not blank: $status $(cat /tmp/said)"
safehold volumes burn box --overwrite </dev/null
cmp -n "$(stat -c %s /tmp/images/box-001.img)" /tmp/images/box-001.img /dev/fd0 || fail "other bytes on the floppy"
rm -r /tmp/images
safehold -r volumes:box restore latest --target /tmp/back --media-dir /dev/fd0
diff -r /tmp/letters /tmp/back/tmp/letters || fail "not what it was"
echo "LAB: eject -f floppy0"
sleep 1
status=0; safehold volumes verify box --media-dir /dev/fd0 || status=$?
[ $status = 14 ] || fail "without a floppy: $status"

# A repository on FAT32, which has no links, modes, colons, cases, or files of 4 GiB, keeps what has all of them.
truncate -s 64M /tmp/fat && mkfs.vfat -F 32 /tmp/fat >/dev/null && mkdir -p /tmp/fat-mount && mount -o loop /tmp/fat /tmp/fat-mount
! ln -s x /tmp/fat-mount/link 2>/dev/null || fail "links?"
! truncate -s 4294967296 /tmp/fat-mount/big 2>/dev/null || fail "files of 4 GiB?"
mkdir -p "/tmp/odd/a:b" && echo 1 >"/tmp/odd/a:b/What?" && echo 2 >"/tmp/odd/a:b/what?" && ln -s /nowhere /tmp/odd/link
ln "/tmp/odd/a:b/what?" "/tmp/odd/same*" && chmod 4750 "/tmp/odd/a:b/What?" && touch -d "2001-02-03 04:05:06.789012345" "/tmp/odd/a:b/What?"
export SAFEHOLD_REPO=/tmp/fat-mount/repository SAFEHOLD_KEY_FILE=/tmp/fat.key
safehold init $SAFEHOLD_REPO --key-file $SAFEHOLD_KEY_FILE
safehold backup /tmp/odd
safehold restore latest --target /tmp/odd-back
see() { (cd "$1" && find . -mindepth 1 -printf '%P %m %T@ %l %n\n' && find . -type f -exec cat {} +) | sort; }
diff <(see /tmp/odd) <(see /tmp/odd-back/tmp/odd) || fail "not what it was, from FAT32"
umount /tmp/fat-mount
