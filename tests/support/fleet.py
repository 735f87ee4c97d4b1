"""Gateways that reach each other in memory, over real TLS: a clock that is a network too, with cables to cut.

`Net` is the reactor of all of them. Nothing moves but in `advance`.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionDone, ConnectionRefusedError
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from bastion.clock import SystemClock
from bastion.control.asking import By, ControlError, Ended, Node
from bastion.control.confirming import ConfirmLocks, Heard, SharedLocks, SharedRows
from bastion.control.desk import Desk
from bastion.control.fleet import Fleet
from bastion.control.hub import Hub
from bastion.control.node import Kill, Live, LiveAsked, LiveRow, NodeStatus, Status, StatusAsked
from bastion.control.nodes_door import NodesDoor
from bastion.control.obeying import Obeying
from bastion.control.orders import KeepLock, KeptLocks, Locks, SetLocks, Watched, WatchSession
from bastion.control.peer import Caller
from bastion.control.peers import Peer
from bastion.control.roles import Role
from bastion.errors import ControlReason
from bastion.net.mutual_tls import NodeTls, TlsFiles
from bastion.observe.meters import Meters
from bastion.policy.lock_list import Gone
from bastion.policy.locks import Lock, LockKind
from tests.support.node_certificates import NodesCA

ROOT = By(0, "root")
EVERYTHING = frozenset(Role)


class End:
    """One end of a connection, as its protocol sees it."""

    def __init__(self, net: Net, name: str) -> None:
        self.net, self.name = net, name
        self.protocol: Any = None
        self.far: End | None = None
        self.waiting: list[bytes] = []
        self.gone = False
        self.over: Any = None

    def write(self, data: bytes) -> None:
        if not self.gone and self.far is not None:
            self.far.waiting.append(data)
            self.net.callLater(0, self.far.deliver)

    def deliver(self) -> None:
        if self.gone or self.net.frozen & {self.name, self.far.name if self.far else ""}:
            return
        waiting, self.waiting = self.waiting, []
        for data in waiting:
            self.protocol.dataReceived(data)

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        pass

    def abortConnection(self) -> None:
        self.net.callLater(0, self.lost)
        if self.far is not None:
            self.net.callLater(0, self.far.lost)

    def lost(self) -> None:
        if not self.gone:
            self.gone = True
            self.protocol.connectionLost(Failure(ConnectionDone()))
            if self.over is not None:
                self.over()


class Connector:
    """What `connectTCP` gives back."""

    def __init__(self) -> None:
        self.end: End | None = None

    def disconnect(self) -> None:
        if self.end is not None:
            self.end.abortConnection()


class Net(Clock):
    """`doors`: name -> where its gateway listens. `frozen` are gateways that hang: nothing reaches them, nothing
    comes from them. `cut` are those that nobody can connect to."""

    def __init__(self) -> None:
        super().__init__()
        self.doors: dict[str, Any] = {}
        self.frozen: set[str] = set()
        self.cut: set[str] = set()
        self.ends: list[End] = []

    def connectTCP(self, host: str, port: int, factory: Any, timeout: float) -> Connector:
        connector = Connector()
        door = self.doors.get(host)
        far = (
            None
            if door is None or host in self.cut
            else door.buildProtocol(IPv4Address("TCP", "192.0.2.9", 1))
        )
        if far is None:
            self.callLater(0, factory.clientConnectionFailed, connector, Failure(ConnectionRefusedError()))
            return connector
        here, there = End(self, "?"), End(self, host)
        connector.end, here.far, there.far = here, there, here
        here.over = lambda: factory.clientConnectionLost(connector, Failure(ConnectionDone()))
        here.protocol, there.protocol = factory.buildProtocol(None), far
        self.ends += [here, there]
        far.makeConnection(there)
        here.protocol.makeConnection(here)
        return connector

    def pull(self, name: str) -> None:
        """The cable of that gateway's own listener: who is connected there loses the connection, nobody gets one."""
        self.cut.add(name)
        for end in self.ends:
            if end.name == name and not end.gone:
                end.abortConnection()

    def run(self, seconds: float) -> None:
        """As `advance`, in steps that are smaller than anything waits for."""
        for _ in range(round(seconds * 10)):
            self.advance(0.1)


