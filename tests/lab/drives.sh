# Flash drives that are pulled: run in the lab's guest (guest.py), with two USB sticks, STICK1 and STICK2.
set -eu
fail() { echo "FAILED: $*"; exit 1; }
stick() { echo /dev/disk/by-id/usb-QEMU_QEMU_HARDDISK_"$1"-0:0; }
present() { for _ in $(seq 100); do [ -b "$(stick "$1")" ] && return; sleep 0.2; done; fail "no $1"; }
export SAFEHOLD_KEY_FILE=/tmp/key SAFEHOLD_STATE_DIR=/tmp/state SAFEHOLD_CACHE_DIR=/tmp/cache SAFEHOLD_REPO=volumes:home
mkdir -p /tmp/a /tmp/b "/tmp/source/ä folder"
present STICK1; present STICK2
mkfs.vfat -I -F 32 -n STICKA "$(stick STICK1)" >/dev/null
mkfs.exfat -L STICKB "$(stick STICK2)" >/dev/null
udevadm trigger "$(stick STICK1)" "$(stick STICK2)"; udevadm settle
mount "$(stick STICK1)" /tmp/a; mount "$(stick STICK2)" /tmp/b
head -c 1000000 /dev/urandom >"/tmp/source/ä folder/first"; ln -s first /tmp/source/link

safehold volumes create home --key-file /tmp/key
safehold volumes add home /tmp/a --label "Stick A" --place safe
safehold volumes add home /tmp/b --label "Stick B"
safehold backup /tmp/source -q
[ "$(ls /tmp/a/safehold/snapshots)" = "$(ls /tmp/b/safehold/snapshots)" ] || fail "the sticks differ"
ls /tmp/a/safehold | grep -qx README.TXT || fail "no README.TXT"

# udev knows the stick, and would have systemd run the backups.
safehold volumes enroll home
udevadm control --reload; udevadm trigger --action=change "$(stick STICK1)"; udevadm settle
udevadm info "$(stick STICK1)" | grep "SYSTEMD_WANTS=.*safehold-volumes-home.service" || fail "udev does not want the unit"

# Pulled in the middle of writing.
umount /tmp/b
head -c 15000000 /dev/urandom >/tmp/source/large
safehold backup /tmp/source >/tmp/out 2>&1 &
backup=$!
for _ in $(seq 300); do [ "$(du -sm /tmp/a/safehold | cut -f1)" -gt 4 ] && break; sleep 0.1; done
echo "LAB: device_del stick1"
status=0; wait $backup || status=$?
cat /tmp/out
[ $status = 14 ] || fail "status $status"
grep -q "Stick A (safe) is gone" /tmp/out || fail "not said"
umount -l /tmp/a
[ -z "$(ls -A /tmp/a)" ] || fail "something was written to the mount point"

# Noted, and run when it is there again.
safehold backup /tmp/source --when-present | grep noted
timeout -s ABRT 120 env PYTHONFAULTHANDLER=1 safehold volumes watch home --once >/tmp/watched 2>&1 &
watching=$!
sleep 1
echo "LAB: device_add usb-storage,drive=u1,id=stick1,serial=STICK1,removable=on"
present STICK1
fsck.vfat -a "$(stick STICK1)" || true
timeout 60 mount "$(stick STICK1)" /tmp/a
[ -z "$(find /tmp/a/safehold -type f -size 0 -not -path "*/tmp/*")" ] || fail "empty files: $(ls -lR /tmp/a/safehold)"
wait $watching || { cat /tmp/watched; fail "watch"; }
cat /tmp/watched
mount "$(stick STICK2)" /tmp/b
safehold volumes sync home -q
safehold -r "volumes:home@Stick B" restore latest --target /tmp/out2
diff -r --no-dereference /tmp/source /tmp/out2/tmp/source || fail "not what it was"
safehold volumes eject home
! mountpoint -q /tmp/a || fail "not unmounted"
