"""The other gateways of a gateway that has some (L4): reached, let in, told; nothing of it where there are none."""

from __future__ import annotations

import random
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from bastion.assembly.roles import role_groups
from bastion.clock import Clock
from bastion.config.nodes import Nodes
from bastion.config.outputs import Control
from bastion.control.desk import Desk
from bastion.control.fleet import Fleet
from bastion.control.hub import Hub
from bastion.control.nodes_door import NodesDoor
from bastion.control.obeying import Obeying
from bastion.control.peer import in_thread, roles_of
from bastion.control.peers import Peer
from bastion.control.roles import Role
from bastion.net.mutual_tls import NodeTls
from bastion.observe.audit import AuditLog
from bastion.observe.meters import Meters

FIRST: Final = 2.0
"""Seconds that a gateway which begins waits to learn what is locked, before it lets anybody in all the same: nothing
new begins there until it has learned it."""

_log = Logger(namespace="bastion.nodes")


class Together:
    """One per gateway that has `nodes`; `name` is its own. Raises ConfigError for files that cannot be used."""

    def __init__(
        self,
        reactor: Any,
        clock: Clock,
        desk: Desk,
        hub: Hub,
        meters: Meters,
        audit: AuditLog,
        control: Control,
        nodes: Nodes,
        name: str,
    ) -> None:
        assert nodes.listen is not None
        self._reactor, self._address = reactor, nodes.listen
        tls = NodeTls(nodes.files, _faulty)
        chance = random.SystemRandom().random
        peers = [
            Peer(
                reactor,
                clock,
                peer,
                (address.host, address.port),
                frozenset({name, *nodes.peers} - {peer}),
                tls,
                chance,
            )
            for peer, address in nodes.peers.items()
        ]
        self.fleet = Fleet(name, desk, hub, peers, reactor, meters, audit.note)
        allowed = frozenset(map(Role, nodes.roles))
        groups = role_groups(control)
        obeying = Obeying(
            name,
            desk,
            desk.keeper,
            allowed,
            reactor,
            lambda account, then: in_thread(
                reactor, lambda: roles_of(account, groups, control.speaker_group), then
            ),
        )
        names = frozenset(nodes.peers)
        self._door = NodesDoor(reactor, clock, tls, name, names, obeying.answer, meters, audit.note)

    async def begin(self) -> None:
        """Reach the others. Returns when it is known what is locked, or FIRST seconds have passed."""
        self.fleet.start()
        waited: Deferred[None] = Deferred()

        def over(_: object = None) -> None:
            if not waited.called:
                waited.callback(None)

        late = self._reactor.callLater(FIRST, over)
        self.fleet.confirmed().addBoth(over)
        await waited
        if late.active():
            late.cancel()

    def listen(self) -> None:
        """Let the others in. Raises OSError."""
        self._door.listen(self._address.host, self._address.port)

    def stop(self) -> None:
        """Neither reach nor let in anybody any more."""
        self.fleet.stop()
        self._door.close()


def _faulty(text: str) -> None:
    _log.error("the connections between gateways keep their certificate: {text}", text=text)
