"""Events of connections and logins (L0, pure)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

from bastion.errors import AuthReason, HandshakeResult, HeaderResult, LimitReason, PolicyReason
from bastion.observe.events.base import AuditEvent, Facts, Line, because, of, place


@dataclass(frozen=True, slots=True)
class ConnectionRefused(AuditEvent):
    """turned away before a byte was spent on it"""

    event: ClassVar[str] = "connection_refused"

    source: str
    reason: LimitReason

    @staticmethod
    def sentence(line: Line) -> str:
        return f"a connection{of(line, 'source', ' from ')} was turned away{because(line)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class HeaderRefused(AuditEvent):
    """where load balancers must say for whom they connect (`listen.proxy_protocol`), somebody came who is none, or who
    did not say it right"""

    event: ClassVar[str] = "proxy_header"

    source: Annotated[str, "who connected, not who was spoken for"]
    reason: Annotated[HeaderResult, "any but `ok`, `local`, `silent`"]
    text: str

    @staticmethod
    def sentence(line: Line) -> str:
        return (
            f"a connection{of(line, 'source', ' from ')} was turned away for its PROXY header{because(line)}"
        )


Offers = Mapping[str, str | list[str]]
"""Of one list of algorithms its name (`list`) and what `client` and `gateway` offer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HandshakeFailed(AuditEvent):
    """a client that spoke SSH did not get through its first key exchange, at the front door or (with `session`, `user`,
    `target`) inside a jump"""

    event: ClassVar[str] = "handshake_failed"
    about: ClassVar[tuple[str, ...]] = ("connection", "user", "source")

    target: str
    reason: Annotated[HandshakeResult, "`no_common`, `failed`"]
    software: Annotated[str, "the client's version line"]
    by: Annotated[str, "who ended it"]
    text: str
    nothing_common: Annotated[
        tuple[Offers, ...] | None,
        "for each list without a common name `list`, `client`, `gateway`: what each side offers, 32 names at most",
    ] = None

    @staticmethod
    def sentence(line: Line) -> str:
        where = f" for {line['target']}" if line.get("target") else ""
        told = f"{of(line, 'software', after=' ')}from {line.get('source', '?')} did not finish the key exchange{where}"
        lists = line.get("nothing_common")
        for found in lists if isinstance(lists, list) else []:
            if isinstance(found, dict):
                offers = [found.get(side) for side in ("client", "gateway")]
                client, gateway = (
                    ", ".join(map(str, names)) if isinstance(names, list) else "?" for names in offers
                )
                told += f"; no common {found.get('list', '?')}: it offers {client}; the gateway {gateway}"
        return f"{told}{because(line)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakGlassUsed(AuditEvent):
    """somebody tried to log in by a break-glass account: whoever is on duty should know at once"""

    event: ClassVar[str] = "break_glass"

    connection: str
    user: str
    source: str
    result: Annotated[str, "`ok`; `refused`; `closed`: the proof was right, and the accounts are closed"]
    reason: Annotated[str, "why it was refused"] = ""
    opened_by: Annotated[
        str, "`directory_down`, `command`; absent: they are closed, or nobody proved anything"
    ] = ""
    why: Annotated[str, "the reason that was typed"] = ""

    @staticmethod
    def sentence(line: Line) -> str:
        who = f"the break-glass account {line.get('user', '?')}"
        if line.get("result") == "ok":
            return f"{who} logged in{of(line, 'source', ' from ')}{of(line, 'why', ': ')}"
        state = ", while they are closed" if line.get("result") == "closed" else ""
        return f"{who} was refused{of(line, 'source', ' from ')}{state}{because(line)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Auth(AuditEvent):
    """one authentication attempt ended"""

    event: ClassVar[str] = "auth"

    connection: str
    user: Annotated[str, "as typed; what cannot be a user name is cut at 64 characters"]
    method: str
    result: Annotated[str, "`ok`, `partial` (proved, and another factor is needed), `refused`"]
    reason: AuthReason
    source: str
    key: str = ""
    certificate_id: str = ""
    certificate_serial: int | None = None
    ca: str = ""
    unverified: Annotated[
        int | None,
        "1: what the certificate says was enough to refuse it, and its CA's signature was not looked at",
    ] = None
    user_verified: Annotated[
        int | None, "of a security key: 1 when it has verified its owner, by a PIN or a finger"
    ] = None
    counter: Annotated[int | None, "of a security key: of its signatures, 0 when it does not count"] = None
    recovery: Annotated[int | None, "1: a recovery code was used up in the place of a one-time code"] = None
    carried: Annotated[
        tuple[str, ...] | None, "of a certificate that was issued here: the factors of the login that got it"
    ] = None
    carried_at: Annotated[int | None, "when those were proved, in seconds since 1970"] = None
    offline: Annotated[
        int | None, "1: no directory answered, and the certificate was judged by what was known last"
    ] = None

    @staticmethod
    def sentence(line: Line) -> str:
        who, method = line.get("user", "?"), line.get("method", "?")
        evidence = (
            of(line, "key", ", key ")
            + of(line, "certificate_id", ", key id ")
            + of(line, "certificate_serial", ", serial ")
            + (" (as the certificate says; not verified)" if line.get("unverified") else "")
        )
        source = of(line, "source", " from ")
        if line.get("result") == "ok" and method == "none":
            return f"{who}{source} was let in on the word of the connection outside"
        if line.get("result") == "ok":
            return f"{who}{source} logged in by {method}{evidence}"
        if line.get("result") == "partial":
            return f"{who}{source} proved {method}{evidence}, and another factor was needed"
        return f"{who}{source} was not let in by {method}{evidence}{because(line)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SecurityKeyCounter(AuditEvent):
    """a security key logged in whose counter did not rise: there may be a copy of it"""

    event: ClassVar[str] = "security_key_counter"

    connection: str
    user: str
    source: str
    key: str
    counter: int
    last: Annotated[int, "the highest that this process has seen of it before"]

    @staticmethod
    def sentence(line: Line) -> str:
        said = f"{line.get('counter', '?')} after {line.get('last', '?')}"
        return f"the security key {line.get('key', '?')} of {line.get('user', '?')} counted {said}: is there a copy?"


