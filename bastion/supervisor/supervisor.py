"""All workers of a gateway (L5): started, listened to, ended; what a dead one leaves is cared for, and another started.

The supervisor opens what engineers and scrapers connect to before any worker is there and keeps it until the last is
gone, so nobody who connects while a worker is started again is refused. It keeps the penalties (`auth.distant`).

Invariants: the gateway is ready when every worker serves; a worker serves only what all of them have read; a row of the
shared memory is cleared when the kernel has said that its worker is gone, and by nobody else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from bastion import __version__
from bastion.assembly.beside import Beside
from bastion.assembly.control_desk import ControlDesk
from bastion.assembly.penalty_keeper import PenaltyKeeper, look_at_penalties
from bastion.auth.distant import Docket
from bastion.auth.throttle import Penalties
from bastion.clock import SystemClock
from bastion.config.metrics import Metrics
from bastion.config.outputs import Control
from bastion.control.asking import Done
from bastion.control.hub import Hub
from bastion.control.node import ControlError, Node, Request
from bastion.errors import ControlReason, WorkerDeath
from bastion.handover.elders import Elders
from bastion.handover.questions import HURRIED
from bastion.net.listening import NOTHING_GIVEN, Listeners, address_of
from bastion.observe.audit import AuditLog
from bastion.observe.build import build
from bastion.observe.events.process import GatewayStarted, GatewayStopped
from bastion.observe.events.workers import WorkerDied, WorkerStarted
from bastion.observe.meters import WORKER_DEATHS, WORKERS, Meters
from bastion.observe.per_target import PerTarget
from bastion.sharing.rows import Cell, Everybody, clear, unfinished
from bastion.supervisor import questions as ask
from bastion.supervisor.child import KILL_AFTER, READ_WITHIN, SERVE_WITHIN, Child, State
from bastion.supervisor.memory import SharedMemory
from bastion.supervisor.pages import Figures
from bastion.supervisor.reloads import Reloads

FIRST_PAUSE: Final = 0.1
"""Seconds until a worker that died is started again; each further death doubles them."""

LONGEST_PAUSE: Final = 30.0

SETTLED: Final = 60.0
"""Seconds of serving after which a worker that dies is started again at once, as one that died for the first time."""

ADOPT_AGAIN: Final = 1.0
"""Seconds until another worker is asked to end recordings that one could not."""

LEFT: Final = "the gateway's process died"


class Supervisor:
    """One per gateway. `on_ready` is called once, when all workers serve; `on_over` when the last is gone, with the
    exit code."""

    def __init__(
        self,
        reactor: Any,
        command: Sequence[str],
        workers: int,
        settings: ask.Settings,
        listeners: Listeners,
        config_file: str,
        control: Control,
        keeper: PenaltyKeeper,
        metrics: Metrics,
    ) -> None:
        """`command` starts a worker, but for where it is to find everything. Raises AuditFailed or OSError."""
        self.reactor, self.clock = reactor, SystemClock()
        self.log = Logger(namespace="bastion.supervisor")
        self._keeper, self._metrics = keeper, metrics
        self.meters = Meters(build())
        PerTarget(self.meters, metrics.targets)  # which the workers count
        self._memory = SharedMemory.made(workers, keeper.key)
        self._everybody = Everybody(self._memory.rows, workers)
        self.audit = AuditLog(settings.audit_file, self.clock, self.meters, settings.audit_required)
        self.hub = Hub()
        self.hub.name = "gateway"
        self.elders = Elders(reactor, self.hub, self.meters.families)
        self.reloads, own = self._reloads(), (reactor, self.clock, self.meters, self.audit)
        self._beside = Beside(*own, Path(config_file), self.reloads.hup)
        parts = reactor, self.meters, self._that_have_figures, self._stuck, self.elders
        self.figures = Figures(*parts, self._refresh)
        self.on_ready: Callable[[], None] = lambda: None
        # Of a successor: all have read everything, and wait.
        self.on_checked: Callable[[], None] | None = None
        self.on_left: Callable[[], None] = lambda: None  # of an elder: the last worker has ended
        self._go: list[Deferred[None]] | None = None
        self.on_over: Callable[[int], None] = lambda code: None
        self.listeners = listeners
        self._sockets = [listener.fileno() for listener in listeners.ssh]
        self._own = () if listeners.metrics is None else (address_of(listeners.metrics),)
        self._config_file, self._command, self._signal, self._code = config_file, command, "", 0
        self._penalties = Penalties(self.clock, secret=self._memory.secret)
        self._penalties.on_block = self._block
        self.control = self._desk(control, Path(config_file))
        self._children: dict[int, Child] = {}
        self._pauses = dict.fromkeys(range(workers), FIRST_PAUSE)
        self._owed: list[str] = []  # sessions that died with their worker, until somebody ends them
        self._before, self._adopting = True, False  # of a gateway before this one: looked for once
        self._ready = self.ending = self._is_over = self._retired = False
        self.elders.on_gone, self.elders.on_unfinished = self._one_less, self._owe
        self.follow(settings)

    def _refresh(self) -> None:
        """Gauges that are read when somebody looks."""
        self._beside.refresh()
        look_at_penalties(self.meters, self._penalties)

    def _desk(self, control: Control, config_file: Path) -> ControlDesk:
        """Where people ask all processes as one."""
        parts = self.reactor, self.clock, self.hub, self.meters, self.audit
        return ControlDesk(*parts, control, config_file, self._penalties)

    # -- what is known -----------------------------------------------------------------------------------

    @property
    def workers(self) -> int:
        """How many there are to be."""
        return self._memory.workers

    def children(self, state: State | None = None) -> Iterator[Child]:
        """Those that are there now, in order."""
        for number in sorted(self._children):
            child = self._children[number]
            if state is None or child.state is state:
                yield child

    def status(self) -> str:
        """One line for `systemctl status`."""
        serving = sum(1 for _ in self.children(State.SERVING))
        sessions = self._everybody.elsewhere(Cell.SESSIONS)
        shown = f"{sessions} session" + "s" * (sessions != 1)
        if self.ending:
            return f"closing down, {shown} still run"
        return f"{shown}, {serving} of {self.workers} workers"

    def _admitted(self) -> Iterator[Child]:
        """Those that have read what is in force."""
        return (child for child in self.children() if child.link in self.hub)

    def _to_reload(self) -> list[Node]:
        return [child.link for child in self._admitted() if child.state is not State.ENDING]

    def _that_have_figures(self) -> Iterator[Child]:
        """Those that serve, or did and are ending."""
        return (child for child in self.children() if child.state is not State.STARTING)

    def follow(self, settings: ask.Settings) -> None:
        """What of a configuration is the supervisor's own business, at the start and at every reload."""
        self._penalties.set_limits(settings.penalties)
        self.audit.move(settings.audit_file, settings.audit_required)
        self._settings = settings
        if self._ready and not self.ending and not self._retired:
            self._follow_beside()

    def _follow_beside(self) -> None:
        wanted = self._settings
        self._beside.follow(wanted.uploads, wanted.inventories, wanted.detections, wanted.sinks)

    # -- the start ---------------------------------------------------------------------------------------

    def start(self) -> None:
        """The first worker alone: when the configuration has faults, they are told once."""
        self._start(0)

    def _start(self, number: int) -> None:
        if self.ending or self._retired or number in self._children:
            return
        child = Child(self.reactor, number, Docket(self._penalties), self._answer, self._gone)
        self._children[number] = child
        try:
            child.start(self._command, self._memory, self._sockets)
            child.expect(READ_WITHIN, self._late)
        except OSError as error:
            self.log.error("{name} cannot be started: {text}", name=child.name, text=error.strerror)
            del self._children[number]
            self._again(number)
        self._count()

    def _again(self, number: int) -> None:
        pause = self._pauses[number]
        self._pauses[number] = min(2 * pause, LONGEST_PAUSE)
        self.reactor.callLater(pause, self._start, number)

    def _count(self) -> None:
        for state in State:
            self.meters.set(WORKERS, sum(1 for _ in self.children(state)), state)

    # -- what workers ask --------------------------------------------------------------------------------

    def _answer(self, child: Child, request: Request[Any]) -> Any:
        match request:
            case ask.GuessBegun(number, source, account):
                turn: Deferred[ask.Turn] = Deferred()
                child.docket.begin(number, source, account, lambda allowed: turn.callback(ask.Turn(allowed)))
                return turn
            case ask.GuessSettled(number, reason):
                child.docket.settle(number, reason)
            case ask.AttemptFailed(source, account, reason, method):
                self._penalties.failed(source, account, reason, method)
            case ask.AttemptsSucceeded(proved):
                for one in proved:
                    self._penalties.succeeded(one.source, one.account)
            case ask.Checked():
                return Deferred.fromCoroutine(self._checked(child, request))
            case ask.Serving():
                self._serving(child)
            case ask.LastCounts(snapshot):
                child.snapshot = dict(snapshot)
        return Done()

    async def _checked(self, child: Child, checked: ask.Checked) -> ask.Welcome:
        child.expect(None, self._late)
        try:
            return await self._welcome(child, checked)
        finally:
            child.expect(SERVE_WITHIN, self._late)

    async def _welcome(self, child: Child, checked: ask.Checked) -> ask.Welcome:
        # from then on it hears of locks and blocks
        await self.reloads.admit(checked, lambda: self.hub.join(child.link))
        if not self._ready:
            for number in range(1, self.workers):
                self._start(number)
        if self.on_checked is not None:
            await self._turn()
        if not self._ready and child.number == 0:  # before the first worker lets anybody in
            await self.control.begin()
            self._keeper.load(self._penalties)
        await self.control.tell(child.link)
        blocks = tuple(ask.Block(key.hex(), until) for key, until in self._penalties.blocks())
        return ask.Welcome(blocks, self._own, *self.reloads.loaded, self._keeper.key.hex())

    def _turn(self) -> Deferred[None]:
        """When the process before this one has stopped to accept: it hears that all workers wait for that."""
        assert self.on_checked is not None
        go: Deferred[None] = Deferred()
        self._go = [*(self._go or ()), go]
        if len(self._go) == self.workers:
            self.on_checked()
        return go

    def go(self) -> None:
        """Let the workers serve."""
        self.on_checked = None
        waiting, self._go = self._go, None
        for one in waiting or ():
            one.callback(None)

    def publish(self) -> None:
        """Answer scrapes and people. Raises OSError, ConfigError."""
        self.figures.serve(self.listeners.metrics, self._metrics)
        self.listeners = replace(self.listeners, control=self.control.listen(self.listeners.control))

    def _serving(self, child: Child) -> None:
        child.expect(None, self._late)
        if child.state is State.ENDING:
            return
        child.state = State.SERVING
        child.serves_since = self.reactor.seconds()
        self._count()
        self.audit.note(WorkerStarted(child.name, child.pid))
        if self._ready:
            self.log.info("{name} serves, pid {pid}", name=child.name, pid=child.pid)
            self._adopt()
        elif sum(1 for _ in self.children(State.SERVING)) == self.workers:
            self._ready = True
            self.audit.emit(GatewayStarted(__version__, self._config_file))
            self.figures.start()
            self._follow_beside()
            self.on_ready()
            self._adopt()

    def _reloads(self) -> Reloads:
        told = self.clock, self.audit, self.meters, self.log
        return Reloads(*told, self._to_reload, self.follow, self._end_one)

    def _block(self, key: bytes, until: float) -> None:
        told = ask.Blocked((ask.Block(key.hex(), until),))
        for child in self._admitted():
            child.tell(told)

    def keyed(self, key: bytes) -> None:
        """All gateways key the digests of penalties with this."""
        for child in self._admitted():
            child.tell(ask.Keyed(key.hex()))

    # -- the end of one ----------------------------------------------------------------------------------

    def _gone(self, child: Child, how: str, code: int | None) -> None:
        number = child.number
        del self._children[number]
        self.hub.leave(child.link)
        self.figures.keep(child)
        left = list(unfinished(self._memory.rows, number))
        clear(self._memory.rows, number)
        self._owed += left
        self._count()
        if not self._ready and not self.ending:
            self._failed_to_start(child, how, code)
        elif left or (not self.ending and not self._retired):
            self._died(child, how, left)
        else:
            self.log.info("{name} has ended ({how})", name=child.name, how=how)
        self._one_less()
        self._adopt()

    def _one_less(self) -> None:
        """A worker is gone, or an elder: was it the last?"""
        if self._children or len(self.elders):
            return
        if self.ending:
            self._over()
        elif self._retired:
            self.on_left()

    def _failed_to_start(self, child: Child, how: str, code: int | None) -> None:
        """Its words stand on standard error. What it ended with is what the gateway ends with."""
        self._code = code if code in (2, 3) else 3
        if self._code != 2:
            self.log.error("{name} did not start: {how}", name=child.name, how=how)
        self.end("", drain=False)

    def _stuck(self, child: Child) -> None:
        """It holds up what all must do together, and its engineers; what systemd's watchdog is to one process."""
        self._put_down(child, WorkerDeath.STUCK, "gives no answer any more")

    def _late(self, child: Child, seconds: float, starved: float) -> None:
        """It holds up nobody, and does nothing either."""
        done = "begun to serve" if child.link in self.hub else "read its configuration"
        beside = f" and {starved:.0f} s in which it waited for a processor" if starved >= 1.0 else ""
        self._put_down(child, WorkerDeath.START, f"has not {done} within {seconds:g} s{beside}")

    def _put_down(self, child: Child, death: WorkerDeath, why: str) -> None:
        self.log.error("{name}, pid {pid}, {why}: it is killed", name=child.name, pid=child.pid, why=why)
        child.death = death
        child.kill()

    def _end_one(self, node: Node, refused: ControlError) -> Deferred[Any]:
        """It has not taken a reload. One that says so ends with words; whoever says nothing is killed."""
        child = next((child for child in self.children() if child.link is node), None)
        if child is None:
            return succeed(None)
        able = child.state is not State.STARTING and refused.reason is ControlReason.FAILED
        child.death, child.state = WorkerDeath.RELOAD, State.ENDING
        self._count()
        if not able:
            child.kill()
            return succeed(None)
        self.reactor.callLater(KILL_AFTER, child.kill)
        return child.link.ask(ask.End("", drain=False)).addErrback(lambda _: child.kill())

    def _died(self, child: Child, how: str, left: list[str]) -> None:
        self.meters.add(WORKER_DEATHS, child.death)
        self.audit.note(WorkerDied(child.name, child.pid, how, len(left), child.death))
        text = "{name}, pid {pid}, died ({how}) with {count} sessions"
        self.log.error(text, name=child.name, pid=child.pid, how=how, count=len(left))
        if self.ending or self._retired:
            return  # nobody is let in any more
        if child.serves_since is not None and self.reactor.seconds() - child.serves_since >= SETTLED:
            self._pauses[child.number] = FIRST_PAUSE
        self._again(child.number)

    def _owe(self, sessions: Sequence[str]) -> None:
        """What an elder could not end."""
        self._owed += sessions
        self._adopt()

    def unfinished(self) -> tuple[str, ...]:
        """Of an elder whose workers are gone: the sessions whose recordings have no end. Its successor has them now."""
        sessions, self._owed = self._owed, []
        return tuple(sessions)

    def _adopt(self) -> None:
        """Let a worker that serves write to their end what others left. One at a time."""
        able = (*self.children(State.SERVING), *self.children(State.ENDING))
        adopter = next((child for child in able if not child.link.lost), None)
        if adopter is None or self._adopting or not (self._owed or self._before):
            return
        before, self._before = self._before, False
        sessions, self._owed = ([], self._owed) if before else (self._owed, [])
        self._adopting = True

        def done() -> None:
            self._adopting = False
            self._adopt()

        def failed(failure: Failure) -> None:
            self.log.warn("ending what died: {text}", text=failure.getErrorMessage())
            self._owed += sessions
            self._before = before
            self.reactor.callLater(ADOPT_AGAIN, done)

        left: Request[Done] = ask.AdoptAll() if before else ask.Adopt(tuple(sessions), LEFT)
        adopted = adopter.link.ask(left)
        adopted.addCallbacks(lambda _: self.reactor.callLater(0, done), failed)

    # -- the end -----------------------------------------------------------------------------------------

    def end(self, signal_name: str, drain: bool) -> None:
        """All workers end: when those who are here have finished, or now. The second time always now."""
        drain = drain and not self.ending
        if not self.ending:
            self.ending = True
            self._signal = signal_name
        for child in self.children():
            if child.state is State.STARTING:
                child.kill()
            else:
                child.state = State.ENDING
                child.tell(ask.End(signal_name, drain))
                if not drain:
                    self.reactor.callLater(KILL_AFTER, child.kill)
        self._count()
        self.elders.end(drain)
        if not drain and len(self.elders):
            self.reactor.callLater(HURRIED, self._over)
        self._one_less()

    # -- another process takes over ----------------------------------------------------------------------

    async def pause(self) -> None:
        """Nobody accepts: who connects waits in the sockets' queues."""
        self.control.pause()
        stopped = self.figures.pause()
        told = [child.tell(ask.Pause()) for child in self.children(State.SERVING)]
        for one in (stopped, *told):
            if one is not None:
                await one
        await self._keeper.flush()

    def resume(self) -> None:
        """As before."""
        for child in self.children(State.SERVING):
            child.tell(ask.Pause(over=True))
        self.publish()

    def retire(self) -> None:
        """Another process is the gateway: every worker ends with its last session."""
        self._retired = True
        self._keeper.retire()
        self.control.retire()
        self._beside.stop()
        for child in self.children(State.SERVING):
            child.tell(ask.Retire())
        self._close_listeners()

    def finished(self) -> None:
        """Of an elder: nothing is left to do."""
        self.ending = True
        self._signal = "UPGRADE"
        self._over()

    def reopen_log(self) -> None:
        """The audit log was rotated."""
        self.audit.reopen()
        for child in self.children():
            child.tell(ask.LogMoved())

    def _close_listeners(self) -> None:
        for _, listener in self.listeners.by_use():
            listener.close()
        self.listeners = NOTHING_GIVEN

    def _over(self) -> None:
        if self._is_over:
            return
        self._is_over = True
        if self._owed:
            self.log.error(
                "{count} recordings have no end: nobody is left to write it", count=len(self._owed)
            )
        self.figures.stop()
        self.control.stop()
        self._keeper.close()
        self._close_listeners()
        self.elders.stop()
        if self._ready:
            self.audit.note(GatewayStopped(self._signal))
        self.audit.close()
        self._beside.stop().addCallback(lambda _: self.on_over(self._code))
