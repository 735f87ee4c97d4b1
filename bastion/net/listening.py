"""Listening sockets: opened here, handed in by systemd, or handed over by the process before this one (L2).

Whoever opens a socket keeps it, and gives the reactor a duplicate: so it can still be handed on when this process has
stopped to accept, and whoever waits in its queue is served by the next one. Invariant: a socket that is handed in is
looked at before it is used, and one whose use is not known is a fault, not a guess.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, MutableMapping
from dataclasses import dataclass
from typing import Final

from bastion.errors import ConfigError

BACKLOG: Final = 128
"""Connections that the kernel keeps for us; net.core.somaxconn may say less."""

FIRST_FD: Final = 3
"""SD_LISTEN_FDS_START of sd_listen_fds(3)."""

MOST: Final = 64
"""Sockets that may be handed in."""

UNNAMED: Final = frozenset(("", "unknown", "connection", "bastion.socket"))
"""Names (FileDescriptorName=) of a socket whose unit gives it none: engineers connect to it."""

USES: Final = ("ssh", "metrics", "control")
_NAMES: Final = dict(zip((f"bastion-{use}.socket" for use in USES), USES, strict=True)) | {
    use: use for use in USES
}


@dataclass(frozen=True, slots=True)
class Listeners:
    """Sockets by what they are for. Each listens, blocks nobody and is closed in programs that we start."""

    ssh: tuple[socket.socket, ...] = ()
    metrics: socket.socket | None = None
    control: socket.socket | None = None

    def by_use(self) -> Iterable[tuple[str, socket.socket]]:
        """(use, socket), in an order that does not change."""
        yield from (("ssh", one) for one in self.ssh)
        for use, one in (("metrics", self.metrics), ("control", self.control)):
            if one is not None:
                yield use, one

    def text(self) -> str:
        """For a program that inherits the descriptors under the same numbers: `ssh:5,metrics:7`."""
        return ",".join(f"{use}:{one.fileno()}" for use, one in self.by_use())

    def descriptors(self) -> tuple[int, ...]:
        return tuple(one.fileno() for _, one in self.by_use())


NOTHING_GIVEN: Final = Listeners()


def open_listener(host: str, port: int) -> socket.socket:
    """Listen on `host` (numeric, empty for all) and `port` (0 = any). Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.setblocking(False)
        made.bind((host, port))
        made.listen(BACKLOG)
    except OSError:
        made.close()
        raise
    return made


def address_of(listener: socket.socket) -> str:
    """Where it listens, as the ready line says it."""
    host, port = listener.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def from_systemd(environment: MutableMapping[str, str], pid: int) -> Listeners:
    """What systemd has opened (sd_listen_fds(3)), nothing when it has not. Raises ConfigError.

    The variables are taken out of `environment`: a program that we start has no such sockets.
    """
    count, for_pid = environment.pop("LISTEN_FDS", ""), environment.pop("LISTEN_PID", "")
    names = environment.pop("LISTEN_FDNAMES", "")
    if not count or for_pid != str(pid):
        return Listeners()
    if not count.isdecimal() or not 0 < int(count) <= MOST:
        raise _wrong(f"LISTEN_FDS is not a number up to {MOST}")
    given = names.split(":") if names else [""] * int(count)
    if len(given) != int(count):
        raise _wrong(f"LISTEN_FDNAMES has {len(given)} names for {count} sockets")
    pairs = [(_use_of(name), FIRST_FD + number) for number, name in enumerate(given)]
    return _listeners(pairs)


def from_text(text: str) -> Listeners:
    """What `Listeners.text` of the process before this one says. Raises ConfigError."""
    pairs = []
    for part in text.split(",") if text else ():
        use, _, number = part.partition(":")
        if use not in USES or not number.isdecimal():
            raise _wrong("the list of sockets that were handed over cannot be read")
        pairs.append((use, int(number)))
    return _listeners(pairs)


def _use_of(name: str) -> str:
    if name in UNNAMED:
        return "ssh"
    use = _NAMES.get(name)
    if use is None:
        shown = "".join(letter for letter in name if letter.isalnum() or letter in "-_.")[:40]
        raise _wrong(f'a socket is called "{shown}"', f"FileDescriptorName= of: {', '.join(USES)}")
    return use


def _listeners(pairs: Iterable[tuple[str, int]]) -> Listeners:
    found: dict[str, list[socket.socket]] = {use: [] for use in USES}
    for use, number in pairs:
        found[use].append(_adopted(number, use))
    for use in USES[1:]:
        if len(found[use]) > 1:
            raise _wrong(f"more than one socket for {use}", "one ListenStream=")
    metrics, control = (found[use][0] if found[use] else None for use in USES[1:])
    return Listeners(tuple(found["ssh"]), metrics, control)


def _adopted(number: int, use: str) -> socket.socket:
    """The descriptor as a socket of ours, once it has shown to be what it is handed in as."""
    try:
        os.set_inheritable(number, False)
        made = socket.socket(fileno=number)
        listens = made.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError as error:
        raise _wrong(f"descriptor {number} is no socket: {error.strerror}") from None
    local = use == "control"
    family = made.family == socket.AF_UNIX if local else made.family in (socket.AF_INET, socket.AF_INET6)
    if not listens or made.type != socket.SOCK_STREAM or not family:
        wanted = "a socket in the file system" if local else "TCP"
        raise _wrong(f"descriptor {number} does not listen for {use}", f"{wanted}, ListenStream=, Accept=no")
    made.setblocking(False)
    return made


def _wrong(problem: str, allowed: str = "") -> ConfigError:
    return ConfigError("the environment", 0, "LISTEN_FDS", problem, allowed)
