"""What may cross from leg to leg: tables, in place of conditions spread over the code.

Default refuse: a channel kind or request that stands in none of these tables is refused and audited,
because nobody could judge or record it. Messages below 80 and 192/193 are bound to
their leg and never cross.
"""

from __future__ import annotations

from collections.abc import Mapping

from bastion.sides import Side

HOSTKEYS_PROVE = "hostkeys-prove-00@openssh.com"

LEG_BOUND_REQUESTS = frozenset({"hostkeys-00@openssh.com", HOSTKEYS_PROVE})
"""Global requests about the host keys of one leg (OpenSSH PROTOCOL section 2.5): passed on, the client
would learn the target's keys for the gateway's name. Dropped without an event, since every OpenSSH target
sends one."""

OPENABLE: Mapping[Side, frozenset[str]] = {
    Side.CLIENT: frozenset({"session", "direct-tcpip", "direct-streamlocal@openssh.com"}),
    Side.TARGET: frozenset(
        {"forwarded-tcpip", "forwarded-streamlocal@openssh.com", "x11", "auth-agent@openssh.com"}
    ),
}
"""Channel kinds by the side that may open them; policy judges each (RFC 4254 section 6.1: no session from a
server).
"""

STREAMS = frozenset(
    {
        "direct-tcpip",
        "forwarded-tcpip",
        "direct-streamlocal@openssh.com",
        "forwarded-streamlocal@openssh.com",
    }
)
"""Channels of other programs' bytes, in which SSH could be hidden."""

JUDGED_REQUESTS = frozenset(
    {"pty-req", "x11-req", "env", "shell", "exec", "subsystem", "auth-agent-req@openssh.com"}
)
"""Requests of the client on a session channel that policy judges."""

PROGRAM_REQUESTS = frozenset({"shell", "exec", "subsystem"})
"""Only one of these can succeed per channel (RFC 4254 section 6.5)."""

JUDGED_GLOBAL_REQUESTS = frozenset(
    {
        "tcpip-forward",
        "cancel-tcpip-forward",
        "streamlocal-forward@openssh.com",
        "cancel-streamlocal-forward@openssh.com",
    }
)
"""Global requests of the client that policy judges."""

NO_MORE_SESSIONS = "no-more-sessions@openssh.com"
KEEPALIVE = "keepalive@openssh.com"

PASSED_SESSION_REQUESTS: Mapping[Side, frozenset[str]] = {
    Side.CLIENT: frozenset({"window-change", "signal", "break"}),
    Side.TARGET: frozenset({"exit-status", "exit-signal", "xon-xoff"}),
}
"""Requests on session channels that go through unasked: what a program that policy allowed needs."""

PASSED_REQUESTS = frozenset({"eow@openssh.com", KEEPALIVE, "winadj@putty.projects.tartarus.org"})
"""Requests on any channel, from either side, that go through unasked."""

PASSED_GLOBAL_REQUESTS: Mapping[Side, frozenset[str]] = {
    Side.CLIENT: frozenset({KEEPALIVE, NO_MORE_SESSIONS}),
    Side.TARGET: frozenset({KEEPALIVE}),
}
"""Global requests that go through unasked."""

QUIET_REQUESTS = frozenset({KEEPALIVE, "winadj@putty.projects.tartarus.org"})
"""Requests without an event when they go through: they say nothing and come by the thousand."""
