"""What leads to a handover, or to a reload (L4): signals, and `bastion upgrade`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from twisted.internet.defer import Deferred

from bastion.control.asking import ControlError
from bastion.control.desk import Desk
from bastion.control.orders import HandedTo, Upgrade
from bastion.control.reloads import Reloaded, ReloadOrder
from bastion.errors import ControlReason
from bastion.handover.elders import Elders
from bastion.handover.giving import Giving, Serving
from bastion.handover.program import own_program, resolved
from bastion.net.notify import Notifier
from bastion.observe.events.process import Reload


class Succession:
    """One per process that people and systemd speak to. `reload` reads the configuration again; `ending` says whether
    the end has begun."""

    def __init__(
        self,
        reactor: Any,
        notifier: Notifier,
        arguments: Sequence[str],
        serving: Serving,
        elders: Elders,
        reload: Callable[..., Deferred[Reload]],
        ending: Callable[[], bool],
    ) -> None:
        """`arguments` are those of `bastion serve`, for a successor; `reload` takes who wants it."""
        self._reactor, self._notifier = reactor, notifier
        self._words = own_program()
        self._file = resolved(self._words)
        self._serving, self._elders = serving, elders
        self._read_again, self._ending = reload, ending
        self._giving = Giving(reactor, (*self._words, *arguments), serving, notifier)
        self._giving.on_over = self._over
        self._asked: list[Deferred[HandedTo]] = []

    def answer_at(self, desk: Desk) -> None:
        """People may order it there."""
        desk.answers(Upgrade, self._upgrade)
        desk.answers(ReloadOrder, self._reload_for)

    def reload(self) -> None:
        """SIGHUP: where another version has been put in this one's place since, that version takes over."""
        if self._giving.given:
            self._serving.reopen_log()
            return
        if resolved(self._words) not in ("", self._file) and not self._ending():
            self.hand_over()
            return
        self._begin_reload()

    def _begin_reload(self, *by: str) -> Deferred[Reload]:
        self._elders.reopen_log()
        self._notifier.reloading(self._reactor.seconds())
        return self._read_again(*by)

    def _reload_for(self, order: ReloadOrder) -> Deferred[Reloaded]:
        """The configuration alone, whatever has been put in this program's place."""
        if self._giving.given or self._ending():
            raise ControlError(ControlReason.FAILED, "this process is not the gateway any more")

        def told(event: Reload) -> Reloaded:
            return Reloaded(event.result, event.restart, event.text, event.changed or ())

        return self._begin_reload(str(order.by)).addCallback(told)

    def hand_over(self) -> None:
        """SIGUSR2."""
        if self._giving.given or self._ending():
            self._over("this process is ending")
            return
        self._notifier.reloading(self._reactor.seconds())
        self._giving.begin()

    def give_up(self) -> None:
        """The gateway is to end: no other process takes over."""
        self._giving.give_up("the gateway is to end")

    def farewell(self, snapshot: Mapping[str, Any], unfinished: Sequence[str] = ()) -> Deferred[Any]:
        """The last of this elder's sessions has ended."""
        return self._giving.farewell(snapshot, unfinished)

    def _upgrade(self, request: Upgrade) -> Deferred[HandedTo]:
        answer: Deferred[HandedTo] = Deferred()
        self._asked.append(answer)
        self.hand_over()
        return answer

    def _over(self, fault: str) -> None:
        if fault and not self._giving.given:
            self._notifier.ready()
        successor = self._giving.successor
        told = HandedTo(fault=fault) if fault else HandedTo(successor.version, successor.pid)
        asked, self._asked = self._asked, []
        for answer in asked:
            answer.callback(told)
