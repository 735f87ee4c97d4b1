"""Events of tunnels (L0, pure)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from bastion.errors import TunnelReason
from bastion.observe.events.base import AuditEvent, Line, because, of, place


@dataclass(frozen=True, slots=True, kw_only=True)
class TunnelOpened(AuditEvent):
    """a tunnel is connected"""

    event: ClassVar[str] = "tunnel_opened"
    about: ClassVar[tuple[str, ...]] = ("connection", "user", "source")

    tunnel: Annotated[int, "its number on the connection"]
    host: str
    port: int
    address: Annotated[str, "what was checked and connected to"]
    rules: str

    @staticmethod
    def sentence(line: Line) -> str:
        return f"{_whose(line)} was opened{of(line, 'rules', ', by rule ')}"


@dataclass(frozen=True, slots=True, kw_only=True)
class TunnelSsh(AuditEvent):
    """SSH was seen in a tunnel, and a rule lets it pass"""

    event: ClassVar[str] = "tunnel_ssh"
    about: ClassVar[tuple[str, ...]] = ("connection", "user", "source")

    tunnel: int
    host: str
    port: int
    address: str
    rules: str

    @staticmethod
    def sentence(line: Line) -> str:
        return f"SSH passes inside {_whose(line)}{of(line, 'rules', ', by rule ')}"


@dataclass(frozen=True, slots=True, kw_only=True)
class TunnelClosed(AuditEvent):
    """it is over"""

    event: ClassVar[str] = "tunnel_closed"
    about: ClassVar[tuple[str, ...]] = ("connection", "user", "source")

    reason: TunnelReason
    bytes_in: Annotated[int, "to the far side"]
    bytes_out: int
    seconds: float
    ssh: bool
    tunnel: int
    host: str
    port: int
    address: str
    rules: str

    @staticmethod
    def sentence(line: Line) -> str:
        there_and_back = f"{line.get('bytes_in', 0)} bytes there and {line.get('bytes_out', 0)} back"
        return f"{_whose(line)} ended{because(line)}; {there_and_back}{of(line, 'seconds', ' in ', ' s')}"


def _whose(line: Line) -> str:
    return f"{line.get('user', '?')}'s tunnel{place(line)}{of(line, 'address', ' at ')}"
