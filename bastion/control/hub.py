"""Several nodes as one (L3): who is here is the union, an ending is everybody's, meters are added up.

Invariant: each node is asked once, at the same time; a node that is gone has nothing to answer for; one that gives no
answer is named where the answer can say so, and where it cannot, the answer is that.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from twisted.internet.defer import CancelledError, Deferred, DeferredList
from twisted.python.failure import Failure

from bastion.control.node import (
    ControlError,
    Live,
    LiveAsked,
    Node,
    R,
    Request,
    Selection,
    Stream,
    gathered,
)
from bastion.control.orders import WatchSession
from bastion.errors import ControlReason


class Hub(Node):
    """The nodes that there are now, as one."""

    def __init__(self, *nodes: Node) -> None:
        self._nodes: list[Node] = list(nodes)

    def __iter__(self) -> Iterator[Node]:
        return iter(list(self._nodes))

    def join(self, node: Node) -> None:
        """`node` is asked from now on."""
        self._nodes.append(node)

    def leave(self, node: Node) -> None:
        """`node` is asked no more; that it was never asked does no harm."""
        if node in self._nodes:
            self._nodes.remove(node)

    def ask(self, request: Request[R], stream: Stream | None = None) -> Deferred[R]:
        """Ask all of them. To watch a session is for the one that has it: see `_watch`."""
        if isinstance(request, WatchSession) and len(self._nodes) > 1:
            return Deferred.fromCoroutine(self._watch(request, stream))
        asked = list(self._nodes)
        if len(asked) == 1:
            return ask_one(asked[0], request, stream)
        together: Deferred[Any] = DeferredList([ask_one(node, request) for node in asked], consumeErrors=True)

        answered: Deferred[R] = together.addCallback(lambda results: _gather(request, asked, results))
        return answered

    def ask_any(self, request: Request[R]) -> Deferred[R]:
        """Ask one of them: the first that can answer, and knows the question."""
        return Deferred.fromCoroutine(self._ask_any(request))

    async def _ask_any(self, request: Request[R]) -> R:
        lost = ControlError(ControlReason.LINK_LOST, "no process of the gateway answers")
        for node in list(self._nodes):
            try:
                return await node.ask(request)
            except ControlError as error:
                if error.reason not in _ASK_THE_NEXT and not _of_the_version_before(error, request):
                    raise
                lost = error
        raise lost

    async def _watch(self, request: WatchSession, stream: Stream | None) -> Any:
        """Everybody is asked at once who has the session, and the first that has it is asked to show it. Raises
        ControlError, which names those that did not answer."""
        owner = await _first_with(request.id, list(self._nodes))
        return await ask_one(owner, request, stream)


_ASK_THE_NEXT: Final = (ControlReason.LINK_LOST, ControlReason.TIMEOUT, ControlReason.UNKNOWN_COMMAND)


def _of_the_version_before(error: ControlError, request: Request[Any]) -> bool:
    return error.reason is ControlReason.MALFORMED and request.older() is not None


def ask_one(node: Node, request: Request[R], stream: Stream | None = None) -> Deferred[R]:
    """Ask one, and one of the version before in the way that it knows."""

    def again(failure: Failure) -> Any:
        error, older = failure.value, request.older()
        if older is None or not isinstance(error, ControlError) or not _of_the_version_before(error, request):
            return failure
        return node.ask(older, stream)

    return node.ask(request, stream).addErrback(again)


def _first_with(session: str, nodes: list[Node]) -> Deferred[Node]:
    """The node that has the session, as soon as it says so. A question of its kind has a deadline."""
    found: Deferred[Node] = Deferred(lambda _: stop())
    silent: list[str] = []
    asked: list[Deferred[Any]] = []
    waiting = len(nodes)

    def stop() -> None:
        for one in asked:
            one.cancel()

    def answered(result: Live | Failure, node: Node) -> None:
        nonlocal waiting
        waiting -= 1
        if isinstance(result, Failure):
            if _error_of(result, node).reason not in (ControlReason.NOT_FOUND, ControlReason.LINK_LOST):
                silent.append(node.name)
        elif result.rows and not found.called:
            found.callback(node)
            stop()
        if not waiting and not found.called:
            found.errback(_nobody_has_it(silent))

    for node in nodes:
        asked.append(node.ask(LiveAsked(Selection(id=session))))
        asked[-1].addBoth(answered, node)
    return found


def _nobody_has_it(silent: list[str]) -> ControlError:
    if not silent:
        return ControlError(ControlReason.NOT_FOUND, "nothing is open under that name")
    named = ", ".join(silent)
    return ControlError(
        ControlReason.TIMEOUT, f"{named} did not answer: nothing is open under that name elsewhere"
    )


def _gather(request: Request[R], asked: list[Node], results: list[tuple[bool, Any]]) -> R:
    """One answer of all, or the first reason why there is none."""
    answers: list[Any] = []
    missing: list[ControlError] = []
    for node, (answered, result) in zip(asked, results, strict=True):
        if answered:
            answers.append(result)
            continue
        error = _error_of(result, node)
        if error.reason is ControlReason.LINK_LOST:
            continue
        stand_in = None
        if error.reason is ControlReason.TIMEOUT:
            stand_in = request.unanswered(node.name)
        if stand_in is not None:
            answers.append(stand_in)
        else:
            missing.append(error)
    hard = [error for error in missing if error.reason is not ControlReason.NOT_FOUND]
    if hard or not answers:
        nobody = ControlError(ControlReason.LINK_LOST, "no process of the gateway answers")
        raise (hard or missing or [nobody])[0]
    answer: R = gathered(request, answers)
    return answer


def _error_of(failure: Failure, node: Node) -> ControlError:
    error = failure.value
    if isinstance(error, ControlError):
        return error
    if isinstance(error, CancelledError):
        return ControlError(ControlReason.LINK_LOST, "not wanted any more")
    return ControlError(ControlReason.FAILED, f"{node.name} failed: its log says how")
