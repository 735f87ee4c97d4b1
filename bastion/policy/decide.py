"""What a `Grant` says to each channel open and request (L1, pure).

Three functions of a Grant and one message as it was read (`bastion.wire.requests`), each giving a `Verdict` with the
name of the rule that decided, and `GrantDecider`, which remembers for one session what the engineer asked the target
to open. Invariants: what is not named here is refused; nothing raises; a channel opened by the target was asked for
first.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from bastion.clock import Clock
from bastion.errors import PolicyReason
from bastion.policy.grant import Grant
from bastion.policy.patterns import address_of, is_loopback, matches_any
from bastion.policy.rules import Rule
from bastion.policy.verdict import Verdict
from bastion.sides import Side
from bastion.wire.requests import (
    Body,
    DirectStreamlocal,
    Env,
    Exec,
    ForwardedStreamlocal,
    StreamlocalForward,
    Subsystem,
    TcpipForward,
    TcpipOpen,
)

# Names of decisions that no rule of the operator made; a rule's name has no colon.
DEFAULT_REFUSE = "builtin:default-refuse"
NESTED_SSH = "builtin:nested-ssh"
CREDENTIAL = "builtin:credential"
NEVER_SENT = "builtin:never-sent"
NOT_ASKED = "builtin:not-asked"
GRANT_ENDED = "builtin:grant-ended"

# Remote forwards remembered for one session, about 100 bytes each; people use a handful.
FORWARDS_MAX = 64

_NOTHING: frozenset[Any] = frozenset()

SSH_PORT = 22
SESSION = "session"
_SESSION_VERBS = ("shell", "exec", "sftp", "subsystem")
# ssh -L to the target itself: these and the addresses 127/8, nothing that only resolves to them.
_LOCAL_HOSTS = frozenset(("localhost", "::1"))
# ssh -R binds these on the target, never its other interfaces.
_BIND_HOSTS = frozenset(("localhost", "127.0.0.1", "::1"))
# The dynamic linker, shells and interpreters obey these before any program starts: no rule lets them through.
_NEVER_ENV = (
    "LD_*",
    "DYLD_*",
    "BASH_FUNC_*",
    "BASH_ENV",
    "ENV",
    "IFS",
    "PATH",
    "SHELLOPTS",
    "PYTHON*",
    "PERL5*",
)

# Requests that start something: on a channel that stayed open, as much as a new channel does.
_STARTING = frozenset(("shell", "exec", "subsystem", "x11-req", "auth-agent-req@openssh.com"))

# Of these a session channel has one, and a forced command runs in its place.
_PROGRAMS = frozenset(("shell", "exec", "subsystem"))

INTERNAL_SFTP = "internal-sftp"

_PLAIN_VERBS = {"shell": "shell", "pty-req": "pty", "x11-req": "x11", "auth-agent-req@openssh.com": "agent"}


def decide_open(grant: Grant, side: Side, kind: str, body: Body) -> Verdict:
    """May `side` open a channel of `kind`? For the target's channels: as far as the verbs say."""
    if side is Side.CLIENT:
        if kind == SESSION:
            for verb in _SESSION_VERBS:
                if verb in grant.granted_by:
                    return Verdict(True, PolicyReason.ALLOWED, grant.granted_by[verb])
            return _refused(grant, _SESSION_VERBS[0], "a session")
        if kind == "direct-tcpip" and isinstance(body, TcpipOpen):
            return _decide_forward(grant, body.host, body.port)
        if kind == "direct-streamlocal@openssh.com" and isinstance(body, DirectStreamlocal):
            return _decide_stream(grant, "streamlocal", "a Unix socket")
    elif kind == "forwarded-tcpip" and isinstance(body, TcpipOpen):
        return _decide_stream(grant, "forward-remote", "a remote forward")
    elif kind == "forwarded-streamlocal@openssh.com" and isinstance(body, ForwardedStreamlocal):
        return _decide_stream(grant, "streamlocal", "a Unix socket")
    elif kind == "x11":
        return _decide_verb(grant, "x11", "X11")
    elif kind == "auth-agent@openssh.com":
        return _decide_verb(grant, "agent", "agent forwarding")
    return Verdict(False, PolicyReason.UNKNOWN_CHANNEL_TYPE, DEFAULT_REFUSE, "unknown channel type")


