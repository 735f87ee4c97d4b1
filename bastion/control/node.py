"""What a running gateway can be asked, as values, and `Node`, whom it is asked of (pure but for Deferreds).

A `Request` is a frozen dataclass that knows its command, the type of its answer and how the answers of several nodes
become one. Three things are Nodes: this process (`local.LocalNode`), a process at the far end of a connection
(`link.Link`) and several Nodes as one (`hub.Hub`). A new question is a new class here, its answer in `local`, and for
people a role in `roles` and a command in `bastion.cli`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Generic, TypeVar

from twisted.internet.defer import Deferred

from bastion.errors import BastionError, ControlReason
from bastion.observe.meters import FAMILIES, Merge, Snapshot

R = TypeVar("R")

DEADLINE: Final = 10.0
"""Seconds in which a node answers, or is told of as silent. What a node does at once takes some milliseconds."""

WINDOW: Final = 256 << 10
"""Bytes of events that may be on their way to somebody who has not said that they were taken."""


class ControlError(BastionError):
    """A question that was not answered: `reason` from a closed set, `text` for whoever asked."""

    def __init__(self, reason: ControlReason, text: str) -> None:
        super().__init__(text)
        self.reason, self.text = reason, text


class Stream:
    """Events on the way to an answer, for somebody who may be slow: what exceeds his credit is not sent at all.

    So a slow reader costs nobody more than WINDOW, however many nodes the events pass.
    """

    __slots__ = ("_deliver", "credit", "on_credit")

    def __init__(self, deliver: Callable[[Mapping[str, Any], int], None], credit: int = WINDOW) -> None:
        """`deliver` takes an event and its size in bytes."""
        self._deliver = deliver
        self.credit = credit
        self.on_credit: Callable[[int], None] | None = (
            None  # whoever must hear of it too: a link passes it on
        )

    def offer(self, event: Mapping[str, Any], size: int) -> bool:
        """Send an event of about `size` bytes. False: there was no credit, and nothing was sent."""
        if size > self.credit:
            return False
        self.credit -= size
        self._deliver(event, size)
        return True

    def grant(self, size: int) -> None:
        """So many bytes have been taken."""
        size = min(size, WINDOW - self.credit)
        if size > 0:
            self.credit += size
            if self.on_credit is not None:
                self.on_credit(size)


class Request(Generic[R]):
    """A question; its answer is an `R`."""

    __slots__ = ()

    command: ClassVar[str]
    result: ClassVar[type[Any]]
    deadline: ClassVar[float | None] = DEADLINE  # None: until it is cancelled

    @classmethod
    def merged(cls, answers: Sequence[Any]) -> Any:
        """The answers of several nodes as one."""
        raise NotImplementedError

    @classmethod
    def unanswered(cls, node: str) -> Any:
        """What stands for a node that gives no answer; None: then nobody is answered."""
        return None


class Node(ABC):
    """One running thing that can be asked. `name` is shown to people and unique within a hub."""

    name: str = ""

    @abstractmethod
    def ask(self, request: Request[R], stream: Stream | None = None) -> Deferred[R]:
        """The answer, or ControlError. Cancelled, the answer is not wanted any more. `stream` takes the events of
        what has some."""


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
    """Every meter of a process, as `observe.meters.Snapshot`."""

    snapshot: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class SnapshotAsked(Request[Counted]):
    """The meters. How those of several processes become one is declared with each family (`Family.merge`)."""

    command: ClassVar[str] = "snapshot"
    result: ClassVar[type[Any]] = Counted

    @classmethod
    def merged(cls, answers: Sequence[Counted]) -> Counted:
        return Counted(added([answer.snapshot for answer in answers]))

    @classmethod
    def unanswered(cls, node: str) -> Counted:
        return Counted({})


_LARGEST: Final = frozenset(family.name for family in FAMILIES if family.merge is Merge.MAX) | {"build_info"}


def added(snapshots: Sequence[Mapping[str, Any]]) -> Snapshot:
    """One snapshot of several, every family and cell that any of them has: counters and histograms are added up, a
    gauge as its family declares. Cells of another width, which another version declared otherwise, are not added."""
    whole: Snapshot = {}
    for snapshot in snapshots:
        for name, cells in snapshot.items():
            pick: Callable[[tuple[int, int]], int] = max if name in _LARGEST else sum
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
class By:
    """Who wants it: the account on the gateway's machine, as the kernel says."""

    uid: int
    name: str

    def __str__(self) -> str:
        return f"{self.name} (uid {self.uid})"


@dataclass(frozen=True, slots=True)
class Ended:
    """What a kill or a lock has ended, and what could not be told because a node gave no answer."""

    sessions: int = 0
    tunnels: int = 0
    connections: int = 0
    ids: tuple[str, ...] = ()

    @property
    def all(self) -> int:
        return self.sessions + self.tunnels + self.connections


def ended_together(answers: Sequence[Ended]) -> Ended:
    """What several nodes have ended."""
    return Ended(
        sum(answer.sessions for answer in answers),
        sum(answer.tunnels for answer in answers),
        sum(answer.connections for answer in answers),
        tuple(one for answer in answers for one in answer.ids),
    )


@dataclass(frozen=True, slots=True)
class Kill(Request[Ended]):
    """End what is selected. Who is there reads the reason."""

    selection: Selection
    reason: str
    by: By

    command: ClassVar[str] = "kill"
    result: ClassVar[type[Any]] = Ended

    @classmethod
    def merged(cls, answers: Sequence[Ended]) -> Ended:
        return ended_together(answers)


# -- what others ask -------------------------------------------------------------------------------------------------

REQUESTS: Final[dict[str, type[Request[Any]]]] = {
    request.command: request for request in (StatusAsked, SnapshotAsked, LiveAsked, Kill)
}
"""Command -> question: what a frame may ask for. Who may ask it is another matter (`roles`)."""


def gathered(request: Request[R], answers: Sequence[R]) -> R:
    """One answer, of one node or of several."""
    if len(answers) == 1:
        return answers[0]
    merged: R = request.merged(answers)
    return merged
