"""Events of gateways that share their state (L0, pure): who is there, who was refused, whose disk was taken over."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from bastion.observe.events.base import AuditEvent, Line, of


@dataclass(frozen=True, slots=True)
class NodeState(AuditEvent):
    """another gateway answers, or does not any more"""

    event: ClassVar[str] = "node_state"

    node: Annotated[str, "its name, as `[nodes]` and its certificate have it"]
    state: Annotated[str, "`connected`, `missing`"]
    why: str = ""

    @staticmethod
    def sentence(line: Line) -> str:
        return f"the gateway {line.get('node', '?')} is {line.get('state', '?')}{of(line, 'why', ': ')}"


@dataclass(frozen=True, slots=True)
class NodeRefused(AuditEvent):
    """a connection or an order of another gateway, or of what said to be one, was refused"""

    event: ClassVar[str] = "node_refused"

    reason: Annotated[str, "`stranger`, `no_role`, `malformed`, `unknown_command`, `too_many`, `slow`"]
    text: str
    node: Annotated[str, "absent: none was proved"] = ""
    command: str = ""
    who: Annotated[str, "the account at that gateway, as that gateway says"] = ""
    address: str = ""

    @staticmethod
    def sentence(line: Line) -> str:
        whose = of(line, "who", "", " at ") + str(line.get("node") or line.get("address") or "somebody")
        return f"{whose} was refused{of(line, 'command', ' ')}{of(line, 'text', ': ')}"


@dataclass(frozen=True, slots=True)
class NodeAdopted(AuditEvent):
    """what a gateway that does not come back has left was written and ended, by `bastion adopt`; its sessions' own
    `session_ended` stand before this line"""

    event: ClassVar[str] = "node_adopted"

    node: Annotated[str, "whose disk it is"]
    by: Annotated[str, "the account that ran the command"]
    rows: Annotated[int, "that were owed to the state store"]
    sessions: Annotated[int, "that had died with their process, tunnels too"]
    recordings: Annotated[int, "that got their end"]
    unended: Annotated[int, "recordings that can have none, or not now"]

    @staticmethod
    def sentence(line: Line) -> str:
        ended = f"{line.get('recordings', '?')} recordings got their end"
        return f"{line.get('by', '?')} took over what {line.get('node', '?')} had left: {ended}"
