"""Events of a gateway of several processes (L0, pure)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from bastion.observe.events.base import AuditEvent, Line


@dataclass(frozen=True, slots=True)
class WorkerStarted(AuditEvent):
    """a worker of a gateway of several processes serves"""

    event: ClassVar[str] = "worker_started"

    worker: str
    pid: int

    @staticmethod
    def sentence(line: Line) -> str:
        return f"{line.get('worker', 'a worker')} began to serve"


@dataclass(frozen=True, slots=True)
class WorkerDied(AuditEvent):
    """a worker ended without being told to; each of its sessions has a `session_ended` of its own"""

    event: ClassVar[str] = "worker_died"

    worker: str
    pid: int
    how: Annotated[str, "the signal or the exit code"]
    sessions: Annotated[int, "that it had or was opening"]

    @staticmethod
    def sentence(line: Line) -> str:
        how, sessions = line.get("how", "?"), line.get("sessions", "?")
        return f"{line.get('worker', 'a worker')} died ({how}) with {sessions} sessions"
