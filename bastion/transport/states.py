"""Which message a peer may send when, as one table; everything that is not in it disconnects.

Rules (the source of each stands at its rows):
- Before the first NEWKEYS of both directions nothing but the key exchange itself is read: no IGNORE, no
  DEBUG, no EXT_INFO, no service, no userauth (strict kex, OpenSSH PROTOCOL 1.10; docs/security.md, C2, C3). We ask
  this of every peer, also of those that do not know strict kex.
- Messages that only the other role sends are in no row of this role (C22, CVE-2018-10933).
- Connection messages exist only after authentication (CVE-2025-32433).
- After a peer's KEXINIT and until its NEWKEYS it may send 1-4 and the exchange only (RFC 4253 section 7.1).
- Unassigned numbers are answered with UNIMPLEMENTED (RFC 4253 section 11.4) once the peer is authenticated;
  before that they disconnect like everything else.

The state is about the *incoming* direction: what the peer has sent so far, not what we have sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum, StrEnum
from types import MappingProxyType

from bastion.wire.numbers import (
    MSG_CHANNEL_CLOSE,
    MSG_CHANNEL_FAILURE,
    MSG_CHANNEL_OPEN,
    MSG_DEBUG,
    MSG_DISCONNECT,
    MSG_EXT_INFO,
    MSG_GLOBAL_REQUEST,
    MSG_IGNORE,
    MSG_KEX_FIRST,
    MSG_KEX_LAST,
    MSG_KEXINIT,
    MSG_NEWKEYS,
    MSG_PING,
    MSG_PONG,
    MSG_REQUEST_FAILURE,
    MSG_SERVICE_ACCEPT,
    MSG_SERVICE_REQUEST,
    MSG_UNIMPLEMENTED,
    MSG_USERAUTH_BANNER,
    MSG_USERAUTH_FAILURE,
    MSG_USERAUTH_INFO_REQUEST,
    MSG_USERAUTH_INFO_RESPONSE,
    MSG_USERAUTH_REQUEST,
    MSG_USERAUTH_SUCCESS,
)


class Role(StrEnum):
    """Which side of the connection we are."""

    SERVER = "server"
    CLIENT = "client"


class State(StrEnum):
    """What has come from the peer."""

    VERSION = "version"  # its identification line has not come
    FIRST_KEXINIT = "first_kexinit"  # its line has come, its first KEXINIT is next
    FIRST_METHOD = "first_method"  # within the method of the first exchange (30-49)
    FIRST_NEWKEYS = "first_newkeys"  # the method is done, NEWKEYS is next
    SECURED = "secured"  # encrypted, and nothing has come since the first NEWKEYS
    UNAUTHENTICATED = "unauthenticated"  # encrypted, service and userauth
    LATE_EXT_INFO = "late_ext_info"  # a server's second EXT_INFO: USERAUTH_SUCCESS must be next
    AUTHENTICATED = "authenticated"
    REKEY_METHOD = "rekey_method"  # the peer's KEXINIT of a later exchange has come
    REKEY_NEWKEYS = "rekey_newkeys"
    CLOSED = "closed"  # final


class Route(IntEnum):
    """Where a message goes."""

    REFUSE = 0  # DISCONNECT
    CONTROL = 1  # the transport itself: 1-4, 7, 20, 21, 192
    EXCHANGE = 2  # the key exchange method: 30-49
    SERVICE = 3  # the transport's `service`: 5, 6, 50-79
    RECEIVER = 4  # its `receiver`: the connection protocol
    UNIMPLEMENTED = 5  # answered with UNIMPLEMENTED
    DROP = 6  # read and forgotten


_EXCHANGE = dict.fromkeys(range(MSG_KEX_FIRST, MSG_KEX_LAST + 1), Route.EXCHANGE)
_NOISE = dict.fromkeys((MSG_DISCONNECT, MSG_IGNORE, MSG_UNIMPLEMENTED, MSG_DEBUG), Route.CONTROL)
_LEAVE = {MSG_DISCONNECT: Route.CONTROL}
_CONNECTION = dict.fromkeys(
    (
        *range(MSG_GLOBAL_REQUEST, MSG_REQUEST_FAILURE + 1),
        *range(MSG_CHANNEL_OPEN, MSG_CHANNEL_CLOSE + 1),
        *range(MSG_CHANNEL_CLOSE + 1, MSG_CHANNEL_FAILURE + 1),
    ),
    Route.RECEIVER,
)
# RFC 4250 section 4.1.2: what nobody has assigned within the generic, kexinit, userauth and connection
# ranges, and the reserved and private ranges. 60-79 belong to an authentication method and count as assigned.
_UNASSIGNED = dict.fromkeys(
    (0, *range(9, 20), *range(22, 30), *range(54, 60), *range(83, 90), *range(101, 192), *range(194, 256)),
    Route.UNIMPLEMENTED,
)

_SERVER_LOGIN = {
    MSG_SERVICE_REQUEST: Route.SERVICE,
    MSG_USERAUTH_REQUEST: Route.SERVICE,
    MSG_USERAUTH_INFO_RESPONSE: Route.SERVICE,  # RFC 4256 section 3.4
}
_CLIENT_LOGIN = {
    MSG_SERVICE_ACCEPT: Route.SERVICE,
    MSG_USERAUTH_FAILURE: Route.SERVICE,
    MSG_USERAUTH_SUCCESS: Route.SERVICE,
    MSG_USERAUTH_BANNER: Route.SERVICE,
    MSG_USERAUTH_INFO_REQUEST: Route.SERVICE,  # also PK_OK and PASSWD_CHANGEREQ
}
_KEXINIT = {MSG_KEXINIT: Route.CONTROL}
_NEWKEYS = {MSG_NEWKEYS: Route.CONTROL}
_PING = {MSG_PING: Route.CONTROL}
_EXT_INFO = {MSG_EXT_INFO: Route.CONTROL}

_BOTH: dict[State, dict[int, Route]] = {
    State.VERSION: {},
    State.FIRST_KEXINIT: _LEAVE | _KEXINIT,
    State.FIRST_METHOD: _LEAVE | _EXCHANGE,
    State.FIRST_NEWKEYS: _LEAVE | _NEWKEYS,
    State.AUTHENTICATED: _NOISE | _KEXINIT | _PING | _CONNECTION | _UNASSIGNED,
    State.REKEY_METHOD: _NOISE | _EXCHANGE,
    State.REKEY_NEWKEYS: _NOISE | _NEWKEYS,
    State.CLOSED: {},
}

TABLE: Mapping[Role, Mapping[State, Mapping[int, Route]]] = MappingProxyType(
    {
        Role.SERVER: _BOTH
        | {
            # RFC 8308 section 2.4: the client's EXT_INFO is the next packet after its first NEWKEYS.
            State.SECURED: _NOISE | _KEXINIT | _PING | _SERVER_LOGIN | _EXT_INFO,
            State.UNAUTHENTICATED: _NOISE | _KEXINIT | _PING | _SERVER_LOGIN,
            State.LATE_EXT_INFO: {},
            # RFC 4252 section 5.1: requests after success are ignored silently.
            State.AUTHENTICATED: _BOTH[State.AUTHENTICATED] | {MSG_USERAUTH_REQUEST: Route.DROP},
        },
        Role.CLIENT: _BOTH
        | {
            # RFC 8308 section 2.4: a server's is next after its first NEWKEYS, or right before success.
            State.SECURED: _NOISE | _KEXINIT | _PING | _CLIENT_LOGIN | _EXT_INFO,
            State.UNAUTHENTICATED: _NOISE | _KEXINIT | _PING | _CLIENT_LOGIN | _EXT_INFO,
            State.LATE_EXT_INFO: _LEAVE | {MSG_USERAUTH_SUCCESS: Route.SERVICE},
        },
    }
)
"""Role -> state -> message number -> route. A number that is missing is `Route.REFUSE`."""

# PONG answers a PING, and we send none.
assert all(MSG_PONG not in row for rows in TABLE.values() for row in rows.values())


def _compile(row: Mapping[int, Route]) -> bytes:
    return bytes(row.get(number, Route.REFUSE) for number in range(256))


ROUTES: Mapping[Role, Mapping[State, bytes]] = MappingProxyType(
    {role: {state: _compile(row) for state, row in rows.items()} for role, rows in TABLE.items()}
)
"""The same table as 256 bytes for each state: `ROUTES[role][state][number]` is the route."""