@dataclass(frozen=True, slots=True, kw_only=True)
class OldKey(AuditEvent):
    """a key logged in that has done so for longer than `login.key_age`; once a day for each"""

    event: ClassVar[str] = "old_key"

    connection: str
    user: str
    uid: str
    source: str
    key: str
    first_seen: Annotated[float, "when this store has first seen it log in, seconds since the epoch"]
    days: Annotated[int, "since then"]

    @staticmethod
    def sentence(line: Line) -> str:
        key, days = line.get("key", "?"), line.get("days", "?")
        return (
            f"the key {key} of {line.get('user', '?')} has logged in for {days} days: it should be replaced"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Authorise(AuditEvent):
    """policy has decided about a destination"""

    event: ClassVar[str] = "authorise"

    result: Annotated[str, "`ok`, `refused`"]
    reason: PolicyReason
    user: str
    target: str
    login: str
    rules: str

    @staticmethod
    def sentence(line: Line) -> str:
        who, target = line.get("user", "?"), line.get("target") or "(no target)"
        login = of(line, "login", " as ")
        if line.get("result") == "ok":
            return f"policy let {who} go to {target}{login}{of(line, 'rules', ' by ')}"
        return f"policy did not let {who} go to {target}{login}{because(line)}"


@dataclass(frozen=True, slots=True)
class OuterStarted(AuditEvent):
    """a login without a target: `ssh -J`, the lobby or forwarding may follow"""

    event: ClassVar[str] = "outer_started"
    about: ClassVar[tuple[str, ...]] = ("connection", "user", "source")

    uid: str

    @staticmethod
    def sentence(line: Line) -> str:
        return f"{line.get('user', '?')}{of(line, 'source', ' from ')} was connected, to no target yet"


@dataclass(frozen=True, slots=True)
class OuterEnded(AuditEvent):
    """that connection is over"""

    event: ClassVar[str] = "outer_ended"
    about: ClassVar[tuple[str, ...]] = ("connection", "user", "source")

    text: str
    channels: Annotated[int, "opened on it"]

    @staticmethod
    def sentence(line: Line) -> str:
        return f"the connection ended{because(line)}; channels: {line.get('channels', 0)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Jump(AuditEvent):
    """a channel of it asked for the SSH port of a target; a session may follow, with this id"""

    event: ClassVar[str] = "jump"
    about: ClassVar[tuple[str, ...]] = ("connection", "user", "source")

    target: str
    stdio: Annotated[
        int,
        "1: opened as `ssh -J` opens its own standard input; whether that was enough says `auth`, with the method "
        "`none`",
    ]
    facts: Annotated[Facts, "as the client wrote them"]

    @staticmethod
    def sentence(line: Line) -> str:
        own = (
            "opened as ssh -J opens it: if the client shares its connection with nobody, no proof is needed"
            if line.get("stdio", line.get("own_stdio"))
            else "perhaps a listening socket's: proof is needed"
        )
        where = f"{place(line)}, which is {line.get('target', '?')}"
        return f"{line.get('user', '?')} asked for a channel{where}; it is {own}"


@dataclass(frozen=True, slots=True)
class Lobby(AuditEvent):
    """a command of the gateway's own was answered"""

    event: ClassVar[str] = "lobby"
    about: ClassVar[tuple[str, ...]] = ("connection", "user", "source")

    command: Annotated[str, "absent when it is none of them"]
    status: Annotated[int, "the exit status"]

    @staticmethod
    def sentence(line: Line) -> str:
        command = line.get("command") or "a command that is none of them"
        return f"the gateway answered {command} itself, with status {line.get('status', '?')}"


@dataclass(frozen=True, slots=True)
class TotpSetUp(AuditEvent):
    """somebody made a second factor of his own in the lobby"""

    event: ClassVar[str] = "totp_set_up"
    about: ClassVar[tuple[str, ...]] = ("connection", "user", "source")

    uid: Annotated[str, "the immutable id that it hangs on"]
    replaced: Annotated[bool, "it took the place of another one"]

    @staticmethod
    def sentence(line: Line) -> str:
        place = " in the place of another one" if line.get("replaced") else ""
        return f"{line.get('user', '?')} made a second factor{place}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateIssued(AuditEvent):
    """a certificate was issued to somebody who had logged in"""

    event: ClassVar[str] = "certificate_issued"
    about: ClassVar[tuple[str, ...]] = ("connection", "user", "source")

    uid: str
    key: Annotated[str, "the fingerprint of the key that it is for"]
    certificate_id: str
    certificate_serial: int
    ca: str
    factors: Annotated[tuple[str, ...], "that it carries"]
    proved_at: Annotated[int, "when they were given, in seconds since 1970"]
    until: Annotated[int, "its end, in seconds since 1970"]

    @staticmethod
    def sentence(line: Line) -> str:
        what = (
            f"a certificate for the key {line.get('key', '?')}, serial {line.get('certificate_serial', '?')}"
        )
        return f"{line.get('user', '?')} was issued {what}"
