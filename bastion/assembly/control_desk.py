"""The desk of a gateway and the socket at which people find it (L4).

A gateway of several processes has them in the process that owns its sockets, which loads nothing of sessions; what
needs those stands in `controlling`.
"""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any, Final

from twisted.logger import Logger

from bastion.auth.throttle import Penalties
from bastion.clock import Clock
from bastion.config.outputs import CONTROL_SOCKET, Control
from bastion.control.desk import Desk
from bastion.control.hub import Hub
from bastion.control.peer import gid_of
from bastion.control.roles import Role
from bastion.control.socket import Acceptor, ControlSocket, Opened, open_socket
from bastion.observe.audit import AuditLog
from bastion.observe.meters import Meters


def role_groups(control: Control) -> dict[Role, str]:
    """Role -> the group whose members have it."""
    return {
        Role.ADMIN: control.admin_group,
        Role.RESPONDER: control.responder_group,
        Role.APPROVER: control.approver_group,
        Role.AUDITOR: control.auditor_group,
    }


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
        self._reactor = reactor
        self._meters = meters
        self._audit = audit
        self._control = control
        self._config_file = config_file
        self._log = Logger(namespace="bastion.control")
        self._opened: Opened | None = None
        self._door: ControlSocket | None = None
        self._acceptor: Acceptor | None = None

    def listen(self, given: socket.socket | None = None) -> socket.socket | None:
        """Answer at the socket that was `given`, or at the configured place; None: there is none.

        A place that nobody configured and that cannot be had is told and done without. Raises OSError for one that was.
        """
        made = given or self._open()
        if made is None:
            return None
        groups = role_groups(self._control)
        self._door = ControlSocket(self._reactor, self.desk, self._meters, self._audit.note, groups)
        self._acceptor = Acceptor(self._reactor, made, self._door)
        return made

    def _open(self) -> socket.socket | None:
        control, log = self._control, self._log
        place = control.place(self._config_file)
        if place is None:
            return None
        gids = [gid for gid in map(gid_of, role_groups(control).values()) if gid is not None]
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
        self._opened = None
        if self._door is not None:
            self._door.retired = True
            self._reactor.callLater(LAST_ANSWERS, self._door.close)

    def stop(self) -> None:
        """Nobody is answered any more; the file is gone, if it is still ours."""
        self.desk.stop()
        self.pause()
        opened, self._opened = self._opened, None
        if opened is not None:
            opened.remove()
        if self._door is not None:
            self._door.close()
