"""What systemd is told: sd_notify(3) in a few lines, and the watchdog that the event loop feeds (L2).

Without NOTIFY_SOCKET nothing is sent and nothing is different. A message that cannot be sent is lost: the gateway does
not wait for whoever watches it.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from typing import Final

from bastion.clock import DelayedCall, Timers

MICROSECONDS: Final = 1_000_000

STOPPING_EVERY: Final = 5.0
"""Seconds between two messages that the stop takes longer: systemd's own limit need not know `drain_timeout`."""

STOPPING_NEEDS: Final = 30.0
"""Seconds that each of them asks for."""

CALM_EVERY: Final = 10.0
"""Seconds between two lines for `systemctl status`."""

STATUS_LENGTH: Final = 200


class Notifier:
    """Sends to the socket in `address`, where "@" begins an abstract name; "" sends nothing."""

    def __init__(self, address: str = "") -> None:
        self.address = address
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._socket: socket.socket | None = None
        if address:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._socket.setblocking(False)

    def ready(self) -> None:
        """Whatever was begun (the start, a reload) is done."""
        self._say("READY=1")

    def reloading(self, monotonic: float) -> None:
        """A reload has begun, at that monotonic second."""
        self._say("RELOADING=1", f"MONOTONIC_USEC={round(monotonic * MICROSECONDS)}")

    def main_pid(self, pid: int) -> None:
        """Another process is the service from now on, and nobody listens to this one."""
        self._say(f"MAINPID={pid}")

    @property
    def heard(self) -> bool:
        """Is there anybody?"""
        return self._socket is not None

    def stopping(self) -> None:
        """It is ending."""
        self._say("STOPPING=1")

    def alive(self, status: str, *more: str) -> None:
        """The event loop turns; `status` is the line for `systemctl status`."""
        self._say("WATCHDOG=1", *_status(status), *more)

    def _say(self, *lines: str) -> None:
        if self._socket is not None and lines:
            try:
                self._socket.sendto("\n".join(lines).encode(), self._address)
            except OSError:
                pass  # systemd is not there any more, or its queue is full: nothing here depends on it


def _status(text: str) -> tuple[str, ...]:
    shown = "".join(letter for letter in text if letter.isprintable())[:STATUS_LENGTH]
    return (f"STATUS={shown}",) if shown else ()


def watchdog_seconds(environment: Mapping[str, str], pid: int) -> float:
    """How often systemd wants to hear of this process (sd_watchdog_enabled(3)); 0.0: it does not."""
    text, for_pid = environment.get("WATCHDOG_USEC", ""), environment.get("WATCHDOG_PID", "")
    if not text.isdecimal() or len(text) > 15 or for_pid not in ("", str(pid)):
        return 0.0
    return int(text) / MICROSECONDS


class Heartbeat:
    """Feeds the watchdog from the event loop: a loop that hangs does not. While it stops, it asks for more time."""

    def __init__(
        self, reactor: Timers, notifier: Notifier, seconds: float, status: Callable[[], str]
    ) -> None:
        """`seconds`: what the watchdog waits for at most; 0.0 without one. `status` is asked at each beat."""
        self._reactor = reactor
        self._status = status
        self._notifier = notifier
        self._every = min(seconds / 3, CALM_EVERY) if seconds else CALM_EVERY
        self._more: tuple[str, ...] = ()
        self._timer: DelayedCall | None = None

    def start(self) -> None:
        """Until the process ends."""
        if self._notifier.heard:
            self._beat()

    def stopping(self) -> None:
        """The end has begun, and takes as long as sessions have."""
        self._every = min(self._every, STOPPING_EVERY)
        self._more = (f"EXTEND_TIMEOUT_USEC={round(STOPPING_NEEDS * MICROSECONDS)}",)
        self._notifier.stopping()
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
            self._beat()

    def stop(self) -> None:
        """Another process is the one that is watched."""
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    def _beat(self) -> None:
        self._notifier.alive(self._status(), *self._more)
        self._timer = self._reactor.callLater(self._every, self._beat)