def decide_request(grant: Grant, side: Side, channel_kind: str, name: str, body: Body) -> Verdict:
    """May `side` make the request `name` on a channel of `channel_kind`?"""
    if side is not Side.CLIENT or channel_kind != SESSION:
        return _unknown_request()
    if grant.force_command is not None and name in _PROGRAMS:
        return _decide_forced(grant, grant.force_command, name, body)
    if name in _PLAIN_VERBS:
        return _decide_verb(grant, _PLAIN_VERBS[name], name)
    if name == "exec" and isinstance(body, Exec):
        return _decide_verb(grant, "exec", "exec")
    if name == "subsystem" and isinstance(body, Subsystem):
        return _decide_subsystem(grant, body)
    if name == "env" and isinstance(body, Env):
        return _decide_env(grant, body)
    return _unknown_request()


def decide_global(grant: Grant, side: Side, name: str, body: Body) -> Verdict:
    """May `side` make the global request `name`?"""
    if side is Side.CLIENT:
        if name in ("tcpip-forward", "cancel-tcpip-forward") and isinstance(body, TcpipForward):
            verdict = _decide_verb(grant, "forward-remote", "a remote forward")
            if verdict.allowed and body.host not in _BIND_HOSTS:
                text = "remote forwards are opened on the target's loopback only: write -R localhost:PORT:..."
                return Verdict(False, PolicyReason.DESTINATION_NOT_ALLOWED, verdict.rule, text)
            return verdict
        streamlocal = ("streamlocal-forward@openssh.com", "cancel-streamlocal-forward@openssh.com")
        if name in streamlocal and isinstance(body, StreamlocalForward):
            return _decide_verb(grant, "streamlocal", "a Unix socket")
    return _unknown_request()


def _decide_forced(grant: Grant, command: str, name: str, body: Body) -> Verdict:
    """sshd_config(5) ForceCommand: it runs in the place of a shell, a command and a subsystem alike."""
    # `internal-sftp` is OpenSSH's way to say "sftp and nothing else", and no command of the target's.
    if command == INTERNAL_SFTP or not command:
        if command and isinstance(body, Subsystem) and body.name == "sftp":
            return _decide_verb(grant, "sftp", "sftp")
        return _forced(grant)
    verdict = _decide_verb(grant, "exec", "exec")
    if not verdict.allowed or (isinstance(body, Exec) and body.command == command.encode()):
        return verdict
    # A server that takes certificates obeys this critical option or refuses the certificate (PROTOCOL.certkeys), and
    # it alone can hand on what was typed (SSH_ORIGINAL_COMMAND). A subsystem is left to nobody's good will.
    return replace(verdict, runs=command, sees_asked=grant.by_certificate and name != "subsystem")


def _decide_subsystem(grant: Grant, body: Subsystem) -> Verdict:
    if body.name == "sftp":
        return _decide_verb(grant, "sftp", "sftp")
    for rule in grant.matched:
        if "subsystem" in rule.verbs and matches_any(rule.subsystems, body.name):
            return Verdict(True, PolicyReason.ALLOWED, rule.name)
    return _refused(grant, "subsystem", "this subsystem")


def _decide_env(grant: Grant, body: Env) -> Verdict:
    if matches_any(_NEVER_ENV, body.name):
        return Verdict(False, PolicyReason.ENV_NOT_ALLOWED, NEVER_SENT, "this variable is never sent")
    for rule in grant.matched:
        if "env" in rule.verbs and matches_any(rule.env, body.name):
            return Verdict(True, PolicyReason.ALLOWED, rule.name)
    return Verdict(False, PolicyReason.ENV_NOT_ALLOWED, DEFAULT_REFUSE, "this variable may not be sent")


