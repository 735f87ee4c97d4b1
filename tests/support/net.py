"""Loopback sockets for tests: free ports, and waiting until somebody listens."""

from __future__ import annotations

import contextlib
import random
import socket
import threading
import time
from pathlib import Path

LOOPBACK = "127.0.0.1"


SPAN = 12_000
"""How many ports below the kernel's own are chosen from."""


def _first_of_the_kernel() -> int:
    """From here on the kernel gives ports to outgoing connections and to whoever binds port 0."""
    try:
        return int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except OSError:
        return 0


_LAST = _first_of_the_kernel()
_CHANCE = random.SystemRandom()


def free_port() -> int:
    """A TCP port that is free, and that no outgoing connection takes before the caller does.

    It may still be another test's: with three at a time and 12,000 to choose from, once in many runs. Start and retry.
    """
    return free_ports(1)[0]


def free_ports(count: int) -> list[int]:
    """`count` different free ports, all held at once while they are chosen."""
    with contextlib.ExitStack() as stack:
        return [_hold_one(stack.enter_context(socket.socket())) for _ in range(count)]


def _hold_one(probe: socket.socket) -> int:
    """Bind to a port below the kernel's; where there is no room below, or all is taken, to one of the kernel's."""
    if _LAST > SPAN + 1024:
        for _ in range(100):
            with contextlib.suppress(OSError):
                probe.bind((LOOPBACK, _CHANCE.randrange(_LAST - SPAN, _LAST)))
                return int(probe.getsockname()[1])
    probe.bind((LOOPBACK, 0))
    return int(probe.getsockname()[1])


def is_listening(port: int, host: str = LOOPBACK) -> bool:
    """Whether a TCP connection to the port is accepted now."""
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex((host, port)) == 0


def wait_until_listening(port: int, host: str = LOOPBACK, timeout: float = 10.0) -> None:
    """Return when the port accepts. Raises TimeoutError after `timeout` seconds.

    For servers that do not say when they are ready; where one does (a line on stderr), wait for that instead.
    """
    give_up_at = time.monotonic() + timeout
    pause = threading.Event()
    while not is_listening(port, host):
        if time.monotonic() > give_up_at:
            raise TimeoutError(f"nothing listens on {host}:{port} after {timeout} s")
        pause.wait(0.02)
