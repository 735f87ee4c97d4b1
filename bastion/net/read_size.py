"""How much one turn may take, so that a keystroke does not wait long behind somebody's bulk transfer.

Two things decide how long it waits: what the turn in progress still has to do, and, on a machine with more work
than processors, how long the kernel lets others run first. A turn is one read: `read_size` is large while nobody
types, because a turn costs the same whatever it moves, and small while somebody does; a connection whose reads are
costly reads less (`net.socket`). While nobody types, a download that comes in small reads is left to gather for a
moment: on processors that its sender and receiver need too, fewer turns are speed. `ask_for_short_slices` tells the
kernel that this process would rather run often than long.
"""

from __future__ import annotations

import ctypes
import platform
import struct
import sys
from time import monotonic
from typing import Final

READ_SIZE: Final = 512 * 1024
"""Bytes of one read while nobody types. A turn costs 50 us whatever it moves: 512 KiB a turn costs 0.1 CPU-seconds
per GiB less than 256 KiB, and Twisted's 64 KiB 0.8 more."""

PIECE: Final = 128 * 1024
"""Bytes of an upload that go their whole way before the rest of the same read does, so that the target begins while
we work on the rest and the engineer's client hears in time that its window of 2 MiB (OpenSSH's) moves on. In one piece
of 512 KiB an upload leaves two processors idle for 27 % of the time and moves 392 MiB/s, in four for 15 % and 434.
A download gains nothing by it and pays for every piece: 468 MiB/s become 435."""

SMALL_READ: Final = 64 * 1024
"""Bytes of one read while somebody types: 0.1 ms of work where aes256-gcm has no wide vectors. Beside a download a
keystroke takes 0.9 ms (median) for 345 MiB/s and 2.6 CPU-seconds per GiB; with 128 KiB 1.25 ms for 385 and 2.2, with
32 KiB 0.7 ms for 280 and 3.4, which is slower than `ssh -J` moves it."""

FIRST_READ: Final = 16 * 1024
"""Bytes of a connection's first read, and of those after a read that took long. Each one that is full and quick lets
the next be twice as large."""

LONG_TURN: Final = 0.02
"""Seconds of CPU that one read should not take. Bulk takes 1 ms for 512 KiB; 14,500 requests of the smallest size that
are refused, and written to the audit log one by one, take 0.9 s, in which nobody else is served."""

THIN: Final = 256 * 1024
"""A read of a download that brought less than this came too soon."""

GATHER: Final = 0.0005
"""Seconds without a look after such a read. A sshd that is slower than we are hands over 32 KiB at a time, and each
costs a turn; OpenSSH's window of 2 MiB still moves 2 GiB/s. With 1 ms a turn would bring more than READ_SIZE at full
speed. A single keystroke beside a download may wait that much longer; somebody who types on does not."""

TYPING: Final = 0.25
"""Seconds after a keystroke, or its echo, for which reads stay small."""

KEYSTROKE: Final = 256
"""A message of at most this many bytes that came alone is somebody typing, or what a program answers to it."""

SLICE: Final = 500_000
"""Nanoseconds that we ask the kernel for at a time; its own choice is about 3 ms."""

_SYSCALLS: Final = {"x86_64": (314, 315), "aarch64": (274, 275), "riscv64": (274, 275)}
# sched(7), struct sched_attr: size, policy, flags, nice, priority, runtime, deadline, period
_ATTR: Final = struct.Struct("=IIQiIQQQ")


class Pace:
    """One per process: the reads of all its connections look here."""

    __slots__ = ("_thin", "_typing_until")

    def __init__(self) -> None:
        self._typing_until = 0.0
        self._thin = False  # since the last `gather` some of a download came too soon

    def typed(self) -> None:
        """Somebody's keystroke or its echo passes."""
        self._typing_until = monotonic() + TYPING

    def read_size(self) -> int:
        """Bytes that the next read may bring."""
        return READ_SIZE if monotonic() >= self._typing_until else SMALL_READ

    def moved(self, size: int) -> None:
        """A read of a download brought `size` bytes."""
        if size < THIN:
            self._thin = True

    def gather(self) -> float:
        """Seconds that the loop should let pass before it looks for events again, asked once before each look."""
        if not self._thin:
            return 0.0
        self._thin = False
        return GATHER if monotonic() >= self._typing_until else 0.0


pace = Pace()


def ask_for_short_slices(nanoseconds: int = SLICE) -> bool:
    """Call once at start, before any thread. False where the kernel knows no such wish (Linux before 6.12 takes and
    forgets it); then all is as it was. Nothing but the slice changes, nice stays, and no right is needed.
    """
    numbers = _SYSCALLS.get(platform.machine())
    if numbers is None or sys.platform != "linux":
        return False
    set_number, get_number = numbers
    buffer = ctypes.create_string_buffer(_ATTR.size)
    try:
        syscall = ctypes.CDLL(None, use_errno=True).syscall
    except (OSError, AttributeError):
        return False
    if syscall(get_number, 0, buffer, _ATTR.size, 0):
        return False
    size, policy, flags, nice, priority, _, deadline, period = _ATTR.unpack(buffer.raw)
    if policy:
        return False  # not the ordinary scheduler: an operator chose that, and `runtime` means something else there
    _ATTR.pack_into(buffer, 0, size, policy, flags, nice, priority, nanoseconds, deadline, period)
    return bool(syscall(set_number, 0, buffer, 0) == 0)
