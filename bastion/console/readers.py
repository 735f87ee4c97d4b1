"""The processes that open recordings, as the console sees them (L4): one for each question, started ahead of it.

Invariants: so many at once and no more, and so many that wait; a process answers one question and ends; whoever takes
its answer slowly pauses it, and whoever has gone ends it; one that does not begin to answer, or never ends, is killed.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Final

import orjson
from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from bastion.clock import DelayedCall
from bastion.console.reads import Trouble
from bastion.console.routes import FORMS
from bastion.errors import ConsoleReason

HEAD_MAX: Final = 4096
HEAD_SECONDS: Final = 60.0
"""Seconds until the answer begins: a long recording is read once before its first line."""

LIFE_SECONDS: Final = 1800.0
HELD: Final = 256 << 10
"""Bytes of an answer that wait for whoever takes it; then the process does."""

WHOLE_MAX: Final = 16 << 20
"""Bytes of an answer that is taken as one."""

WAITING: Final = 16
"""Questions that wait for a process to be free."""

QUESTIONS: Final = ("about", "looks", "play", "part", "files", "verify", *FORMS)
"""What a process is asked for: what a session's page says, who has looked, the player and one part of it, the tree of
files, a verdict, or the recording in one of the forms."""

ENDINGS: Final = ("whole", "left", "late", "long", "large", "failed")
"""How one that was asked ends: its answer whole; nobody takes it any more; killed before it began to answer, when it
had answered for too long or too much; otherwise."""

_log = Logger(namespace="bastion.console")

_REASONS: Final = {
    "not_found": ConsoleReason.NOT_FOUND,
    "no_channel": ConsoleReason.NOT_FOUND,
    "unaudited": ConsoleReason.UNAUDITED,
}


@dataclass(frozen=True, slots=True)
class Object:
    """A recording in the bucket, as the state store has it: s3://BUCKET/KEY, its version, its bytes, and its SHA-256 in
    hex, two while it is being replaced, "" where nobody knows it."""

    url: str
    version: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Question:
    """`what`, one of QUESTIONS, is asked of the recording of `session`, by whom and from where; `command` and `asked`
    stand in the audit log, `command` "" where a line of before covers it. `channel` None: all. Of a part: from `at`
    seconds on, and a `brief` one; `words` are looked for. `stored` is where it is when it is not in the folder, and
    `unknown` why nobody knows."""

    what: str
    session: str
    by: str
    source: str
    command: str
    asked: str = ""
    channel: int | None = None
    at: float = 0.0
    brief: bool = False
    words: str = ""
    stored: Object | None = None
    unknown: str = ""


Start = Callable[[ProcessProtocol], Any]
Change = Callable[[bytes], bytes]


def _as_it_is(data: bytes) -> bytes:
    return data


class Process(ProcessProtocol):
    """One of them: idle until it is asked, then its answer, then gone."""

    def __init__(self, reactor: Any, on_gone: Callable[[Process], None]) -> None:
        self._reactor, self._on_gone = reactor, on_gone
        self.gone = False
        self.ending = ""  # of ENDINGS, once it is gone; "" while it was asked nothing
        self._answered: Deferred[Opened] | None = None
        self._opened: Opened | None = None
        self._head = b""
        self._timer: DelayedCall | None = None

    def ask(self, question: Question) -> Deferred[Opened]:
        """Once. Fires when the answer begins; fails with Trouble."""
        self._answered = Deferred(self._not_wanted)
        self.ending = "failed"  # until it turns out otherwise
        self._timer = self._reactor.callLater(HEAD_SECONDS, self._late)
        transport: Any = self.transport
        transport.write(orjson.dumps(asdict(question)) + b"\n")
        return self._answered

    def kill(self, ending: str = "left") -> None:
        """Now."""
        transport: Any = self.transport
        if self.ending == "failed":
            self.ending = ending
        try:
            if transport is not None and not self.gone:
                transport.signalProcess("KILL")
        except ProcessExitedAlready:
            pass

    def let_go(self) -> None:
        """It is not needed: it ends by itself when nothing is asked."""
        transport: Any = self.transport
        transport.closeStdin()

    def flow(self, on: bool) -> None:
        """Let it write, or wait."""
        transport: Any = self.transport
        if not self.gone and transport is not None:
            transport.resumeProducing() if on else transport.pauseProducing()

    # -- ProcessProtocol ---------------------------------------------------------------------------------

    def outReceived(self, data: bytes) -> None:
        if self._opened is not None:
            self._opened.take(data)
            return
        self._head += data
        head, newline, rest = self._head.partition(b"\n")
        if not newline:
            if len(self._head) > HEAD_MAX:
                self.kill("failed")
            return
        self._begun(head, rest)

    def _begun(self, head: bytes, rest: bytes) -> None:
        answered, self._answered = self._answered, None
        self._stop_timer()
        if answered is None:
            self.kill()
            return
        try:
            said = orjson.loads(head)
        except orjson.JSONDecodeError:
            said = {}
        if said.get("ok") is True:
            self._timer = self._reactor.callLater(LIFE_SECONDS, self.kill, "long")
            self._opened = Opened(self)
            self._opened.take(rest)
            answered.callback(self._opened)
            return
        reason = _REASONS.get(str(said.get("reason")), ConsoleReason.UNAVAILABLE)
        answered.errback(Trouble(reason, str(said.get("text", "the recording cannot be read"))[:500]))

    def processEnded(self, reason: Failure) -> None:
        self.gone = True
        self._stop_timer()
        status: Any = reason.value
        whole = status.signal is None and status.exitCode == 0
        if whole and self.ending == "failed":
            self.ending = "whole"
        answered, self._answered = self._answered, None
        if answered is not None:
            _log.error("a process that reads recordings ended without an answer")
            answered.errback(Trouble(ConsoleReason.UNAVAILABLE, "the recording cannot be read"))
        opened, self._opened = self._opened, None
        if opened is not None:
            opened.ended(whole)
        self._on_gone(self)

    def _not_wanted(self, _: object) -> None:
        self._answered = None  # whoever waited is told already
        self.kill()

    def _late(self) -> None:
        self._timer = None
        answered, self._answered = self._answered, None
        self.kill("late")
        if answered is not None:
            text = "the recording takes too long to read here: `bastion export` has the time"
            answered.errback(Trouble(ConsoleReason.UNAVAILABLE, text))

    def _stop_timer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()


class Opened:
    """An answer that has begun. Take it once: `send_to` a sink (`site.Sink`), or `all` of it."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._held: list[bytes] = []
        self._size = 0
        self._sink: Any = None
        self._whole: Deferred[bytes] | None = None
        self._ended: bool | None = None
        self.before, self.behind = b"", b""
        self.change: Change = _as_it_is

    def all(self) -> Deferred[bytes]:
        """The whole of it. Fails with Trouble."""
        self._whole = Deferred(lambda _: self.stop())
        self._process.flow(True)
        self._settle()
        return self._whole

    def send_to(self, sink: Any) -> None:
        """`before`, the answer as `change` makes it, and `behind`."""
        self._sink = sink
        sink.begin(self)
        sink.write(self.before)
        held, self._held, self._size = self._held, [], 0
        for data in held:
            sink.write(self.change(data))
        self._process.flow(True)
        self._settle()

    def take(self, data: bytes) -> None:
        """From the process."""
        if not data:
            return
        if self._sink is not None:
            self._sink.write(self.change(data))
            return
        self._held.append(data)
        self._size += len(data)
        if self._whole is None and self._size > HELD:
            self._process.flow(False)
        elif self._whole is not None and self._size > WHOLE_MAX:
            self._process.kill("large")

    def ended(self, whole: bool) -> None:
        """The process has."""
        self._ended = whole
        self._settle()

    def _settle(self) -> None:
        if self._ended is None:
            return
        if self._sink is not None:
            sink, self._sink = self._sink, None
            if self._ended:
                sink.write(self.behind)
                sink.end()
            else:
                sink.cut()
        elif self._whole is not None:
            answered, self._whole = self._whole, None
            if self._ended:
                answered.callback(b"".join(self._held))
            else:
                answered.errback(
                    Trouble(ConsoleReason.UNAVAILABLE, "the recording cannot be read to its end")
                )

    # -- for the sink ------------------------------------------------------------------------------------

    def pause(self) -> None:
        self._process.flow(False)

    def resume(self) -> None:
        self._process.flow(True)

    def stop(self) -> None:
        """Nobody takes it any more."""
        self._sink = self._whole = None
        self._process.kill()


