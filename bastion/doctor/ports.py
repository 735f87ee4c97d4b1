"""The ports that the gateway listens on (L4): free, held by it, by systemd for it, or by somebody else."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bastion.doctor.findings import Area, Finding, Level, shell
from bastion.doctor.subject import Subject
from bastion.options.kinds import Address

LISTENING: Final = "0A"  # TCP_LISTEN in /proc/net/tcp
UNPRIVILEGED: Final = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")


@dataclass(frozen=True, slots=True)
class Holder:
    """A process that listens somewhere."""

    pid: int
    command: tuple[str, ...]

    @property
    def is_gateway(self) -> bool:
        return "serve" in self.command and any("bastion" in word for word in self.command)

    def __str__(self) -> str:
        name = " ".join(self.command)[:60] or "?"
        return f"{name} (pid {self.pid})"


def examine_ports(subject: Subject) -> Iterator[Finding]:
    """A finding for each address."""
    config = subject.config
    for address in config.listen.addresses:
        yield _look(subject, address, "listen.addresses")
    if config.metrics.listen is not None:
        yield _look(subject, config.metrics.listen, "metrics.listen")


def _look(subject: Subject, address: Address, key: str) -> Finding:
    about = f"{address} ({key})"
    try:
        trouble = _try_bind(address)
    except OSError as error:
        return Finding(
            Area.PORTS, Level.FAIL, about, f"is no address of this machine: {error}", "ip -brief address"
        )
    if trouble == errno.EADDRINUSE:
        return _taken(address, about)
    if trouble == errno.EADDRNOTAVAIL:
        text = "is no address of this machine"
        return Finding(Area.PORTS, Level.FAIL, about, text, "ip -brief address")
    if trouble == errno.EACCES or (subject.user.uid != 0 and 0 < address.port < _first_free()):
        text = f"needs a right that {subject.user.name} has not: socket activation, or CAP_NET_BIND_SERVICE"
        line = f"sysctl -w net.ipv4.ip_unprivileged_port_start={address.port}"
        return Finding(Area.PORTS, Level.FAIL, about, text, line)
    if trouble:
        return Finding(Area.PORTS, Level.FAIL, about, os.strerror(trouble))
    return Finding(Area.PORTS, Level.OK, about, "is free")


def _try_bind(address: Address) -> int:
    """The errno of binding and listening as the gateway would; 0 when it works. Raises OSError for a bad name."""
    found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, kind, protocol, _, place = found[0]
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(place)
            probe.listen(1)
        except OSError as error:
            return error.errno or errno.EINVAL
    return 0


def _taken(address: Address, about: str) -> Finding:
    line = shell("ss", "-ltnp", f"sport = :{address.port}")
    holders = list(holders_of(address.port))
    for holder in holders:
        if holder.is_gateway:
            return Finding(Area.PORTS, Level.OK, about, f"is held by the gateway that runs: pid {holder.pid}")
        if holder.pid == 1:
            return Finding(Area.PORTS, Level.OK, about, "is held by systemd, to be handed over")
    if holders:
        return Finding(Area.PORTS, Level.FAIL, about, f"is taken by {holders[0]}", line)
    if os.geteuid() == 0:
        return Finding(
            Area.PORTS, Level.FAIL, about, "is taken, by a process that cannot be seen from here", line
        )
    text = "is taken by a process of another user: run this as root to see whose"
    return Finding(Area.PORTS, Level.WARN, about, text, line)


def holders_of(port: int) -> Iterator[Holder]:
    """Processes with a socket that listens on `port`, as far as this user may see."""
    inodes = {f"socket:[{inode}]" for inode in _listening_inodes(port)}
    if not inodes:
        return
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            handles = os.listdir(f"/proc/{entry}/fd")
        except OSError:
            continue
        for handle in handles:
            try:
                if os.readlink(f"/proc/{entry}/fd/{handle}") in inodes:
                    yield Holder(int(entry), command_of(int(entry)))
                    break
            except OSError:
                continue


def command_of(pid: int) -> tuple[str, ...]:
    """What a process was started with; empty when it cannot be seen."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").split(b"\0")
    except OSError:
        return ()
    return tuple(word.decode("utf-8", "replace") for word in words)


def _listening_inodes(port: int) -> Iterator[str]:
    for table in ("tcp", "tcp6"):
        try:
            lines = Path(f"/proc/net/{table}").read_text(encoding="ascii").splitlines()[1:]
        except OSError:
            continue
        for fields in map(str.split, lines):
            if fields[3] == LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
                yield fields[9]


def _first_free() -> int:
    try:
        return int(UNPRIVILEGED.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return 1024
