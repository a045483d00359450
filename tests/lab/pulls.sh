# Sticks with each file system that are pulled at many moments of a backup: what was acknowledged is there, and the next backup goes on.
set -eu
fail() { echo "FAILED: $*"; cat /tmp/said /tmp/mended; ls -lR /tmp/stick/safehold; exit 1; }
device=/dev/disk/by-id/usb-QEMU_QEMU_HARDDISK_STICK1-0:0
present() { for _ in $(seq 100); do [ -b $device ] && return; sleep 0.2; done; fail "no stick"; }
same() { diff -r --no-dereference "$1" "/tmp/back$2" >/dev/null; }
back() { rm -rf /tmp/back; safehold restore latest --target /tmp/back -q; }
# A folder that was just being made may be garbage, which fsck.vfat drops only when told to (1).
mend_vfat() { fsck.vfat -a "$1"; fsck.vfat -n "$1" | grep -q "Not dropping it" && yes 1 | fsck.vfat -rw "$1"; }
mkdir -p /tmp/stick
for kind in vfat exfat ext4; do
    present
    case $kind in
    vfat) mkfs.vfat -I -F 32 $device && mend=mend_vfat ;;
    exfat) mkfs.exfat $device && mend="fsck.exfat -y" ;;
    ext4) mkfs.ext4 -qF $device && mend="true" ;;
    esac >/dev/null
    mount -t $kind $device /tmp/stick
    export SAFEHOLD_KEY_FILE=/tmp/$kind.key SAFEHOLD_STATE_DIR=/tmp/$kind.state SAFEHOLD_CACHE_DIR=/tmp/$kind.cache SAFEHOLD_REPO=volumes:$kind
    source=/tmp/$kind.source && mkdir -p $source && head -c 1000000 /dev/urandom >$source/first
    safehold volumes create $kind --key-file $SAFEHOLD_KEY_FILE >/dev/null
    safehold volumes add $kind /tmp/stick --label Stick >/dev/null
    safehold backup $source -q
    for megabytes in 1 3 6 8 9; do
        rm -rf /tmp/old && cp -a $source /tmp/old
        head -c 8000000 /dev/urandom >$source/new$megabytes
        before=$(du -sm /tmp/stick/safehold | cut -f1)
        safehold backup $source >/tmp/said 2>&1 &
        backup=$!
        for _ in $(seq 600); do
            [ "$(du -sm /tmp/stick/safehold | cut -f1)" -ge $((before + megabytes)) ] || ! kill -0 $backup 2>/dev/null && break
            sleep 0.05
        done
        echo "LAB: device_del stick1"
        status=0; wait $backup || status=$?
        [ $status = 0 ] || [ $status = 14 ] || fail "$kind, $megabytes: status $status"
        umount -l /tmp/stick
        sleep 0.5
        echo "LAB: device_add usb-storage,drive=u1,id=stick1,serial=STICK1,removable=on"
        present
        $mend $device >/tmp/mended 2>&1 || true
        mount -t $kind $device /tmp/stick || fail "$kind, $megabytes: not mounted: $(cat /tmp/mended)"
        back
        if same $source "$source"; then state=new; elif same /tmp/old "$source"; then state=old; else fail "$kind, $megabytes: neither"; fi
        [ $status = 14 ] || [ $state = new ] || fail "$kind, $megabytes: what was acknowledged is gone"
        echo "$kind pulled after $megabytes MB: status $status, the $state state is there"
        safehold backup $source -q && back && same $source "$source" || fail "$kind, $megabytes: the next backup"
    done
    safehold check --read-data >/tmp/said || fail "$kind: check"
    umount /tmp/stick
done
