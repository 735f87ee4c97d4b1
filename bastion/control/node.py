"""What a running gateway can be asked, as values, and `Node`, whom it is asked of (pure but for Deferreds).

A `Request` is a frozen dataclass that knows its command, the type of its answer and how the answers of several nodes
become one. Three things are Nodes: this process (`local.LocalNode`), a process at the far end of a connection
(`link.Link`) and several Nodes as one (`hub.Hub`). A new question is a new class here, its answer in `local`, and for
people a role in `roles` and a command in `bastion.cli`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Final

from bastion.control.asking import DEADLINE as DEADLINE
from bastion.control.asking import NOBODY
from bastion.control.asking import WINDOW as WINDOW
from bastion.control.asking import By as By
from bastion.control.asking import ControlError as ControlError
from bastion.control.asking import Ended as Ended
from bastion.control.asking import Node as Node
from bastion.control.asking import R as R
from bastion.control.asking import Request as Request
from bastion.control.asking import Stream as Stream
from bastion.control.asking import ended_together as ended_together
from bastion.control.asking import gathered as gathered
from bastion.control.confirming import CONFIRMING
from bastion.control.orders import ORDERS
from bastion.control.proving import PROVING
from bastion.control.reloads import ReloadOrder
from bastion.observe.exemplars import latest
from bastion.observe.family import FAMILIES, Merge
from bastion.observe.meters import Snapshot

# -- how are you -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the gateway and how it is: ok, degraded or refusing, and what is wrong in one line."""

    part: str
    state: str
    text: str = ""


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """One process. `state`: running, draining or silent. Times are seconds since the epoch, sizes bytes."""

    name: str
    state: str
    version: str = ""
    pid: int = 0
    started_at: float = 0.0
    config: str = ""
    reloads: int = 0
    sessions: int = 0
    connections: int = 0
    tunnels: int = 0
    watchers: int = 0
    penalties: int = 0
    locks: int = 0
    disk_free: int = 0
    disk_floor: int = 0
    log_level: str = ""
    parts: tuple[Part, ...] = ()


@dataclass(frozen=True, slots=True)
class Status:
    """All processes of the gateway."""

    nodes: tuple[NodeStatus, ...]


@dataclass(frozen=True, slots=True)
class StatusAsked(Request[Status]):
    """How is it?"""

    command: ClassVar[str] = "status"
    result: ClassVar[type[Any]] = Status

    @classmethod
    def merged(cls, answers: Sequence[Status]) -> Status:
        return Status(tuple(node for answer in answers for node in answer.nodes))

    @classmethod
    def unanswered(cls, node: str) -> Status:
        return Status((NodeStatus(node, "silent"),))


@dataclass(frozen=True, slots=True)
class Counted:
    """Every meter of a process, as `observe.meters.Snapshot`, and sessions as `observe.exemplars.Marks`."""

    snapshot: Mapping[str, Any]
    exemplars: Mapping[str, Any] | None = field(default=None, metadata={"left_out": True})


@dataclass(frozen=True, slots=True)
class SnapshotAsked(Request[Counted]):
    """The meters. How those of several processes become one is declared with each family (`Family.merge`)."""

    command: ClassVar[str] = "snapshot"
    result: ClassVar[type[Any]] = Counted

    @classmethod
    def merged(cls, answers: Sequence[Counted]) -> Counted:
        marks = latest(answer.exemplars or {} for answer in answers)
        return Counted(added([answer.snapshot for answer in answers]), marks or None)

    @classmethod
    def unanswered(cls, node: str) -> Counted:
        return Counted({})


_PICKED: Final = {family.name: family.picked for family in FAMILIES if family.merge is not Merge.SUM} | {
    "build_info": max
}


def added(snapshots: Sequence[Mapping[str, Any]]) -> Snapshot:
    """One snapshot of several, every family and cell that any of them has: counters and histograms are added up, a
    gauge as its family declares. Cells of another width, which another version declared otherwise, are not added."""
    whole: Snapshot = {}
    for snapshot in snapshots:
        for name, cells in snapshot.items():
            pick: Callable[[tuple[int, int]], int] = _PICKED.get(name, sum)
            into = whole.setdefault(name, {})
            for key, cell in cells.items():
                known = into.get(key)
                if known is None:
                    into[key] = list(cell)
                elif len(known) == len(cell):
                    into[key] = [pick(pair) for pair in zip(known, cell, strict=True)]
    return whole


# -- who is here -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Selection:
    """Which of what runs: everything that fits all that is not empty. All empty is nothing, unless `everything`.

    `id` is a session, tunnel or connection, or a beginning of its id that only one has. `target` is its name in the
    inventory; of a tunnel also the host that it leads to.
    """

    id: str = ""
    user: str = ""
    target: str = ""
    everything: bool = False


@dataclass(frozen=True, slots=True)
class LiveRow:
    """A session, a tunnel or a connection that is open now. `kind` says which; `connection` is the connection that it
    came through, "" for one itself and for the direct door. Bytes are of channels: in from the engineer, out to him."""

    id: str
    kind: str
    user: str
    uid: str
    source: str
    door: str
    started_at: float
    target: str = ""
    login: str = ""
    connection: str = ""
    channels: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    watchers: int = 0
    node: str = ""


@dataclass(frozen=True, slots=True)
class Live:
    """What is open, oldest first. `silent` are nodes that gave no answer."""

    rows: tuple[LiveRow, ...]
    silent: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LiveAsked(Request[Live]):
    """Who is here?"""

    selection: Selection = Selection(everything=True)

    command: ClassVar[str] = "live"
    result: ClassVar[type[Any]] = Live

    @classmethod
    def merged(cls, answers: Sequence[Live]) -> Live:
        rows = sorted((row for answer in answers for row in answer.rows), key=lambda row: row.started_at)
        return Live(tuple(rows), tuple(name for answer in answers for name in answer.silent))

    @classmethod
    def unanswered(cls, node: str) -> Live:
        return Live((), (node,))


@dataclass(frozen=True, slots=True)
class Kill(Request[Ended]):
    """End what is selected. Who is there reads the reason."""

    selection: Selection
    reason: str
    by: By = NOBODY

    command: ClassVar[str] = "kill"
    result: ClassVar[type[Any]] = Ended

    def older(self) -> Kill | None:
        return replace(self, by=self.by.alone) if self.by.person else None

    @classmethod
    def merged(cls, answers: Sequence[Ended]) -> Ended:
        return ended_together(answers)

    @classmethod
    def unanswered(cls, node: str) -> Ended:
        return Ended(silent=(node,))


# -- what others ask -------------------------------------------------------------------------------------------------

_QUESTIONS: Final[tuple[type[Request[Any]], ...]] = (
    StatusAsked,
    SnapshotAsked,
    LiveAsked,
    Kill,
    ReloadOrder,
    *ORDERS,
    *PROVING,
    *CONFIRMING,
)
REQUESTS: Final = {request.command: request for request in _QUESTIONS}
"""Command -> question: what a frame may ask for. Who may ask it is another matter (`roles`)."""
