"""The node at the far end of a connection, and what serves one there (L3): both halves of `frames`, in one protocol.

A `Link` is a `Node`: what it is asked goes to the far end. And it serves: what the far end asks, `serve` answers. Both
ends of a socket pair between two processes are Links; at the control socket only the gateway's is.

Invariants: a question has a deadline; when the link is lost, whatever is pending fails at once, and whatever was being
served is cancelled; a peer that does not read is dropped at OUTPUT_LIMIT, one that sends half a frame or nothing in
`Limits` of seconds; after a fault of the peer's nothing of it is read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import Protocol as Connection
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from bastion.clock import DelayedCall, Timers
from bastion.control import frames
from bastion.control.codec import Unfit, from_json, to_json
from bastion.control.node import REQUESTS, WINDOW, ControlError, Node, R, Request, Stream
from bastion.errors import ControlReason, ProtocolError

_log = Logger(namespace="bastion.control")

Serve = Callable[[str, Request[Any], Stream], Deferred[Any]]
"""Answers a command, its question and where events go, or raises ControlError."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What the peer of a link may do; seconds, None: for ever.

    `half`: to send the rest of a frame. `idle`: without a question that is being answered. `output`: bytes that wait
    for a peer that reads slowly, and `stall`: for how long. `questions`: being answered at once. `result`: characters
    of an answer in parts.
    """

    frame: int = frames.MAX_QUESTION
    half: float | None = 30.0
    idle: float | None = None
    output: int = 128 << 20
    stall: float = 30.0
    questions: int = 1024
    result: int = frames.MAX_RESULT


BETWEEN_PROCESSES: Final = Limits()


@dataclass(slots=True)
class _Pending:
    """A question of ours."""

    request: Request[Any]
    answered: Deferred[Any]
    stream: Stream | None
    timer: DelayedCall | None = None
    parts: list[str] = field(default_factory=list)
    size: int = 0


@dataclass(slots=True)
class _Served:
    """A question of the peer's."""

    stream: Stream
    answering: Deferred[Any] | None = None


def refuse_all(command: str, request: Request[Any], stream: Stream) -> Deferred[Any]:
    """Serves nothing: for the end of a link that only asks."""
    raise ControlError(ControlReason.UNKNOWN_COMMAND, "nothing is answered here")


