"""One of several workers (L5): a whole gateway but for what the supervisor does for all.

It accepts from sockets that it was started with, asks the supervisor about passwords, takes reloads from it and answers
it as a node. Without its supervisor a worker judges no password, ends its sessions with words and stops.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.python.failure import Failure

from bastion.app import Program, keep_what_is_there, make_program
from bastion.assembly.applying import Prepared
from bastion.assembly.part import Part
from bastion.assembly.telling import Loaded
from bastion.auth.distant import DistantPenalties, Judge
from bastion.clock import DelayedCall, SystemClock, Timers
from bastion.config.contents import together
from bastion.control.asking import Done
from bastion.control.link import Link
from bastion.control.node import ControlError, Request, Stream
from bastion.doors.draining import Drained
from bastion.errors import AuthReason, ControlReason, EndReason
from bastion.net.listening import Listeners
from bastion.net.notify import Heartbeat, Notifier
from bastion.observe.audit import AuditFailed
from bastion.reactor import log_to_standard_error, the_reactor
from bastion.running import Ending
from bastion.supervisor import questions as ask
from bastion.supervisor.child import LINK
from bastion.supervisor.memory import Inherited, SharedMemory
from bastion.supervisor.settings import settings_of
from bastion.wire.printable import printable

GATHER: Final = 1.0
"""Seconds after which the supervisor has heard of a login that went well."""

PROVED_MAX: Final = 64
"""Logins that are told together, however short the time: some 10 KiB."""


def run_worker(config_file: Path, trace_messages: bool, inherited: Inherited) -> None:
    """The worker, until its supervisor ends it or is gone. Exits with 2 for a faulty configuration."""
    reactor = the_reactor()
    levels = log_to_standard_error()
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # for the supervisor, which tells all workers
    memory = SharedMemory(inherited.memory, inherited.workers)
    penalties = DistantPenalties(SystemClock(), memory.secret)
    sockets = tuple(map(_listener, inherited.sockets))
    program = make_program(
        config_file,
        reactor,
        trace_messages,
        lambda: Listeners(ssh=sockets),
        Part(memory.row(inherited.number), penalties),
    )
    program.control.follow(levels)
    worker = Worker(reactor, program, penalties, f"worker-{inherited.number + 1}")
    reactor.callWhenRunning(worker.start, inherited.link)
    reactor.run()


def _listener(number: int) -> socket.socket:
    """The descriptor as a socket; one made of a number is taken for one that waits, and its duplicates then do."""
    listener = socket.socket(fileno=number)
    listener.setblocking(False)
    return listener


class Worker:
    """One program, its link and what the supervisor asks of it."""

    def __init__(self, reactor: Any, program: Program, penalties: DistantPenalties, name: str) -> None:
        self._reactor, self._program, self._penalties = reactor, program, penalties
        self._log = Logger(namespace="bastion.supervisor")
        self._prepared: Prepared | None = None
        self._over = False
        heart = Heartbeat(reactor, Notifier(), 0.0, program.status)
        self._ending = Ending(program, heart, self._ended)
        program.local.name = name
        self.link = Link(
            reactor, "the supervisor", self._serve, LINK, on_lost=self._lost, requests=ask.ASKED_OF_WORKERS
        )
        answers: dict[type[Request[Any]], Callable[[Any, Stream | None], Any]] = {
            ask.Keyed: self._keyed,
            ask.Blocked: self._blocked,
            ask.Prepare: self._prepare,
            ask.Take: self._take,
            ask.Forget: self._forget,
            ask.HealthAsked: self._health,
            ask.End: self._end,
            ask.Adopt: self._adopt,
            ask.AdoptAll: self._adopt_all,
            ask.Pause: self._pause,
            ask.Retire: self._retire,
            ask.LogMoved: self._log_moved,
        }
        for request, answer in answers.items():
            program.local.answers(request, answer)

    def start(self, descriptor: int) -> None:
        """In the reactor: say what was read, and serve once the supervisor agrees."""
        factory: Any = Factory.forProtocol(lambda: self.link)
        factory.noisy = False
        with socket.socket(fileno=descriptor) as link:
            self._reactor.adoptStreamConnection(link.fileno(), socket.AF_UNIX, factory)
        self._penalties.judge = LinkJudge(self.link, self._reactor)
        Deferred.fromCoroutine(self._begin()).addErrback(self._failed)

    async def _begin(self) -> None:
        reloading = self._program.reloading
        digest, settings = together(reloading.contents), settings_of(reloading.config)
        welcome = await self.link.ask(ask.Checked(digest, settings))
        self._penalties.rekey(bytes.fromhex(welcome.key))
        self._penalties.take_blocks(_keys(welcome.blocks))
        self._program.start(welcome.own, Loaded(welcome.loaded_at, welcome.loaded_by))
        keep_what_is_there()
        await self.link.ask(ask.Serving())

    def _failed(self, failure: Failure) -> None:
        if not isinstance(failure.value, ControlError):
            self._log.failure("starting failed", failure=failure)
        self._ended()

    def _serve(self, command: str, request: Request[Any], stream: Stream) -> Deferred[Any]:
        return self._program.local.ask(request, stream)

    def _lost(self, link: Link) -> None:
        """Nobody judges passwords any more, and nobody starts another in our place: end."""
        self._penalties.judge = Judge()
        if not self._over:
            self._log.error("the supervisor is gone: this worker ends")
            self._ending.stop()

    def _ended(self) -> None:
        self._over = True
        if self._reactor.running:
            self._reactor.stop()

    # -- what the supervisor asks ------------------------------------------------------------------------

    def _keyed(self, told: ask.Keyed, _: Stream | None) -> Done:
        self._penalties.rekey(bytes.fromhex(told.key))
        return Done()

    def _blocked(self, told: ask.Blocked, _: Stream | None) -> Done:
        self._penalties.take_blocks(_keys(told.blocks))
        return Done()

    def _prepare(self, _: ask.Prepare, __: Stream | None) -> Deferred[ask.Read]:
        reloading = self._program.reloading

        def read(prepared: Prepared) -> ask.Read:
            self._prepared = prepared
            return ask.Read(
                warnings=tuple(printable(str(warning)) for warning in prepared.warnings),
                digest=together(prepared.contents),
                settings=settings_of(prepared.config),
                restart=reloading.waiting(prepared.config),
                changes=prepared.changes,
            )

        def refused(failure: Failure) -> ask.Read:
            faults = tuple(printable(str(fault)) for fault in reloading.faults(failure))
            return ask.Read(errors=faults or ("the gateway is closing down",))

        return reloading.prepare().addCallbacks(read, refused)

    def _take(self, take: ask.Take, _: Stream | None) -> Done:
        prepared, self._prepared = self._prepared, None
        if prepared is None:
            raise ControlError(ControlReason.FAILED, "nothing was prepared")
        try:
            self._program.reloading.take(prepared, Loaded(take.at, take.by))
        except AuditFailed as failed:
            raise ControlError(ControlReason.FAILED, str(failed)) from None
        return Done()

    def _forget(self, _: ask.Forget, __: Stream | None) -> Done:
        prepared, self._prepared = self._prepared, None
        if prepared is not None:
            self._program.reloading.forget(prepared)
        return Done()

    def _health(self, _: ask.HealthAsked, __: Stream | None) -> ask.Healthy:
        well, lines = self._program.health.page()
        return ask.Healthy(well, tuple(lines.split("\n")))

    def _end(self, end: ask.End, _: Stream | None) -> Done:
        if end.drain:
            self._ending.drain()
        else:
            self._ending.stop()
        return Done()

    # -- another gateway takes over ----------------------------------------------------------------------

    def _pause(self, pause: ask.Pause, _: Stream | None) -> Any:
        if pause.over:
            self._program.accept()
            return Done()
        return ensureDeferred(self._program.pause()).addCallback(lambda _: Done())

    def _retire(self, _: ask.Retire, __: Stream | None) -> Done:
        local = self._program.local
        local.name = f"elder-{os.getppid()}-{local.name}"
        self._program.retire().addCallback(self._left)
        return Done()

    def _left(self, how: Drained) -> None:
        if how is Drained.EMPTY and not self._ending.begun:
            counted = self._program.counted()
            asked = counted.addCallback(lambda found: self.link.ask(ask.LastCounts(found.snapshot)))
            asked.addBoth(lambda _: self._ending.finished())

    def _log_moved(self, _: ask.LogMoved, __: Stream | None) -> Done:
        self._program.gateway.audit.reopen()
        return Done()

    # -- what a dead worker left -------------------------------------------------------------------------

    def _adopt(self, left: ask.Adopt, _: Stream | None) -> Deferred[Done]:
        ended = self._program.leftovers.end(left.sessions, EndReason.WORKER_DIED, left.text)
        return ended.addCallback(lambda _: Done())

    def _adopt_all(self, _: ask.AdoptAll, __: Stream | None) -> Deferred[Done]:
        return self._program.leftovers.end_all().addCallback(lambda _: Done())


class LinkJudge(Judge):
    """Penalties are kept at the other end of the link.

    It hears of failures at once. Of successes, which only forgive, it hears within GATHER, those of one account from
    one source as one, and always before anything that happened later: most logins of a second have no message of
    their own, which costs both processes a turn.
    """

    def __init__(self, link: Link, timers: Timers) -> None:
        self._link = link
        self._timers = timers
        self._proved: dict[ask.Proved, None] = {}
        self._telling: DelayedCall | None = None

    def begin(self, number: int, source: str, account: str, turn: Callable[[bool], None]) -> None:
        self._tell_proved()
        asked = self._link.ask(ask.GuessBegun(number, source, _text(account)))
        asked.addCallbacks(lambda answer: turn(answer.allowed), lambda _: turn(False))

    def settle(self, number: int, reason: AuthReason) -> None:
        self._tell(ask.GuessSettled(number, reason))

    def failed(self, source: str, account: str, reason: AuthReason, method: str) -> None:
        self._tell(ask.AttemptFailed(source, _text(account), reason, method))

    def succeeded(self, source: str, account: str) -> None:
        self._proved[ask.Proved(source, _text(account))] = None
        if len(self._proved) >= PROVED_MAX:
            self._tell_proved()
        elif self._telling is None:
            self._telling = self._timers.callLater(GATHER, self._tell_proved)

    def _tell(self, request: Request[Any]) -> None:
        self._tell_proved()
        self._link.ask(request).addErrback(_lost_already)

    def _tell_proved(self) -> None:
        telling, self._telling = self._telling, None
        if telling is not None and telling.active():
            telling.cancel()
        proved, self._proved = tuple(self._proved), {}
        if proved:
            self._link.ask(ask.AttemptsSucceeded(proved)).addErrback(_lost_already)


def _lost_already(failure: Failure) -> None:
    """Who judges is gone, and this worker ends."""
    failure.trap(ControlError)  # type: ignore[no-untyped-call]


def _text(account: str) -> str:
    """As digests are made of it (`auth.throttle`), since JSON has no lone surrogates."""
    return account.encode("utf-8", "backslashreplace").decode("utf-8")


def _keys(blocks: Iterable[ask.Block]) -> list[tuple[bytes, float]]:
    return [(bytes.fromhex(block.key), block.until) for block in blocks]