def _decide_forward(grant: Grant, host: str, port: int) -> Verdict:
    """`direct-tcpip` inside a session: the target dials, so the destination is judged as text."""
    local = is_loopback(host)
    own_ssh = local and port in (SSH_PORT, grant.target.port)
    if own_ssh or grant.inventory.is_ssh_place(host, port):
        text = "that is the SSH server of a target: reach it through the gateway"
        return Verdict(False, PolicyReason.NESTED_SSH, NESTED_SSH, text)
    if local:
        verdict = _decide_verb(grant, "forward-local", "forwarding to the target's own ports")
        # Only literal spellings: 0.0.0.0, 127.1 or a name that merely resolves to loopback is no known place.
        if verdict.allowed and not _is_literal_loopback(host):
            text = "write localhost, 127.0.0.1 or ::1 for the target's own ports"
            return Verdict(False, PolicyReason.DESTINATION_NOT_ALLOWED, verdict.rule, text)
        verdict = _with_ssh(grant, verdict, lambda rule: "forward-local" in rule.verbs)
    else:
        verdict = _decide_destination(grant, host, port)
    if verdict.allow_ssh and address_of(host) is not None and not grant.inventory.resolved.complete:
        text = "the gateway is still looking up its targets, try again in a moment"
        return Verdict(False, PolicyReason.TARGETS_UNRESOLVED, NESTED_SSH, text)
    if verdict.allowed and not grant.restrictions.allows_open(host, port):
        text = "your key or certificate does not permit this forward"
        return Verdict(False, PolicyReason.CERT_RESTRICTION, CREDENTIAL, text)
    return verdict


def _is_literal_loopback(host: str) -> bool:
    """`localhost`, `::1` or a dotted quad in 127/8 as RFC 6943 section 3.1.1 has it: four decimal parts."""
    if host.lower() in _LOCAL_HOSTS:
        return True
    try:
        return ipaddress.IPv4Address(host).is_loopback
    except ValueError:
        return False


def _decide_destination(grant: Grant, host: str, port: int) -> Verdict:
    if "forward" not in grant.granted_by:
        return _refused(grant, "forward", "forwarding to other hosts")

    def covers(rule: Rule) -> bool:
        return "forward" in rule.verbs and any(place.match(host, port) for place in rule.forward)

    for rule in grant.matched:
        if covers(rule):
            return _with_ssh(grant, Verdict(True, PolicyReason.ALLOWED, rule.name), covers)
    text = f"forwarding from {grant.target.name} to that place is not allowed"
    return Verdict(False, PolicyReason.DESTINATION_NOT_ALLOWED, DEFAULT_REFUSE, text)


def _decide_verb(grant: Grant, verb: str, what: str) -> Verdict:
    rule = grant.granted_by.get(verb)
    return _refused(grant, verb, what) if rule is None else Verdict(True, PolicyReason.ALLOWED, rule)


def _decide_stream(grant: Grant, verb: str, what: str) -> Verdict:
    """The same for a channel of bytes in which SSH could be hidden."""
    return _with_ssh(grant, _decide_verb(grant, verb, what), lambda rule: verb in rule.verbs)


def _with_ssh(grant: Grant, verdict: Verdict, gives: Callable[[Rule], bool]) -> Verdict:
    """A yes that lets SSH through when one of the rules that give the channel does."""
    if verdict.allowed and any(rule.allow_ssh and gives(rule) for rule in grant.matched):
        return replace(verdict, allow_ssh=True)
    return verdict


def _refused(grant: Grant, verb: str, what: str) -> Verdict:
    if verb in grant.withheld:
        text = f"your key or certificate does not permit {what}"
        return Verdict(False, PolicyReason.CERT_RESTRICTION, CREDENTIAL, text)
    allowed = ", ".join(grant.granted_by) or "nothing"
    text = f"{what} is not allowed on {grant.target.name} as {grant.login}; allowed: {allowed}"
    return Verdict(False, PolicyReason.VERB_NOT_ALLOWED, DEFAULT_REFUSE, text)


def _forced(grant: Grant) -> Verdict:
    command = grant.force_command or ""
    shown = f": {command}" if command.isascii() and command.isprintable() and len(command) <= 200 else ""
    text = f"your key or certificate allows one command only{shown}"
    return Verdict(False, PolicyReason.CERT_RESTRICTION, CREDENTIAL, text)


