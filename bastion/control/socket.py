"""The control socket (L3): local, for people, each with the roles of the account that they are on this machine.

Invariant: whoever is there is who the kernel says (`peer`); a command without a role for it is refused, counted and
written down, and has no effect; clients, what they send, what waits for them and the time they take are all bounded.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
import struct
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IReadDescriptor
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure
from zope.interface import implementer

from bastion.clock import DelayedCall
from bastion.control.asking import ControlError, Node, Request, Stream
from bastion.control.link import Limits, Link
from bastion.control.peer import LOOK_UP, Caller, in_thread, look_up, peer_of, unnamed
from bastion.control.roles import Role, may
from bastion.control.speaking import spoken
from bastion.errors import ControlReason
from bastion.observe.events import AuditEvent
from bastion.observe.events.control import ControlRefused
from bastion.observe.meters import CONTROL_CLIENTS, CONTROL_REFUSALS, CONTROL_REQUESTS, OTHER, Meters
from bastion.wire.printable import printable

MODE: Final = 0o660

CLIENTS: Final = 32
"""Connections at once, watchers included; CLIENTS_EACH of one account."""

CLIENTS_EACH: Final = 16

OURS: Final = 8
"""Of CLIENTS, those that only root and the gateway's own account get: two auditors cannot keep out who has to act."""

FOR_PEOPLE: Final = Limits(frame=64 << 10, half=10.0, idle=60.0, output=32 << 20, stall=30.0, questions=8)
"""What a client may do: questions are short, a list of 100,000 sessions waits for whoever reads it, for 30 s."""

REFUSALS: Final = 10
"""Lines of refused questions at once, and one a second after that: the counter has all of them."""

Start = Callable[[Callable[[], Caller], Callable[[Caller | None], None]], None]
"""Runs the first in a thread and hands what came of it to the second."""


class ControlSocket(Factory):
    """Builds a `_Client` for everybody who connects, and answers them through `desk`."""

    noisy = False

    def __init__(
        self,
        reactor: Any,
        desk: Node,
        meters: Meters,
        note: Callable[[AuditEvent], None],
        groups: Mapping[Role, str],
        start: Start | None = None,
        speakers: str = "",
    ) -> None:
        """`groups`: role -> the group whose members have it; members of `speakers` may say for whom they ask."""
        self.reactor = reactor
        self.desk = desk
        self.meters = meters
        self.groups, self.speakers = groups, speakers
        self.clients: list[_Client] = []
        self.retired = False  # another process is the gateway: what was ordered here would reach no other
        self.start: Start = start or (lambda work, then: in_thread(reactor, work, then))
        self._note = note
        self._lines, self._lines_at = 0.0, 0.0

    def buildProtocol(self, addr: IAddress | None) -> _Client | None:
        if len(self.clients) >= CLIENTS:
            self.refused(None, "", ControlError(ControlReason.TOO_MANY, f"{CLIENTS} clients are connected"))
            return None
        return _Client(self)

    def refused(self, caller: Caller | None, command: str, error: ControlError, person: str = "") -> None:
        """Counted, and written down unless there were many just now."""
        self.meters.add(CONTROL_REQUESTS, command or OTHER, "refused")
        self.meters.add(CONTROL_REFUSALS, error.reason)
        if error.reason not in WRITTEN_DOWN:
            return
        now = self.reactor.seconds()
        self._lines = max(0.0, self._lines - (now - self._lines_at))
        self._lines_at = now
        if self._lines + 1 > REFUSALS:
            return
        self._lines += 1
        name, uid = (caller.by.name, caller.by.uid) if caller is not None else ("", None)
        self._note(ControlRefused(error.reason, error.text, printable(command, 32), name, uid, person))

    def close(self) -> None:
        """The gateway stops: whoever is connected is let go of."""
        for client in list(self.clients):
            client.drop()


WRITTEN_DOWN: Final = frozenset(
    (
        ControlReason.MALFORMED,
        ControlReason.UNKNOWN_COMMAND,
        ControlReason.NO_ROLE,
        ControlReason.BY_POLICY,
        ControlReason.TOO_MANY,
        ControlReason.SLOW,
    )
)
"""Refusals that say something about who asked; the others are answers."""