class Store:
    """What the gateways share: rows of locks, and ends of locks. `away`: nobody is answered."""

    def __init__(self) -> None:
        self.rows: dict[tuple[LockKind, str], Lock] = {}
        self.ends: dict[tuple[LockKind, str], float] = {}
        self.away = False
        self.timeline = "00000001"

    def keep(self, request: KeepLock) -> None:
        place, lock = (request.lock.kind, request.lock.value), request.lock
        known = self.rows.get(place)
        if request.gone:
            self.ends[place] = max(self.ends.get(place, -1.0), lock.made_at)
        if known is not None and known.made_at > lock.made_at:
            return
        if request.gone:
            self.rows.pop(place, None)
        else:
            self.rows[place] = lock

    def said(self, seen: str) -> SharedRows:
        """What a process answers."""
        rows = sorted(self.rows.values(), key=lambda lock: (lock.kind, lock.value))
        gone = tuple(Gone(*place, made_at) for place, made_at in sorted(self.ends.items()))
        mark = repr((rows, gone))
        return SharedRows(mark, None if mark == seen else tuple(rows), self.timeline, gone)


class Process(Node):
    """A process of a gateway: sessions by id, with their users; locks in force; what it was asked."""

    name = "worker 0"

    def __init__(self, store: Store, net: Net) -> None:
        self.store, self._net = store, net
        self.owed: list[KeepLock] = []
        self.sessions: dict[str, str] = {}
        self.locks: tuple[Lock, ...] = ()
        self.confirmed_until = 0.0
        self.hangs = False
        self.asked: list[Any] = []
        self.watched: Deferred[Watched] = Deferred()

    def ask(self, request: Any, stream: Any = None) -> Deferred[Any]:
        self.asked.append(request)
        if self.hangs:
            return Deferred()
        try:
            return succeed(self._answer(request, stream))
        except ControlError as error:
            refused: Deferred[Any] = Deferred()
            refused.errback(error)
            return refused

    def known(self) -> bool:
        """Would something new begin?"""
        return self._net.seconds() < self.confirmed_until

    def _answer(self, request: Any, stream: Any) -> Any:
        match request:
            case SetLocks():
                self.locks = request.locks
                named = {lock.value for lock in request.locks}
                ended = [one for one, user in self.sessions.items() if user in named]
                return self._end(ended)
            case ConfirmLocks():
                self.confirmed_until = self._net.seconds() + request.seconds
                return Heard()
            case KeptLocks() | SharedLocks() if self.store.away:
                raise ControlError(ControlReason.FAILED, "the state store does not answer")
            case KeptLocks():
                return Locks(tuple(self.store.rows.values()))
            case SharedLocks():
                self.write()
                return self.store.said(request.seen)
            case KeepLock():
                self.owed.append(request)
                if not self.store.away:
                    self.write()
                return Locks((request.lock,))
            case LiveAsked():
                chosen = request.selection
                rows = [
                    LiveRow(one, "session", user, "u", "192.0.2.1", "jump", 1.0, node=self.name)
                    for one, user in self.sessions.items()
                    if chosen.everything or chosen.id == one or chosen.user == user
                ]
                return Live(tuple(rows))
            case StatusAsked():
                return Status((NodeStatus(self.name, "running"),))
            case Kill():
                chosen = request.selection
                ended = [
                    one
                    for one, user in self.sessions.items()
                    if chosen.everything or chosen.id == one or chosen.user == user
                ]
                if not ended:
                    raise ControlError(ControlReason.NOT_FOUND, "nothing that is open fits")
                return self._end(ended)
            case WatchSession():
                stream.offer({"blocks": "of " + request.id}, 10)
                return self.watched
        raise ControlError(ControlReason.UNKNOWN_COMMAND, f"{request.command}?")

    def write(self) -> None:
        """What is owed to the store."""
        owed, self.owed = self.owed, []
        for one in owed:
            self.store.keep(one)

    def _end(self, ended: list[str]) -> Ended:
        for one in ended:
            del self.sessions[one]
        return Ended(len(ended), 0, 0, tuple(ended))