def _unknown_request() -> Verdict:
    return Verdict(False, PolicyReason.UNKNOWN_REQUEST, DEFAULT_REFUSE, "unknown request")


class GrantDecider:
    """Answers the relay of one session (its `Decider`). Remembers what the engineer asked the target for.

    `clock` is what the end of the grant is compared with; without one the grant is taken to be alive, and
    whoever owns the session ends it. All state is bounded by `FORWARDS_MAX`.
    """

    __slots__ = ("_asked", "_clock", "_forwards", "_sockets", "grant", "sftp")

    def __init__(self, grant: Grant, clock: Clock | None = None) -> None:
        self.grant = grant
        self.sftp = grant.sftp
        self._clock = clock
        # Values that are replaced, not sets that grow: most sessions ask for nothing and share the empty one.
        self._forwards: frozenset[tuple[str, int]] = _NOTHING
        self._sockets: frozenset[str] = _NOTHING
        self._asked: frozenset[str] = _NOTHING

    def open(self, side: Side, kind: str, body: Body) -> Verdict:
        """May `side` open this channel now?"""
        ended = self._ended()
        if ended is not None:
            return ended
        verdict = decide_open(self.grant, side, kind, body)
        if verdict.allowed and side is Side.TARGET and not self._was_asked(kind, body):
            return Verdict(False, PolicyReason.VERB_NOT_ALLOWED, NOT_ASKED, "nobody asked for it")
        return verdict

    def request(self, side: Side, channel_kind: str, name: str, body: Body) -> Verdict:
        """May `side` make this request on a channel of this kind?"""
        ended = self._ended() if name in _STARTING else None
        if ended is not None:
            return ended
        verdict = decide_request(self.grant, side, channel_kind, name, body)
        if verdict.allowed and name in ("x11-req", "auth-agent-req@openssh.com"):
            self._asked |= {name}
        return verdict

    def global_request(self, side: Side, name: str, body: Body) -> Verdict:
        """May `side` make this request about the connection?"""
        ended = None if name.startswith("cancel-") else self._ended()
        if ended is not None:
            return ended
        verdict = decide_global(self.grant, side, name, body)
        if not verdict.allowed:
            return verdict
        if isinstance(body, TcpipForward):
            place = (body.host, body.port)
            if name.startswith("cancel-"):
                self._forwards -= {place}
            elif self._is_full():
                return _too_many()
            else:
                self._forwards |= {place}
        elif isinstance(body, StreamlocalForward):
            if name.startswith("cancel-"):
                self._sockets -= {body.path}
            elif self._is_full():
                return _too_many()
            else:
                self._sockets |= {body.path}
        return verdict

    def _is_full(self) -> bool:
        return len(self._forwards) + len(self._sockets) >= FORWARDS_MAX

    def _was_asked(self, kind: str, body: Body) -> bool:
        if kind == "x11":
            return "x11-req" in self._asked
        if kind == "auth-agent@openssh.com":
            return "auth-agent-req@openssh.com" in self._asked
        if isinstance(body, TcpipOpen):
            # RFC 4254 section 7.1: with port 0 the target chose the port, so any port was asked for.
            return (body.host, body.port) in self._forwards or (body.host, 0) in self._forwards
        return isinstance(body, ForwardedStreamlocal) and body.path in self._sockets

    def _ended(self) -> Verdict | None:
        if self._clock is None:
            return None
        now = self._clock.time()
        ends = [end for end in (self.grant.ends_at, self.grant.opens_until) if end is not None]
        if ends and now >= min(ends):
            text = "this login is too old to open anything new: log in again"
            return Verdict(False, PolicyReason.GRANT_ENDED, GRANT_ENDED, text)
        return None


def _too_many() -> Verdict:
    text = f"more than {FORWARDS_MAX} forwards at once"
    return Verdict(False, PolicyReason.CHANNEL_LIMIT, DEFAULT_REFUSE, text)