class _Client(Link):
    """One connection. Nothing is read before it is known who is there."""

    def __init__(self, door: ControlSocket) -> None:
        super().__init__(door.reactor, "a client", self._answer_people, FOR_PEOPLE, self._left)
        self._door = door
        self._caller: Caller | None = None
        self._naming: DelayedCall | None = None
        self._asked, self._person = "", ""  # what was asked last, and for whom
        self.on_refused = self._tell

    def connectionMade(self) -> None:
        door = self._door
        door.clients.append(self)
        door.meters.set(CONTROL_CLIENTS, len(door.clients))
        self.transport.pauseProducing()
        try:
            peer = peer_of(self.transport.socket)
        except OSError:
            self.drop()
            return
        same = [client for client in door.clients if client._uid == peer.uid]
        if len(same) >= CLIENTS_EACH:
            text = f"{CLIENTS_EACH} clients of uid {peer.uid} are connected"
            door.refused(unnamed(peer), "", ControlError(ControlReason.TOO_MANY, text))
            self.drop()
            return
        if peer.uid not in (0, os.geteuid()) and len(door.clients) > CLIENTS - OURS:
            text = f"{len(door.clients) - 1} clients are connected, the last {OURS} places are root's"
            door.refused(unnamed(peer), "", ControlError(ControlReason.TOO_MANY, text))
            self.drop()
            return
        self._uid = peer.uid
        self._naming = door.reactor.callLater(LOOK_UP, self._known, unnamed(peer))
        door.start(
            lambda: look_up(peer, door.groups, door.speakers),
            lambda found: self._known(found or unnamed(peer)),
        )

    _uid = -1

    def _tell(self, error: ControlError) -> None:
        command, self._asked = self._asked, ""
        self._door.refused(self._caller, command, error, self._person)

    def _known(self, caller: Caller) -> None:
        """Who it is: now it may speak. The first word on it counts."""
        naming, self._naming = self._naming, None
        if naming is None or self.lost:
            return
        if naming.active():
            naming.cancel()
        self._caller = caller
        super().connectionMade()
        self.transport.resumeProducing()

    def _left(self, link: Link) -> None:
        naming, self._naming = self._naming, None
        if naming is not None and naming.active():
            naming.cancel()
        door = self._door
        if self in door.clients:
            door.clients.remove(self)
        door.meters.set(CONTROL_CLIENTS, len(door.clients))

    def _answer_people(self, command: str, request: Request[Any], stream: Stream) -> Deferred[Any]:
        caller, door = self._caller, self._door
        assert caller is not None
        self._asked, self._person, by = command, "", caller.by
        if door.retired:
            raise ControlError(ControlReason.LINK_LOST, "the gateway has been handed over: ask again")
        if not may(command, caller.roles):
            roles = ", ".join(sorted(caller.roles)) or "no role"
            raise ControlError(
                ControlReason.NO_ROLE, f"{caller.by.name} has {roles}, which may not {command}"
            )
        if any(place.name == "by" for place in fields(request)):  # type: ignore[arg-type]
            by = spoken(caller, command, request.by)  # type: ignore[attr-defined]
            request = replace(request, by=by)  # type: ignore[type-var]
        self._person = by.person
        answered = door.desk.ask_as(by, request, stream if request.deadline is None else None)

        def counted(result: Any) -> Any:
            self._asked, self._person = command, by.person  # another question may have come meanwhile
            if not isinstance(result, Failure):
                self._asked = ""
                door.meters.add(CONTROL_REQUESTS, command, "ok")
            return result

        return answered.addBoth(counted)


ACCEPTS: Final = 8
"""Connections accepted in one turn of the reactor."""

NO_ROOM: Final = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))

AGAIN: Final = 0.2
"""Seconds until somebody is accepted again after there was no descriptor for him."""


