# A disk that says how it is: run in the lab's guest (guest.py), with a SATA disk.
set -eu
fail() { echo "FAILED: $*"; exit 1; }
export SAFEHOLD_STATE_DIR=/tmp/state SAFEHOLD_CACHE_DIR=/tmp/cache SAFEHOLD_KEY_FILE=/tmp/key2
mkdir -p /tmp/source && head -c 100000 /dev/urandom >/tmp/source/first
sata=$(readlink -f /dev/disk/by-id/ata-QEMU_HARDDISK_*)
mkfs.ext4 -q "$sata" && mkdir -p /tmp/c && mount "$sata" /tmp/c
safehold volumes create disk --key-file /tmp/key2 && safehold volumes add disk /tmp/c --label Disk --key-file /tmp/key2
safehold -r volumes:disk --key-file /tmp/key2 backup /tmp/source -q
safehold volumes verify disk --key-file /tmp/key2 | grep "SMART: the drive says that it is healthy, .* hours in use" || fail "no SMART"
umount /tmp/c
