"""Listening sockets that are handed in: each is what it is called, or nothing starts."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bastion.errors import ConfigError
from bastion.net import listening
from bastion.net.listening import MOST, Listeners, from_systemd, open_listener

PID = 77


@pytest.fixture(autouse=True)
def high_numbers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Descriptors 3 and up are the test runner's own."""
    monkeypatch.setattr(listening, "FIRST_FD", 700)
    yield
    for number in range(700, 710):
        try:
            os.close(number)
        except OSError:
            pass


def hand_in(*made: socket.socket) -> None:
    for number, one in enumerate(made):
        os.dup2(one.fileno(), 700 + number)
        one.close()


def environment(count: int | str, names: str | None = None, pid: int = PID) -> dict[str, str]:
    found = {"LISTEN_FDS": str(count), "LISTEN_PID": str(pid), "HOME": "/"}
    return found if names is None else found | {"LISTEN_FDNAMES": names}


def closed(found: Listeners) -> list[int]:
    """The ports, and the sockets closed."""
    every = [*found.ssh, *(one for one in (found.metrics, found.control) if one is not None)]
    ports = [one.getsockname()[1] for one in every if one.family != socket.AF_UNIX]
    for one in every:
        one.close()
    return ports


def test_each_goes_where_its_name_says(tmp_path: Path) -> None:
    first, metrics, second = (open_listener("127.0.0.1", 0) for _ in range(3))
    ports = [one.getsockname()[1] for one in (first, second, metrics)]
    control = socket.socket(socket.AF_UNIX)
    control.bind(str(tmp_path / "control"))
    control.listen()
    hand_in(first, metrics, second, control)
    given = environment(4, "ssh:metrics:bastion.socket:bastion-control.socket")
    found = from_systemd(given, PID)
    assert given == {"HOME": "/"}
    assert found.control is not None and found.control.getsockname() == str(tmp_path / "control")
    every = (*found.ssh, found.metrics, found.control)
    assert not any(one is None or one.getblocking() or one.get_inheritable() for one in every)
    assert closed(found) == ports


@pytest.mark.parametrize("names", [None, "unknown"])
def test_without_a_name_engineers_connect_to_it(names: str | None) -> None:
    hand_in(open_listener("127.0.0.1", 0))
    found = from_systemd(environment(1, names), PID)
    assert len(found.ssh) == 1 and found.metrics is None
    closed(found)


@pytest.mark.parametrize("given", [{}, environment(1, pid=PID + 1)])
def test_nothing_is_handed_to_this_process(given: dict[str, str]) -> None:
    assert from_systemd(given, PID) == Listeners()
    assert "LISTEN_FDS" not in given


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (environment("x"), "not a number"),
        (environment(MOST + 1), "not a number"),
        (environment(0), "not a number"),
        (environment(2, "ssh"), "1 names for 2"),
        (environment(1, "web\x1b[2J"), 'a socket is called "web2J"'),
        (environment(1, "ssh"), "no socket"),
    ],
)
def test_what_makes_no_sense_is_refused(given: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigError, match=words.replace("[", r"\[")):
        from_systemd(given, PID)


def make(kind: Any, listens: bool, family: Any = socket.AF_INET) -> socket.socket:
    made = socket.socket(family, kind)
    made.bind(("127.0.0.1", 0) if family == socket.AF_INET else "")
    if listens:
        made.listen()
    return made


@pytest.mark.parametrize(
    ("name", "kind", "listens", "family"),
    [
        ("ssh", socket.SOCK_STREAM, False, socket.AF_INET),
        ("ssh", socket.SOCK_DGRAM, False, socket.AF_INET),
        ("ssh", socket.SOCK_STREAM, True, socket.AF_UNIX),
        ("control", socket.SOCK_STREAM, True, socket.AF_INET),
    ],
)
def test_a_socket_that_is_something_else_is_refused(name: str, kind: Any, listens: bool, family: Any) -> None:
    hand_in(make(kind, listens, family))
    with pytest.raises(ConfigError, match=f"does not listen for {name}"):
        from_systemd(environment(1, name), PID)


def test_one_socket_for_metrics_at_most() -> None:
    hand_in(open_listener("127.0.0.1", 0), open_listener("127.0.0.1", 0))
    with pytest.raises(ConfigError, match="more than one socket for metrics"):
        from_systemd(environment(2, "metrics:metrics"), PID)


def test_an_address_that_is_taken_is_told() -> None:
    with open_listener("127.0.0.1", 0) as first, pytest.raises(OSError, match="in use"):
        open_listener("127.0.0.1", first.getsockname()[1])


def test_it_listens_on_ipv6_too() -> None:
    with open_listener("::1", 0) as made, socket.create_connection(made.getsockname()[:2], 5):
        assert made.accept()[0].close() is None
