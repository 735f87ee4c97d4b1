"""Who is at the other end of the control socket (L3): the kernel says the account, its groups say the role.

Names and groups are looked up in a thread: they may be an LDAP directory's, which may not answer. Invariant: what the
peer says of itself counts for nothing; who is not known in time has no role, but root and the gateway's own account.
"""

from __future__ import annotations

import grp
import os
import pwd
import socket
import struct
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from bastion.control.asking import By
from bastion.control.roles import Role

_CREDENTIALS: Final = struct.Struct("3i")
_PEER_GROUPS: Final = 59  # SO_PEERGROUPS, Linux 4.13: the peer's groups when it connected
_MOST_BYTES: Final = (
    1024  # what Python reads of a socket option: 256 groups; with more the group file is asked
)

LOOK_UP: Final = 3.0
"""Seconds in which the names of an account and of its groups are to be known."""


@dataclass(frozen=True, slots=True)
class Peer:
    """What the kernel says. `groups` None: it has more than can be told, so they are looked up."""

    pid: int
    uid: int
    gid: int
    groups: frozenset[int] | None


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody at the socket, with a name and roles. `speaks`: it may say for whom it asks (`speaking`)."""

    by: By
    roles: frozenset[Role]
    speaks: bool = False


def peer_of(connected: socket.socket) -> Peer:
    """The kernel's word on who connected. Raises OSError."""
    raw = connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, uid, gid = _CREDENTIALS.unpack(raw)
    try:
        listed = connected.getsockopt(socket.SOL_SOCKET, _PEER_GROUPS, _MOST_BYTES)
    except OSError:
        return Peer(pid, uid, gid, None)
    return Peer(pid, uid, gid, frozenset(struct.unpack(f"{len(listed) // 4}I", listed)) | {gid})


def unnamed(peer: Peer) -> Caller:
    """The caller as far as it is known without asking anybody."""
    own = peer.uid in (0, os.geteuid())
    roles = frozenset((Role.ADMIN,)) if own else frozenset[Role]()
    return Caller(By(peer.uid, f"uid {peer.uid}"), roles, own)


def look_up(peer: Peer, groups: Mapping[Role, str], speakers: str = "") -> Caller:
    """The account's name, and the roles of its groups; `groups` is role -> name of a group, `speakers` the group whose
    members speak for others. May block."""
    known = unnamed(peer)
    try:
        entry = pwd.getpwuid(peer.uid)
        name = entry.pw_name
    except KeyError:
        name = known.by.name
    held = peer.groups
    if held is None:
        held = frozenset(os.getgrouplist(name, peer.gid)) if name != known.by.name else frozenset((peer.gid,))
    roles = known.roles | {role for role, group in groups.items() if _is_in(group, held)}
    return Caller(By(peer.uid, name), roles, known.speaks or _is_in(speakers, held))


def _is_in(group: str, held: frozenset[int]) -> bool:
    gid = gid_of(group) if group else None
    return gid is not None and gid in held


def roles_of(name: str, groups: Mapping[Role, str], speakers: str = "") -> Caller:
    """The account of this machine that has the name, and its roles here; none where there is no such account. May
    block."""
    try:
        entry = pwd.getpwnam(name)
    except (KeyError, ValueError):
        return Caller(By(-1, name), frozenset())
    held = frozenset(os.getgrouplist(name, entry.pw_gid))
    return look_up(Peer(0, entry.pw_uid, entry.pw_gid, held), groups, speakers)


def gid_of(group: str) -> int | None:
    """The number of a group, None when there is none of that name. May block."""
    try:
        return grp.getgrnam(group).gr_gid
    except (KeyError, OSError):
        return None


def in_thread(reactor: Any, work: Callable[[], Caller], then: Callable[[Caller | None], None]) -> None:
    """Run `work` in a thread of its own, and `then` in the reactor's with what came of it; None: it failed.

    A daemon, and one for each connection to the socket, which are bounded: one that hangs holds nothing else up.
    """

    def run() -> None:
        try:
            found: Caller | None = work()
        except Exception:
            found = None
        reactor.callFromThread(then, found)

    try:
        threading.Thread(target=run, name="control-names", daemon=True).start()
    except RuntimeError:  # the system gives no more threads
        then(None)