class Readers:
    """One per console: `most` at work, and one that waits for the next question. One person has all but one of them at
    most: whoever takes recordings away all day keeps nobody from looking."""

    def __init__(self, reactor: Any, start: Start, most: int) -> None:
        self._reactor, self._start, self._most = reactor, start, most
        self._most_of_one = max(1, most - 1)
        self._idle: Process | None = None
        self._busy: dict[Process, str] = {}  # for whom
        self._waiting: deque[tuple[Question, Deferred[Opened]]] = deque()
        self._closed = False
        self.opened: Counter[str] = Counter()  # by what was asked
        self.endings: Counter[str] = Counter()

    @property
    def busy(self) -> int:
        return len(self._busy)

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def warm(self) -> None:
        """Have one ready."""
        if self._idle is None and not self._closed:
            try:
                self._idle = self._made()
            except OSError as error:
                _log.error("no process can be started: {text}", text=error.strerror)

    def ask(self, question: Question) -> Deferred[Opened]:
        """The answer, once it has begun. Fails with Trouble."""
        if self._free_for(question.by):
            return self._given(question)
        if len(self._waiting) >= WAITING or self._closed:
            return fail(
                Trouble(ConsoleReason.TOO_MANY, "too many recordings are being read: try again in a moment")
            )
        waiting: Deferred[Opened] = Deferred(lambda one: self._forget(one))
        self._waiting.append((question, waiting))
        return waiting

    def close(self) -> None:
        """End all of them."""
        self._closed = True
        for process in (*self._busy, *([self._idle] if self._idle else ())):
            process.kill()
        while self._waiting:
            self._waiting.popleft()[1].errback(
                Trouble(ConsoleReason.UNAVAILABLE, "the console is closing down")
            )

    def _free_for(self, person: str) -> bool:
        of_one = sum(one == person for one in self._busy.values())
        return len(self._busy) < self._most and of_one < self._most_of_one

    def _forget(self, waiting: Deferred[Opened]) -> None:
        self._waiting = deque(one for one in self._waiting if one[1] is not waiting)

    def _given(self, question: Question) -> Deferred[Opened]:
        try:
            process, self._idle = self._idle or self._made(), None
        except OSError as error:
            _log.error("no process can be started: {text}", text=error.strerror)
            return fail(Trouble(ConsoleReason.TOO_MANY, "the recording cannot be read now"))
        self._busy[process] = question.by
        self.opened[question.what] += 1
        self._reactor.callLater(0, self.warm)
        return process.ask(question)

    def _made(self) -> Process:
        process = Process(self._reactor, self._gone)
        self._start(process)
        return process

    def _gone(self, process: Process) -> None:
        if process is self._idle:
            self._idle = None  # the next question starts one
        if process.ending:
            self.endings[process.ending] += 1
        self._busy.pop(process, None)
        while not self._closed:
            found = next((one for one in self._waiting if self._free_for(one[0].by)), None)
            if found is None:
                return
            self._waiting.remove(found)
            self._given(found[0]).chainDeferred(found[1])
