"""Noticing that a drive was plugged in or mounted: the kernel's own messages, and a look from time to time."""

from __future__ import annotations

import os
import select
import socket
import sys
import time
from contextlib import ExitStack, suppress

_UEVENTS = 15
"""NETLINK_KOBJECT_UEVENT (linux/netlink.h)."""
_FROM_KERNEL = 1
"""The multicast group of the kernel's own messages; 2 is udev's."""
_MOST = 1 << 16
_MOUNTS = "/proc/self/mountinfo"


class Arrivals:
    """Wakes up when block devices or mounts change.  Use as a context manager.

    On Linux the kernel says so: by a message on netlink for each device, and by an event on mountinfo (proc(5)) for each mount.
    Elsewhere, for floppies, and where that is not permitted, whoever waits has a look after the time that he gave.
    """

    def __enter__(self) -> Arrivals:
        self._open = ExitStack()
        self._poll = select.poll() if hasattr(select, "poll") else None
        self._netlink: socket.socket | None = None
        self._mounts: int | None = None
        if sys.platform == "linux" and self._poll is not None:
            with suppress(OSError):
                self._netlink = self._open.enter_context(socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, _UEVENTS))
                self._netlink.bind((0, _FROM_KERNEL))
                self._netlink.setblocking(False)
                self._poll.register(self._netlink, select.POLLIN)
            with suppress(OSError):
                self._mounts = os.open(_MOUNTS, os.O_RDONLY)
                self._open.callback(os.close, self._mounts)
                self._poll.register(self._mounts, select.POLLERR | select.POLLPRI)
        return self

    def __exit__(self, *exception: object) -> None:
        self._open.close()

    @property
    def told(self) -> bool:
        """Whether the system tells of changes; False: only looking from time to time finds them."""
        return self._mounts is not None or self._netlink is not None

    def wait(self, seconds: float) -> bool:
        """Wait for a change, for so long at most; whether there was one."""
        if self._poll is None or not self.told:
            time.sleep(seconds)
            return False
        ready = self._poll.poll(seconds * 1000)
        changed = False
        for number, _ in ready:
            changed = (number == self._mounts) or self._is_block() or changed
        return changed

    def _is_block(self) -> bool:
        """Whether the messages that wait tell of a block device: ``ACTION@PATH``, then ``KEY=VALUE``, parted by zero bytes."""
        found = False
        with suppress(OSError):
            while self._netlink is not None:
                found = b"\0SUBSYSTEM=block\0" in self._netlink.recv(_MOST) + b"\0" or found
        return found
