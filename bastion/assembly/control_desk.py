"""The desk of a gateway and the socket at which people find it (L4).

A gateway of several processes has them in the process that owns its sockets, which loads nothing of sessions; what
needs those stands in `controlling`.
"""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any, Final

from twisted.logger import Logger

from bastion.assembly.fleet import Together
from bastion.assembly.roles import role_groups
from bastion.auth.throttle import Penalties
from bastion.clock import Clock
from bastion.config.nodes import Nodes
from bastion.config.outputs import CONTROL_SOCKET, Control
from bastion.control.asking import Node
from bastion.control.desk import Desk
from bastion.control.glass import SetGlass
from bastion.control.hub import Hub
from bastion.control.orders import SetLocks
from bastion.control.peer import gid_of
from bastion.control.socket import Acceptor, ControlSocket, Opened, open_socket
from bastion.observe.audit import AuditLog
from bastion.observe.meters import Meters

LAST_ANSWERS: Final = 1.0
"""Seconds between a handover and the end of the old process's clients: who asked for it hears that it is done."""


class ControlDesk:
    """A desk over `hub`, and the socket at which people find it."""

    def __init__(
        self,
        reactor: Any,
        clock: Clock,
        hub: Hub,
        meters: Meters,
        audit: AuditLog,
        control: Control,
        config_file: Path,
        penalties: Penalties | None = None,
    ) -> None:
        """`penalties` are those of a gateway whose processes do not keep their own."""
        self.desk = Desk(hub, clock, reactor, audit.note, meters, penalties)
        self._hub = hub
        self._together: Together | None = None
        self._reactor = reactor
        self._clock = clock
        self._meters = meters
        self._audit = audit
        self._control = control
        self._config_file = config_file
        self._log = Logger(namespace="bastion.control")
        self._opened: Opened | None = None
        self._door: ControlSocket | None = None
        self._acceptor: Acceptor | None = None

    # -- the other gateways ------------------------------------------------------------------------------

    def join(self, nodes: Nodes, name: str) -> None:
        """There are others, if `nodes` has some; before `begin`. Raises ConfigError."""
        if nodes.used:
            own = self._reactor, self._clock, self.desk, self._hub, self._meters, self._audit
            self._together = Together(*own, self._control, nodes, name)

    async def begin(self) -> None:
        """Put in force what is kept and what others know, before anybody is let in."""
        await self.desk.load()
        self.desk.follow_glass()
        if self._together is not None:
            await self._together.begin()

    async def tell(self, node: Node) -> None:
        """A process that joins the others hears what is in force."""
        locks, glass = self.desk.locks, self.desk.glass
        if locks:
            await node.ask(SetLocks(locks))
        if glass is not None:
            await node.ask(SetGlass(glass))
        if self._together is not None:
            await node.ask(self._together.fleet.confirmation)

    # -- people ------------------------------------------------------------------------------------------

    def listen(self, given: socket.socket | None = None) -> socket.socket | None:
        """Answer at the socket that was `given`, or at the configured place; None: there is none.

        A place that nobody configured and that cannot be had is told and done without. Raises OSError for one that was.
        """
        if self._together is not None:
            self._together.listen()
        made = given or self._open()
        if made is None:
            return None
        groups = role_groups(self._control)
        asked = self.desk if self._together is None else self._together.fleet
        speakers = self._control.speaker_group
        self._door = ControlSocket(
            self._reactor, asked, self._meters, self._audit.note, groups, speakers=speakers
        )
        self._acceptor = Acceptor(self._reactor, made, self._door)
        return made

    def _open(self) -> socket.socket | None:
        control, log = self._control, self._log
        place = control.place(self._config_file)
        if place is None:
            return None
        names = (*role_groups(control).values(), control.speaker_group)
        gids = [gid for gid in map(gid_of, names) if gid is not None]
        try:
            self._opened = opened = open_socket(place, gids)
        except OSError as error:
            if control.socket != CONTROL_SOCKET:
                raise OSError(error.errno, f"control socket {place}: {error.strerror}") from None
            log.warn(
                "no control socket at {place}: {error}", place=str(place), error=error.strerror or str(error)
            )
            return None
        if opened.fault:
            log.warn("{fault}", fault=opened.fault)
        return opened.socket

    def pause(self) -> None:
        """Accept nobody; who is connected is answered on."""
        acceptor, self._acceptor = self._acceptor, None
        if acceptor is not None:
            acceptor.stop()

    def retire(self) -> None:
        """The socket is another process's now, and its file too. Who is connected here has time for an answer."""
        self.pause()
        self._leave()
        self._opened = None
        if self._door is not None:
            self._door.retired = True
            self._reactor.callLater(LAST_ANSWERS, self._door.close)

    def _leave(self) -> None:
        if self._together is not None:
            self._together.stop()

    def stop(self) -> None:
        """Nobody is answered any more; the file is gone, if it is still ours."""
        self.desk.stop()
        self._leave()
        self.pause()
        opened, self._opened = self._opened, None
        if opened is not None:
            opened.remove()
        if self._door is not None:
            self._door.close()
