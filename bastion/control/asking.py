"""Asking a running gateway: what a question is, whom it is asked of, and where events on the way to its answer go.

The questions themselves stand in `node` and `orders`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, Generic, TypeVar

from twisted.internet.defer import Deferred

from bastion.errors import BastionError, ControlReason

R = TypeVar("R")

DEADLINE: Final = 10.0
"""Seconds in which a node answers, or is told of as silent. What a node does at once takes some milliseconds."""

WINDOW: Final = 256 << 10
"""Bytes of events that may be on their way to somebody who has not said that they were taken."""


@dataclass(frozen=True, slots=True)
class Done:
    """The answer to what needs none: it is done."""


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

    def older(self) -> Request[R] | None:
        """What a process of the version before is asked, which finds a field in this that it does not know; None: the
        same."""
        return None

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

    def ask_as(self, by: By, request: Request[R], stream: Stream | None = None) -> Deferred[R]:
        """The same for `by`, where it matters who that is."""
        return self.ask(request, stream)


@dataclass(frozen=True, slots=True)
class By:
    """Who wants it: the account on the gateway's machine, as the kernel says. `person`: whom it speaks for, as it says
    itself (`speaking`); "" for nobody but itself."""

    uid: int
    name: str
    person: str = field(default="", metadata={"left_out": True})  # processes of the version before know none

    def __str__(self) -> str:
        whom = f" for {self.person}" if self.person else ""
        return f"{self.name}{whom} (uid {self.uid})"

    @property
    def alone(self) -> By:
        """Without whom it speaks for: for processes of the version before."""
        return By(self.uid, self.name)


NOBODY: Final = By(-1, "")
"""Before it is known who asks: at the control socket the kernel says it, whatever the asker says."""


@dataclass(frozen=True, slots=True)
class Ended:
    """What a kill or a lock has ended. `silent` are nodes that gave no answer: they have been told, and do it when they
    come to."""

    sessions: int = 0
    tunnels: int = 0
    connections: int = 0
    ids: tuple[str, ...] = ()
    silent: tuple[str, ...] = ()

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
        tuple(dict.fromkeys(name for answer in answers for name in answer.silent)),
    )


def gathered(request: Request[R], answers: Sequence[R]) -> R:
    """One answer, of one node or of several."""
    if len(answers) == 1:
        return answers[0]
    merged: R = request.merged(answers)
    return merged