class Gateway:
    """One gateway with one process: what `assembly.fleet` puts together, with `roles` for everybody at others."""

    def __init__(
        self,
        net: Net,
        store: Store,
        ca: NodesCA,
        name: str,
        others: list[str],
        roles: dict[str, frozenset[Role]],
    ) -> None:
        certificate, key = ca.node(name)
        tls = NodeTls(TlsFiles(certificate, key, ca.certificate), str)
        clock = SystemClock()
        self.name, self.net, self.roles = name, net, roles
        self.meters, self.lines = Meters(), []
        note = self.lines.append
        self.process = Process(store, net)
        self.hub = Hub(self.process)
        self.hub.name = "gateway"
        self.desk = Desk(self.hub, clock, net, note, self.meters)
        everybody = frozenset({name, *others})
        self.peers = [
            Peer(net, clock, other, (other, 1), everybody - {other}, tls, lambda: 0.0) for other in others
        ]
        self.fleet = Fleet(name, self.desk, self.hub, self.peers, net, self.meters, note)
        obeying = Obeying(name, self.desk, self.desk.keeper, EVERYTHING, net, self._look_up)
        self.door = NodesDoor(net, clock, tls, name, frozenset(others), obeying.answer, self.meters, note)
        net.doors[name] = self.door

    def _look_up(self, name: str, then: Any) -> None:
        """In the place of `roles_of`, which asks the machine."""
        then(Caller(By(0, name), self.roles.get(name, frozenset())))

    def start(self) -> None:
        self.desk.load()
        self.fleet.start()

    def stop(self) -> None:
        self.fleet.stop()
        self.door.close()
        self.desk.stop()
        self.net.doors.pop(self.name, None)

    def ask(self, request: Any, by: By = ROOT, stream: Any = None) -> list[Any]:
        """What becomes of it, as soon as it is there."""
        if hasattr(request, "by"):
            request = replace(request, by=by)
        got: list[Any] = []
        self.fleet.ask_as(by, request, stream).addBoth(got.append)
        return got

    def events(self, event: str) -> list[dict[str, Any]]:
        return [line.fields() for line in self.lines if line.event == event]


class Company:
    """Gateways gw1, gw2, ... of one CA and one store, all `started`."""

    def __init__(self, folder: Path, count: int = 2, started: bool = True) -> None:
        self.net, self.store, self.ca = Net(), Store(), NodesCA(folder)
        names = [f"gw{number}" for number in range(1, count + 1)]
        self.roles: dict[str, frozenset[Role]] = {"root": EVERYTHING}
        self.gateways = [
            Gateway(self.net, self.store, self.ca, name, [one for one in names if one != name], self.roles)
            for name in names
        ]
        for gateway in self.gateways if started else ():
            gateway.start()
        self.net.run(2.0)

    def again(self, gone: Gateway) -> Gateway:
        """A gateway in the place of one that has stopped, which knows nothing, started."""
        names = [one.name for one in self.gateways if one is not gone]
        fresh = Gateway(self.net, self.store, self.ca, gone.name, names, self.roles)
        self.gateways[self.gateways.index(gone)] = fresh
        fresh.start()
        return fresh

    def close(self) -> None:
        for gateway in self.gateways:
            gateway.stop()
        self.net.advance(0)
        left = [call for call in self.net.getDelayedCalls() if call.active()]
        assert left == [], left