@implementer(IPushProducer)
class Link(Connection, Node):
    """One connection. Give it to a transport (`makeConnection`), ask it, and hear of its end in `on_lost`."""

    def __init__(
        self,
        timers: Timers,
        name: str,
        serve: Serve = refuse_all,
        limits: Limits = BETWEEN_PROCESSES,
        on_lost: Callable[[Link], None] | None = None,
        requests: Mapping[str, type[Request[Any]]] = REQUESTS,
    ) -> None:
        """`requests` are those that the far end may ask, by command."""
        self.name = name
        self.on_lost = on_lost
        self.on_refused: Callable[[ControlError], None] | None = (
            None  # hears of faults and refusals of the peer's
        )
        self.transport: Any = None
        self._timers = timers
        self._serve = serve
        self._requests = requests
        self._limits = limits
        self._reader = frames.FrameReader(limits.frame)
        self._pending: dict[int, _Pending] = {}
        self._served: dict[int, _Served] = {}
        self._next = 0
        self._lost = False
        self._waiting: int | None = None  # bytes written since the transport asked us to pause
        self._stall: DelayedCall | None = None
        self._quiet: DelayedCall | None = None
        self._half: int | None = None  # which frame the timer waits for the rest of

    @property
    def lost(self) -> bool:
        """Nothing is answered any more."""
        return self._lost

    # -- asking ------------------------------------------------------------------------------------------

    def ask(self, request: Request[R], stream: Stream | None = None) -> Deferred[R]:
        if self._lost or self.transport is None:
            raise_lost: Deferred[R] = Deferred()
            raise_lost.errback(self._gone())
            return raise_lost
        number = self._next = (self._next + 1) % frames.MAX_ID
        question = {"id": number, "command": request.command, "args": to_json(request)}
        encoded = frames.encode(question, frames.MAX_QUESTION)  # before anything waits for its answer
        answered: Deferred[R] = Deferred(lambda _: self._stop(number))
        pending = self._pending[number] = _Pending(request, answered, stream)
        if request.deadline is not None:
            pending.timer = self._timers.callLater(request.deadline, self._late, number)
        if stream is not None:
            stream.on_credit = lambda size: self._credit(number, size)
        self._write(encoded)
        return answered

    def _credit(self, number: int, size: int) -> None:
        if number in self._pending:
            self._write(frames.encode({"id": number, "credit": size}))

    def _take(self, number: int) -> _Pending | None:
        pending = self._pending.pop(number, None)
        if pending is not None:
            _cancel(pending.timer)
            if pending.stream is not None:
                pending.stream.on_credit = None
        return pending

    def _stop(self, number: int) -> None:
        """The asker does not want it any more."""
        if self._take(number) is not None:
            self._write(frames.encode({"id": number, "stop": True}))

    def _late(self, number: int) -> None:
        pending = self._take(number)
        if pending is not None:
            self._write(frames.encode({"id": number, "stop": True}))
            text = f"{self.name} did not answer in {pending.request.deadline:.0f} s"
            pending.answered.errback(ControlError(ControlReason.TIMEOUT, text))

    def _answer(self, number: int, frame: Mapping[str, Any]) -> None:
        pending = self._pending.get(number)
        if pending is None:
            return  # it was stopped, or came too late
        if "event" in frame:
            self._event(pending, frame["event"])
        elif "part" in frame:
            self._part(pending, frame["part"])
        elif "error" in frame:
            self._take(number)
            pending.answered.errback(_error_of(frame["error"]))
        else:
            self._take(number)
            document = frames.whole(pending.parts) if pending.parts else frame["result"]
            try:
                result = from_json(pending.request.result, document, strict=False)
            except Unfit as fault:
                pending.answered.errback(
                    ControlError(ControlReason.FAILED, f"{self.name} answers oddly: {fault}")
                )
            else:
                pending.answered.callback(result)

    def _event(self, pending: _Pending, event: object) -> None:
        if not isinstance(event, dict) or pending.stream is None:
            raise ProtocolError("an event that nobody asked for")
        # The far end counts the same credit and says the size of what it has counted.
        size = event.get("size")
        pending.stream.offer(event, size if type(size) is int and 0 <= size <= WINDOW else WINDOW)

    def _part(self, pending: _Pending, part: object) -> None:
        if not isinstance(part, str) or not part:  # as many as there are bytes, and no end of them
            raise ProtocolError("a part of an answer is no text")
        pending.size += len(part)
        if pending.size > self._limits.result:
            raise ProtocolError("an answer is too long")
        pending.parts.append(part)

    # -- serving -----------------------------------------------------------------------------------------

    def _command(self, number: int, frame: Mapping[str, Any]) -> None:
        try:
            if number in self._served:
                raise ControlError(ControlReason.MALFORMED, "an id that is in use")
            if len(self._served) >= self._limits.questions:
                raise ControlError(ControlReason.TOO_MANY, "too many questions at once")
            command, request = read_request(frame, self._requests)
            served = self._served[number] = _Served(
                Stream(lambda event, size: self._send_event(number, event, size))
            )
            try:
                answering = self._serve(command, request, served.stream)
            except ControlError:
                self._served.pop(number, None)
                raise
        except ControlError as error:
            self._refuse(number, error)
            return
        served.answering = answering
        answering.addCallbacks(self._answered, self._failed, (number,), {}, (number,))

    def _send_event(self, number: int, event: Mapping[str, Any], size: int) -> None:
        self._write(frames.encode({"id": number, "event": {**event, "size": size}}))

    def _answered(self, result: object, number: int) -> None:
        if self._served.pop(number, None) is not None and not self._lost:
            for frame in frames.answer(number, to_json(result)):
                self._write(frame)
            self._look_at_silence()

    def _failed(self, failure: Failure, number: int) -> None:
        if self._served.pop(number, None) is None or self._lost:
            return  # it was stopped, or nobody is there any more
        error = failure.value
        if not isinstance(error, ControlError):
            _log.failure("answering {name} failed", failure=failure, name=self.name)
            error = ControlError(ControlReason.FAILED, "the gateway failed, the operator's log says how")
        self._refuse(number, error)

    def _refuse(self, number: int, error: ControlError) -> None:
        if self.on_refused is not None:
            self.on_refused(error)
        self._write(frames.encode({"id": number, "error": {"reason": error.reason, "text": error.text}}))
        self._look_at_silence()

    def _ask_less(self, number: int, frame: Mapping[str, Any]) -> None:
        """Credit, or an end, of something that is being served; what is over is over."""
        served = self._served.get(number)
        if served is None:
            return
        if "stop" in frame:
            del self._served[number]
            if served.answering is not None:
                served.answering.cancel()
            self._look_at_silence()
            return
        size = frame["credit"]
        if type(size) is not int or not 0 < size <= WINDOW:
            raise ProtocolError("credit out of range")
        served.stream.grant(size)

    # -- the connection ----------------------------------------------------------------------------------

    def connectionMade(self) -> None:
        self.transport.registerProducer(self, True)
        self._look_at_silence()

    def dataReceived(self, data: bytes) -> None:
        if self._lost:
            return
        try:
            for frame in self._reader.feed(data):
                if not self._lost:  # what a frame asks for may end the connection
                    self._take_frame(frame)
        except ProtocolError as error:
            self._broken(ControlError(ControlReason.MALFORMED, error.text))
            return
        self._look_at_silence()

    def _take_frame(self, frame: Mapping[str, Any]) -> None:
        number = frames.number_of(frame)
        if "command" in frame:
            self._command(number, frame)
        elif "credit" in frame or "stop" in frame:
            self._ask_less(number, frame)
        elif frame.keys() & {"event", "part", "error", "result"}:
            self._answer(number, frame)
        else:
            raise ProtocolError("a frame of no known kind")

    def _look_at_silence(self) -> None:
        """One timer: for the rest of a frame, from its first byte on, or for the next question when nothing goes on."""
        half, frame = self._reader.half, self._reader.frames
        if half and self._quiet is not None and self._half == frame:
            return
        _cancel(self._quiet)
        self._quiet = self._half = None
        idle = not self._served and not self._pending
        wait = self._limits.half if half else self._limits.idle if idle else None
        if wait is not None and not self._lost:
            self._half = frame if half else None
            self._quiet = self._timers.callLater(wait, self._too_quiet)

    def _too_quiet(self) -> None:
        self._quiet = None
        if self._half is not None:
            self._broken(ControlError(ControlReason.SLOW, "half a frame, and then nothing"))
        else:
            self.drop()

    def _write(self, data: bytes) -> None:
        if self._lost or self.transport is None:
            return
        if self._waiting is not None:
            self._waiting += len(data)
            if self._waiting > self._limits.output:
                self._broken(ControlError(ControlReason.SLOW, "answers that nobody reads"))
                return
        self.transport.write(data)

    # IPushProducer: the transport's buffer is full, or empty again.

    def pauseProducing(self) -> None:
        if self._waiting is None:
            self._waiting = 0
            self._stall = self._timers.callLater(self._limits.stall, self._stalled)

    def resumeProducing(self) -> None:
        self._waiting = None
        _cancel(self._stall)
        self._stall = None

    def stopProducing(self) -> None:
        """The transport is gone: connectionLost says so."""

    def _stalled(self) -> None:
        self._stall = None
        self._broken(ControlError(ControlReason.SLOW, "answers that nobody reads"))

    def _broken(self, error: ControlError) -> None:
        """The peer has broken the protocol, or does not read: nothing more is said, since nothing may arrive."""
        if self.on_refused is not None and not self._lost:
            self.on_refused(error)
        self.drop()

    def drop(self) -> None:
        """End the connection now."""
        transport = self.transport
        self._end()
        if transport is not None:
            transport.abortConnection()

    def connectionLost(self, reason: Failure | None = None) -> None:
        self._end()

    def _end(self) -> None:
        """Once: whatever is pending fails, whatever is served is cancelled."""
        if self._lost:
            return
        self._lost = True
        for timer in (self._stall, self._quiet):
            _cancel(timer)
        self._stall = self._quiet = None
        served, self._served = self._served, {}
        for one in served.values():
            if one.answering is not None:
                one.answering.cancel()
        for number in list(self._pending):
            pending = self._take(number)
            if pending is not None:
                pending.answered.errback(self._gone())
        on_lost, self.on_lost = self.on_lost, None
        if on_lost is not None:
            on_lost(self)

    def _gone(self) -> ControlError:
        return ControlError(ControlReason.LINK_LOST, f"{self.name} is gone")


def read_request(
    frame: Mapping[str, Any], requests: Mapping[str, type[Request[Any]]] = REQUESTS
) -> tuple[str, Request[Any]]:
    """A command and its question. Raises ControlError."""
    command = frame["command"]
    kind = requests.get(command) if isinstance(command, str) else None
    if kind is None:
        raise ControlError(ControlReason.UNKNOWN_COMMAND, "no such command")
    try:
        return str(command), from_json(kind, frame.get("args", {}), strict=True)
    except Unfit as fault:
        raise ControlError(ControlReason.MALFORMED, str(fault)) from None


def _error_of(error: object) -> ControlError:
    """What the far end says went wrong, as far as it can be read."""
    reason, text = (error.get("reason"), error.get("text")) if isinstance(error, dict) else (None, None)
    known = {str(one) for one in ControlReason}
    made = ControlReason(reason) if isinstance(reason, str) and reason in known else ControlReason.FAILED
    return ControlError(made, text if isinstance(text, str) else "no reason was given")


def _cancel(timer: DelayedCall | None) -> None:
    if timer is not None and timer.active():
        timer.cancel()
