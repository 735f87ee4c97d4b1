"""Events of a gateway of several processes (L0, pure)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from bastion.errors import WorkerDeath
from bastion.observe.events.base import AuditEvent, Line, of


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
    """a worker ended without being told to, or had to be; each of its sessions has a `session_ended` of its own"""

    event: ClassVar[str] = "worker_died"

    worker: str
    pid: int
    how: Annotated[str, "the signal or the exit code"]
    sessions: Annotated[int, "that it had or was opening"]
    reason: Annotated[
        WorkerDeath,
        "`died`; ended by the supervisor: `stuck`, `start` (too slow), `reload` (it did not take one)",
    ]

    @staticmethod
    def sentence(line: Line) -> str:
        how, sessions = line.get("how", "?"), line.get("sessions", "?")
        why = "" if line.get("reason") == WorkerDeath.DIED else of(line, "reason", ": ")
        return f"{line.get('worker', 'a worker')} died ({how}{why}) with {sessions} sessions"
