"""The lobby: what `ssh alice@bastion` shows, and the few commands that are answered here.

It starts no process and reads no file: an answer is text made from the policy in force (`COMMANDS`), or what a
command that waits for something has to say (`WAITING`). The gateway has no shell, exec, sftp, environment or listener
of its own for anybody; a command that is neither is answered with the list of those that are.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from bastion.auth.identity import Identity
from bastion.ca.issuing import IssuingCA
from bastion.doors import lobby_totp
from bastion.doors.approvals import COMMANDS as APPROVALS
from bastion.doors.asked import Answer, Call
from bastion.doors.asked import Command as Waiting
from bastion.doors.certificate import cert
from bastion.doors.door import Asked, Outer
from bastion.doors.lobby_factor import USAGE, FactorTalk, read_words
from bastion.doors.lobby_talk import Talk
from bastion.doors.lobby_totp import TotpTalk
from bastion.doors.one_line import LINE_MAX, OneLine
from bastion.endpoint.channel import OuterChannel
from bastion.errors import PolicyReason, Refused
from bastion.observe.events.logins import Lobby as LobbyLine
from bastion.observe.events.refusals import RequestRefused
from bastion.observe.meters import REQUESTS
from bastion.policy.grant import Reachable, reachable
from bastion.policy.own import tell
from bastion.session.ending import End
from bastion.setup_texts import certificate as certificate_texts
from bastion.setup_texts import client as client_config
from bastion.setup_texts.facts import Certificates
from bastion.userauth.keyboard_interactive import Answers
from bastion.wire.data import uint32
from bastion.wire.printable import printable
from bastion.wire.requests import CHANNEL_REQUESTS, Exec, PtyRequest, parse_body
from bastion.wire.userauth import Prompt

# Words of a command that are looked at, and characters of one: `targets --json` is the longest there is of those that
# are given no key.
MAX_WORDS = 8
MAX_COMMAND = 256
# Columns when the client has no terminal, and the narrowest that is laid out for.
PLAIN_COLUMNS = 100
NARROW = 60

_WHY_USAGE = "usage: why TARGET [LOGIN], or why HOST:PORT for a tunnel\n"
_SETUP_USAGE = f"usage: setup [{'|'.join(client_config.FORMS)}]\n"


@dataclass(frozen=True, slots=True)
class LobbyFacts:
    """What the answers are made of. `gateway` is what engineers type: a host name, and the port when not 22."""

    identity: Identity
    targets: tuple[Reachable, ...]
    gateway: str
    port: int
    columns: int = PLAIN_COLUMNS
    why: Callable[[str, str | None], tuple[bool, str]] | None = (
        None  # a target and a login -> yes or no, and lines
    )
    setup: Callable[[str], str] | None = (
        None  # the form -> lines for a client; raises KeyError for a form unknown
    )


def answer(command: str | None, facts: LobbyFacts) -> Answer:
    """The answer to `ssh alice@bastion [command]`; None is the shell that an engineer without a command gets."""
    if command is None:
        return Answer(_welcome(facts))
    words = command.split()[: MAX_WORDS + 1] if len(command) <= MAX_COMMAND else []
    call = COMMANDS.get(words[0]) if words else None
    if call is None or len(words) > MAX_WORDS:
        shown = printable(words[0], 40) if words else ""
        return Answer(f'"{shown}" is no command of this gateway.\n\n{_help()}', 127)
    return call[0](facts, words[1:])


def _welcome(facts: LobbyFacts) -> str:
    name = facts.identity.name
    if not facts.targets:
        return f"Hello {name}. No rule lets you reach any target yet: ask whoever keeps this gateway.\n"
    lines = [f"Hello {name}. You may reach:", ""]
    wide = max(len(found.target.name) for found in facts.targets)
    for found in facts.targets:
        login = found.logins[0]
        lines.append(f"  {found.target.name:{wide}}  as {', '.join(found.logins)}")
        lines.append(f"  {'':{wide}}  {jump_command(facts, login, found.target.name)}")
    example = facts.targets[0]
    lines += [
        "",
        "A client without -J reaches them too:",
        f"  {direct_command(facts, example.logins[0], example.target.name)}",
        "",
        f"Every session is recorded. More: {_gateway_command(facts)} help",
    ]
    return "\n".join(lines) + "\n"


def jump_command(facts: LobbyFacts, login: str, target: str) -> str:
    """The command of the jump door, ready to paste."""
    port = f":{facts.port}" if facts.port != 22 else ""
    return f"ssh -J {facts.identity.name}@{facts.gateway}{port} {login}@{target}"


def direct_command(facts: LobbyFacts, login: str, target: str) -> str:
    """The command of the direct door, ready to paste."""
    port = f"-p {facts.port} " if facts.port != 22 else ""
    return f"ssh {port}{facts.identity.name}+{login}+{target}@{facts.gateway}"


def _gateway_command(facts: LobbyFacts) -> str:
    port = f"-p {facts.port} " if facts.port != 22 else ""
    return f"ssh {port}{facts.identity.name}@{facts.gateway}"


def _targets(facts: LobbyFacts, words: list[str]) -> Answer:
    if words not in ([], ["--json"]):
        return Answer("usage: targets [--json]\n", 2)
    if words:
        document = [
            {
                "name": found.target.name,
                "aliases": list(found.target.aliases),
                "labels": dict(found.target.labels),
                "logins": list(found.logins),
                "verbs": sorted(found.verbs),
                "jump": jump_command(facts, found.logins[0], found.target.name),
                "direct": direct_command(facts, found.logins[0], found.target.name),
            }
            for found in facts.targets
        ]
        return Answer(json.dumps(document, ensure_ascii=True) + "\n")
    return Answer(_table(facts))


def _table(facts: LobbyFacts) -> str:
    rows = [("TARGET", "LOGINS", "LABELS")]
    rows += [
        (
            found.target.name,
            ",".join(found.logins),
            ",".join(f"{key}={value}" for key, value in sorted(found.target.labels.items())),
        )
        for found in facts.targets
    ]
    wide = [max(len(row[column]) for row in rows) for column in range(2)]
    lines = [f"{name:{wide[0]}}  {logins:{wide[1]}}  {labels}".rstrip() for name, logins, labels in rows]
    columns = max(facts.columns, NARROW)
    return "\n".join(line if len(line) <= columns else line[: columns - 1] + "…" for line in lines) + "\n"


def _whoami(facts: LobbyFacts, words: list[str]) -> Answer:
    if words not in ([], ["--json"]):
        return Answer("usage: whoami [--json]\n", 2)
    identity = facts.identity
    certificate = identity.certificate
    ends = identity.restrictions.valid_before
    known: dict[str, object] = {
        "name": identity.name,
        "groups": sorted(identity.groups),
        "directory": identity.source,
        "factors": list(identity.factors),
        "source": identity.source_address,
        "key": certificate.fingerprint if certificate else identity.key_fingerprint,
        "certificate": certificate.key_id if certificate else "",
        "valid_until": ""
        if ends is None
        else datetime.fromtimestamp(ends, UTC).strftime("%Y-%m-%d %H:%M:%SZ"),
    }
    known = {key: value for key, value in known.items() if value}
    if words:
        return Answer(json.dumps(known, ensure_ascii=True) + "\n")
    lines = [
        f"{key.replace('_', ' ') + ':':13} {printable(', '.join(value) if isinstance(value, list) else str(value))}"
        for key, value in known.items()
    ]
    return Answer("\n".join(lines) + "\n")


def _help_command(facts: LobbyFacts, words: list[str]) -> Answer:
    if words == ["cert"]:
        return Answer(certificate_texts.help_text(facts.gateway, facts.port, facts.identity.name))
    return Answer(_help())


def _help() -> str:
    told = {name: text for name, (_, text) in (*COMMANDS.items(), *WAITING.items())}
    wide = max(map(len, told))
    lines = ["Commands, as in `ssh bastion targets --json`:"]
    lines += [f"  {name:{wide}}  {text}" for name, text in told.items()]
    return "\n".join(lines) + "\n"


def _setup(facts: LobbyFacts, words: list[str]) -> Answer:
    if len(words) > 1:
        return Answer(_SETUP_USAGE, 2)
    if facts.setup is None:
        return Answer("this gateway has no host certificates to set a client up for\n", 1)
    try:
        return Answer(facts.setup(words[0] if words else "openssh"))
    except KeyError:
        return Answer(_SETUP_USAGE, 2)


def _why(facts: LobbyFacts, words: list[str]) -> Answer:
    if not 1 <= len(words) <= 2 or facts.why is None:
        return Answer(_WHY_USAGE, 2)
    try:
        allowed, text = facts.why(words[0], words[1] if len(words) == 2 else None)
    except ValueError:
        return Answer(_WHY_USAGE, 2)
    return Answer(text, 0 if allowed else 1)


def _factor(facts: LobbyFacts, words: list[str]) -> Answer:
    """Of a call that is wrong; a right one is a conversation (`doors.lobby_factor`)."""
    return Answer(USAGE, 2)


def _totp(facts: LobbyFacts, words: list[str]) -> Answer:
    """Of a call that is wrong; a right one is a conversation (`doors.lobby_totp`)."""
    return Answer(lobby_totp.USAGE, 2)


FACTOR = "factor"
TOTP = "totp"
COMMANDS: dict[str, tuple[Callable[[LobbyFacts, list[str]], Answer], str]] = {
    "targets": (_targets, "what you may reach; --json for programs"),
    "why": (_why, "whether you may reach a target, and why: why TARGET [LOGIN]"),
    "whoami": (_whoami, "who the gateway takes you for; --json for programs"),
    "setup": (_setup, f"lines for your client: setup [{'|'.join(client_config.FORMS)}]"),
    TOTP: (_totp, "make a second factor, or another one in its place (ssh -t)"),
    FACTOR: (_factor, "give a factor for tunnels: factor [totp] [password] [oidc] [radius] [wait]"),
    "help": (_help_command, "this list; help cert: lines for your client"),
}

WAITING: dict[str, tuple[Waiting, str]] = {
    "cert": (cert, "a certificate for your key, to log in with for some hours"),
    **APPROVALS,
}


class LobbyDoor:
    """The `Door` that session channels lead through. Keeps nothing of them: they end with the connection."""

    __slots__ = ()

    def open(self, outer: Outer, channel: OuterChannel, asked: Asked | None) -> None:
        """Wait on `channel` for what is asked."""
        Lobby(outer, channel).open()

    def shut_down(self, end: End) -> None:
        """Nobody is in the middle of an answer: each is written in one turn."""

    def closed(self) -> None:
        """Each channel has heard of it."""


class Lobby:
    """One session channel: takes one shell or exec, answers it with text, and closes."""

    def __init__(self, outer: Outer, channel: OuterChannel) -> None:
        self._outer: Outer | None = outer
        self._channel: OuterChannel | None = channel
        self._columns = PLAIN_COLUMNS
        self._terminal = False
        self._answered = False
        self._talk: Talk | None = None
        self._line: OneLine | None = None  # while a command may want one
        self._over = False  # the client sends no more
        self._waiting: Deferred[None] | None = None

    def open(self) -> None:
        """Confirm the channel and wait for what is asked."""
        assert self._channel is not None
        self._channel.attach(self)
        self._channel.on_request = self._requested
        self._channel.confirm()

    # -- owner of the channel ----------------------------------------------------------------------------

    def dataReceived(self, data: bytes) -> None:
        """What is typed here is for whoever asks, for a command that wants a line, or for nobody."""
        if self._talk is not None:
            self._talk.data(data)
        elif self._line is not None:
            self._line.take(data)

    def readConnectionLost(self) -> None:
        """The client sends no more; its question may still be answered."""
        self._over = True
        if self._talk is not None:
            self._talk.ended()
        elif self._line is not None:
            self._line.end()

    def connectionLost(self, reason: Failure) -> None:
        """The channel is over."""
        self._outer = self._channel = None
        talk, self._talk = self._talk, None
        if talk is not None:
            talk.stop()
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.cancel()
        self._forget_line()

    def _forget_line(self) -> None:
        line, self._line = self._line, None
        if line is not None:
            line.stop()

    # -- requests ----------------------------------------------------------------------------------------

    def _requested(self, name: str, body: bytes) -> bool:
        parsed = parse_body(CHANNEL_REQUESTS, name, body)
        if name == "pty-req" and isinstance(parsed, PtyRequest):
            self._terminal, self._columns = True, parsed.cols or PLAIN_COLUMNS
            return True
        if name == "window-change":
            return True
        if name in ("shell", "exec") and not self._answered and self._outer is not None:
            try:
                self._outer.check_fresh()
            except Refused as refusal:
                self._outer.note(RequestRefused(name=name, reason=refusal.reason, text=refusal.text))
                return False
            self._answered = True
            # A command that is too long stays too long: four bytes are the longest character.
            cut = 4 * MAX_COMMAND + LINE_MAX
            command = parsed.command[:cut].decode("utf-8", "replace") if isinstance(parsed, Exec) else None
            if _name_of(command) in WAITING:  # what it reads may come in the same burst
                self._line = OneLine(self._outer.gateway.reactor, self._terminal)
            # The reply to the request goes out first (RFC 4254 section 5.4), then the text.
            self._outer.gateway.reactor.callLater(0, self._answer, command)
            return True
        if self._outer is not None:
            self._outer.gateway.meters.add(REQUESTS, name, PolicyReason.UNKNOWN_REQUEST)
            self._outer.note(RequestRefused(name=printable(name, 64), reason=PolicyReason.UNKNOWN_REQUEST))
        return False

    def _answer(self, command: str | None) -> None:
        outer, channel = self._outer, self._channel
        if outer is None or channel is None:
            return
        words = (command or "").split()
        factors = read_words(words[1:]) if words[:1] == [FACTOR] else None
        if factors is not None:
            self._talk = FactorTalk(
                outer, self._terminal, self._write, lambda status: self._end(FACTOR, status)
            )
            self._talk.begin(*factors)
            return
        if words == [TOTP]:
            self._talk = TotpTalk(outer, self._terminal, self._write, lambda status: self._end(TOTP, status))
            self._talk.begin()
            return
        name, line = _name_of(command), self._line
        if line is None or command is None:
            self._say(name, answer(command, self._facts(outer)))
            return
        call = Call(outer, command.strip()[len(name) :].strip(), line.read, self._ask)
        self._waiting = waiting = Deferred.fromCoroutine(self._wait(name, WAITING[name][0], call))
        waiting.addErrback(lambda failure: self._broke(outer, failure))

    def _ask(self, prompts: tuple[Prompt, ...], text: str, seconds: float) -> Deferred[Answers]:
        """Of a command that answers by itself, and has somebody give a factor first."""
        assert self._outer is not None
        line, self._line = self._line, None
        talk = self._talk or Talk(self._outer, self._terminal, self._write, lambda _: None)
        self._talk = talk
        asked = talk.ask(prompts, text, seconds)
        if line is not None and prompts:
            talk.data(line.hand_over())  # a program does not wait until it is asked
        if self._over and prompts:
            talk.ended()
        return asked

    async def _wait(self, name: str, command: Waiting, call: Call) -> None:
        given = await command(call)
        self._waiting = None
        self._say(name, given)

    def _broke(self, outer: Outer, failure: Failure) -> None:
        self._waiting = None
        if not isinstance(failure.value, CancelledError):
            outer.gateway.log_failure("answering a command of the lobby", failure)
            self._say(
                "", Answer("", 1, f"bastion: that went wrong, ask whoever keeps it (ref {outer.ref})\n")
            )

    def _say(self, name: str, given: Answer) -> None:
        """The answer, and the end of the channel."""
        self._forget_line()
        self._write(given.text)
        if self._channel is not None:
            self._channel.write_error(self._lines(given.error))
        self._end(name if name in COMMANDS or name in WAITING else "", given.status)

    def _lines(self, text: str) -> bytes:
        return (text.replace("\n", "\r\n") if self._terminal else text).encode()

    def _write(self, text: str) -> None:
        if self._channel is not None:
            self._channel.write(self._lines(text))

    def _end(self, command: str, status: int) -> None:
        """The command is over."""
        outer, channel = self._outer, self._channel
        self._talk = None
        if outer is None or channel is None:
            return
        outer.note(LobbyLine(command, status))
        channel.send_request("exit-status", uint32(status))
        channel.loseConnection()

    def _facts(self, outer: Outer) -> LobbyFacts:
        services, identity = outer.services, outer.identity
        host, port = outer.gateway.public
        now = outer.gateway.clock.time()
        found = reachable(services.policy, services.inventory, identity, identity.source_address, now)
        mine = [(one.target, one.logins[0]) for one in found]
        return LobbyFacts(
            identity,
            tuple(found),
            host,
            port,
            self._columns,
            lambda target, login: tell(services.policy, services.inventory, identity, target, login, now),
            lambda form: client_config.text_for(
                client_config.facts_for(
                    services.inner_host_keys,
                    (host, port),
                    identity.name,
                    mine,
                    _certificates(services.issuing),
                ),
                form,
            ),
        )


def _certificates(issuing: IssuingCA | None) -> Certificates | None:
    if issuing is None:
        return None
    return Certificates(issuing.lifetime, any("certificate" in chain for chain in issuing.chains))


def _name_of(command: str | None) -> str:
    """The first word."""
    words = (command or "").split(maxsplit=1)
    return words[0] if words else ""