@implementer(IReadDescriptor)
class Acceptor:
    """Accepts at a listening socket. Twisted's own port for such sockets takes the file away when it ends, which would
    be the next gateway's."""

    def __init__(self, reactor: Any, listening: socket.socket, door: ControlSocket) -> None:
        self._reactor = reactor
        self._socket = listening.dup()  # the one that was given may be handed on
        self._door = door
        self._socket.setblocking(False)
        self._resting: DelayedCall | None = None
        reactor.addReader(self)

    def fileno(self) -> int:
        return self._socket.fileno()

    def logPrefix(self) -> str:
        return "control"

    def doRead(self) -> None:
        for _ in range(ACCEPTS):
            try:
                accepted, _address = self._socket.accept()
                with accepted:
                    self._reactor.adoptStreamConnection(accepted.fileno(), socket.AF_UNIX, self._door)
            except OSError as error:
                if error.errno in NO_ROOM:
                    self._rest()
                return  # or nobody waits any more

    def _rest(self) -> None:
        """No descriptor is free: who waits, waits on. An error that left here would end accepting for good, and looking
        again at once would take a processor."""
        self._reactor.removeReader(self)
        self._resting = self._reactor.callLater(AGAIN, self._go_on)

    def _go_on(self) -> None:
        self._resting = None
        self._reactor.addReader(self)

    def connectionLost(self, reason: Failure | None = None) -> None:
        """Of IReadDescriptor: the reactor ends, or has found the socket broken."""
        self.stop()

    def stop(self) -> None:
        """Accept nobody any more."""
        resting, self._resting = self._resting, None
        if resting is not None:
            resting.cancel()
        if self._socket.fileno() >= 0:
            self._reactor.removeReader(self)
            self._socket.close()


# -- the file --------------------------------------------------------------------------------------------------------


class SocketInUse(OSError):
    """Another gateway listens there."""


@dataclass(slots=True)
class Opened:
    """A listening socket and its file. `fault`: why groups beside the file's own cannot connect, "" when they can."""

    socket: socket.socket
    path: Path
    mark: tuple[int, int]  # which file it is: inode and time, since a number is used again
    fault: str = ""

    def remove(self) -> None:
        """Take the file away, if it is still ours: a gateway that came after us has put its own there."""
        with suppress(OSError):
            if _mark(self.path) == self.mark:
                self.path.unlink()


def _mark(path: Path) -> tuple[int, int]:
    found = path.lstat()
    return found.st_ino, found.st_mtime_ns


def open_socket(path: Path, gids: Iterable[int] = ()) -> Opened:
    """Listen at `path`, mode MODE; members of the groups may connect as well. What a dead gateway left there is
    replaced. Raises OSError, SocketInUse for a live one."""
    path.parent.mkdir(mode=0o755, exist_ok=True)
    _clear(path)
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        os.fchmod(made.fileno(), MODE)  # before there is a file: unix(7) gives it this mode, less the umask
        made.bind(str(path))
        os.chmod(path, MODE)
        fault = _let_in(path, sorted(set(gids)))
        made.listen(CLIENTS)
        made.setblocking(False)
    except OSError:
        made.close()
        raise
    return Opened(made, path, _mark(path), fault)


def _clear(path: Path) -> None:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise OSError(errno.EEXIST, "there is something else in the place of the control socket", str(path))
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise SocketInUse(errno.EADDRINUSE, f"the control socket is in use: {error}", str(path)) from None
        else:
            raise SocketInUse(errno.EADDRINUSE, "another gateway listens at the control socket", str(path))


_ACL: Final = "system.posix_acl_access"
_USER_OBJ, _GROUP_OBJ, _GROUP, _MASK, _OTHER = 0x01, 0x04, 0x08, 0x10, 0x20
_READ_WRITE: Final = 6
_NO_ID: Final = 0xFFFFFFFF


def _let_in(path: Path, gids: list[int]) -> str:
    """More groups than the file's own, by an access control list (acl(5), struct posix_acl_xattr_entry)."""
    if not gids:
        return ""
    entries = [(_USER_OBJ, _READ_WRITE, _NO_ID), (_GROUP_OBJ, _READ_WRITE, _NO_ID)]
    entries += [(_GROUP, _READ_WRITE, gid) for gid in gids]
    entries += [(_MASK, _READ_WRITE, _NO_ID), (_OTHER, 0, _NO_ID)]
    packed = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)
    try:
        os.setxattr(path, _ACL, packed)
    except OSError as error:
        return (
            f"only {path}'s own group can connect, not those of the roles: no access list ({error.strerror})"
        )
    return ""
