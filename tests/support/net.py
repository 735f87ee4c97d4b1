"""Loopback sockets for tests: free ports, and waiting until somebody listens."""

from __future__ import annotations

import contextlib
import socket
import threading
import time

LOOPBACK = "127.0.0.1"


def free_port() -> int:
    """A TCP port that was free a moment ago. Somebody may take it before the caller does: start and retry."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


def free_ports(count: int) -> list[int]:
    """`count` different free ports, all held at once while they are chosen."""
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind((LOOPBACK, 0))
        return [probe.getsockname()[1] for probe in probes]


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
