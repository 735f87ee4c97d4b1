"""What systemd is told, over a real socket, and when the watchdog is fed."""

from __future__ import annotations

import secrets
import socket
from pathlib import Path

import pytest
from twisted.internet.task import Clock

from bastion.net.notify import (
    CALM_EVERY,
    STATUS_LENGTH,
    STOPPING_EVERY,
    Heartbeat,
    Notifier,
    watchdog_seconds,
)


class Systemd:
    """The other end of NOTIFY_SOCKET."""

    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self.socket.setblocking(False)

    def heard(self) -> list[str]:
        found = []
        try:
            while True:
                found.append(self.socket.recv(4096).decode())
        except BlockingIOError:
            return found


@pytest.fixture(params=["path", "abstract"])
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Systemd, Notifier]:
    name = str(tmp_path / "notify") if request.param == "path" else f"@bastion-{secrets.token_hex(8)}"
    return Systemd(name), Notifier(name)


def test_what_is_said(pair: tuple[Systemd, Notifier]) -> None:
    systemd, notifier = pair
    notifier.ready()
    notifier.reloading(12.5)
    notifier.stopping()
    notifier.alive("2 sessions")
    assert systemd.heard() == [
        "READY=1",
        "RELOADING=1\nMONOTONIC_USEC=12500000",
        "STOPPING=1",
        "WATCHDOG=1\nSTATUS=2 sessions",
    ]


def test_a_status_is_one_line(pair: tuple[Systemd, Notifier]) -> None:
    systemd, notifier = pair
    notifier.alive("x" * 500 + "\nMAINPID=1")
    notifier.alive("a\nMAINPID=1")
    assert systemd.heard() == [f"WATCHDOG=1\nSTATUS={'x' * STATUS_LENGTH}", "WATCHDOG=1\nSTATUS=aMAINPID=1"]


def test_nobody_listens_and_nothing_happens(tmp_path: Path) -> None:
    for notifier in (Notifier(""), Notifier(str(tmp_path / "nowhere"))):
        notifier.ready()
        notifier.alive("")
    assert not Notifier("").heard


def test_a_full_queue_is_not_waited_for(pair: tuple[Systemd, Notifier]) -> None:
    systemd, notifier = pair
    for _ in range(5000):
        notifier.alive("x" * STATUS_LENGTH)
    assert 0 < len(systemd.heard()) < 5000


def test_the_watchdog_is_fed_three_times_within_its_time(pair: tuple[Systemd, Notifier]) -> None:
    systemd, notifier = pair
    clock = Clock()
    Heartbeat(clock, notifier, 15.0, lambda: "2 sessions").start()
    assert len(systemd.heard()) == 1
    clock.pump([5.0] * 3)
    assert len(systemd.heard()) == 3


def test_without_a_watchdog_the_status_is_told_now_and_then(pair: tuple[Systemd, Notifier]) -> None:
    systemd, notifier = pair
    clock = Clock()
    Heartbeat(clock, notifier, 0.0, lambda: "2 sessions").start()
    clock.pump([CALM_EVERY] * 2)
    assert systemd.heard() == ["WATCHDOG=1\nSTATUS=2 sessions"] * 3


def test_while_it_stops_it_asks_for_time(pair: tuple[Systemd, Notifier]) -> None:
    systemd, notifier = pair
    clock, status = Clock(), ["up"]
    heart = Heartbeat(clock, notifier, 0.0, lambda: status[0])
    heart.start()
    systemd.heard()
    status[0] = "closing down"
    heart.stopping()
    more = "WATCHDOG=1\nSTATUS=closing down\nEXTEND_TIMEOUT_USEC=30000000"
    assert systemd.heard() == ["STOPPING=1", more]
    clock.pump([STOPPING_EVERY] * 2)
    assert systemd.heard() == [more, more] and len(clock.getDelayedCalls()) == 1


def test_without_systemd_there_is_no_timer() -> None:
    clock = Clock()
    heart = Heartbeat(clock, Notifier(""), 3.0, lambda: "")
    heart.start()
    heart.stopping()
    assert clock.getDelayedCalls() == []


@pytest.mark.parametrize(
    ("environment", "seconds"),
    [
        ({}, 0.0),
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "7"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "8"}, 0.0),
        ({"WATCHDOG_USEC": "soon"}, 0.0),
        ({"WATCHDOG_USEC": "9" * 20}, 0.0),
    ],
)
def test_how_often_systemd_wants_to_hear(environment: dict[str, str], seconds: float) -> None:
    assert watchdog_seconds(environment, 7) == seconds
